"""dbt in this process, with a manifest that is kept."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows import timing
from flows.node_runs import keep_node_runs
from flows.stopping import Stop
from loaders import warehouse
from loaders.days import Day
from loaders.errors import DaybookError
from loaders.sources import PROJECT

# Unit tests prove a model's rules with rows of their own: CI runs them, a day need not.
BUILD = ["build", "--exclude-resource-type", "unit_test"]
SILENT = ["--log-level", "none"]  # not a level that PrefectDbtRunner knows
_LOST = re.compile(
    r"server closed the connection|terminating connection|connection already closed"
    r"|could not connect|connection (refused|reset|timed out)|SSL connection has been closed"
    r"|deadlock detected|could not serialize access|the database system is (starting|shutting)",
    re.IGNORECASE,
)
_kept: dict[tuple[str, ...], Any] = {}
_parsing = threading.Lock()


class BuildError(DaybookError):
    """dbt ended with failed nodes. `can_retry`: all of them lost their connection or a lock."""

    def __init__(self, message: str, *, nodes: list[str], can_retry: bool) -> None:
        super().__init__(message)
        self.nodes = nodes
        self.can_retry = can_retry


@dataclass(frozen=True)
class Built:
    """What a build did: nodes by dbt's status, warnings by node, wall-clock seconds."""

    nodes: dict[str, int]
    warnings: list[str]
    seconds: float


def settings() -> Any:
    """prefect-dbt's settings: DBT_PROJECT_DIR, DBT_PROFILES_DIR, DBT_TARGET_PATH, or our defaults.

    Raises DaybookError where no profiles.yml is found.
    """
    from prefect_dbt.core.settings import PrefectDbtSettings

    chosen: dict[str, Any] = {}
    if "DBT_PROJECT_DIR" not in os.environ:
        chosen["project_dir"] = PROJECT
    if "DBT_PROFILES_DIR" not in os.environ and (PROJECT / "profiles.yml").exists():
        chosen["profiles_dir"] = PROJECT
    if "DBT_TARGET_PATH" not in os.environ:
        chosen["target_path"] = warehouse.home() / "dbt" / "target"
    found = PrefectDbtSettings(**chosen)
    if not (found.profiles_dir / "profiles.yml").exists():
        raise DaybookError(
            f"There is no profiles.yml in {found.profiles_dir}: run `make setup`, "
            "or copy profiles.example.yml to profiles.yml."
        )
    return found


def _options(of: Any) -> list[str]:
    log_path = os.environ.get("DBT_LOG_PATH") or str(warehouse.home() / "dbt" / "logs")
    return [
        *("--project-dir", str(of.project_dir), "--profiles-dir", str(of.profiles_dir)),
        *("--target-path", str(of.target_path), "--log-path", log_path),
        *("--quiet", "--log-level-file", "info", "--no-use-colors-file"),
    ]


def manifest() -> Any:
    """The project's manifest, parsed once per process. Raises DaybookError if it doesn't parse."""
    with timing.part("dbt-import"):
        from dbt.cli.main import dbtRunner

        options = _options(settings())
    with _parsing:
        if tuple(options) not in _kept:
            with _surroundings(), timing.part("parse"):
                parsed = dbtRunner().invoke(["parse", *options, *SILENT])
            if not parsed.success:
                raise DaybookError(f"dbt could not parse the project: {parsed.exception}")
            _kept[tuple(options)] = parsed.result
        return _kept[tuple(options)]


@contextlib.contextmanager
def _surroundings() -> Iterator[None]:
    """dbt changes into the project and stays there, while paths given to a later day are relative;
    and the profile can't know where the project is when it is read from elsewhere."""
    folder, home = os.getcwd(), os.environ.get("DAYBOOK_HOME")  # noqa: PTH109
    os.environ["DAYBOOK_HOME"] = str(warehouse.home())
    try:
        yield
    finally:
        os.chdir(folder)
        os.environ.pop("DAYBOOK_HOME")
        if home is not None:
            os.environ["DAYBOOK_HOME"] = home


@contextlib.contextmanager
def _day_in_sessions(day: Day | None, flow_run_id: str) -> Iterator[None]:
    """Every session that dbt opens gets the day and the run: environment, not --vars, which
    would have dbt parse the project again for each day."""
    before = {name: os.environ.pop(name, None) for name in ("PGOPTIONS", "PGTZ")}
    if before["PGOPTIONS"]:
        os.environ["PGOPTIONS"] = before["PGOPTIONS"]  # pgoptions() keeps what the user set
    os.environ["PGOPTIONS"] = warehouse.pgoptions(day, flow_run_id)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def build(
    day: Day | None,
    flow_run_id: str,
    *,
    stop: Stop | None = None,
    on_event: Callable[[Any], None] | None = None,
    arguments: list[str] | None = None,
) -> Built:
    """`dbt build` for one day. Raises BuildError naming the failed nodes.

    `on_event` is called with each of dbt's events, in dbt's threads: it must be quick.
    """
    from dbt.cli.main import dbtRunner

    found, started = settings(), time.monotonic()
    called = [*(arguments or BUILD), *_options(found)]
    with _surroundings(), _day_in_sessions(day, flow_run_id), _stoppable(stop):
        if os.environ.get("DAYBOOK_DBT_RUNNER") == "prefect":
            from prefect_dbt import PrefectDbtRunner

            outcome = PrefectDbtRunner(settings=found, raise_on_failure=False).invoke(called)
        else:
            callbacks = [on_event] if on_event else []
            runner = dbtRunner(manifest=manifest(), callbacks=callbacks)
            outcome = runner.invoke([*called, *SILENT])
    seconds = time.monotonic() - started
    if day is not None:
        keep_node_runs(list(getattr(outcome.result, "results", None) or []), day, flow_run_id)
    return verdict(outcome, seconds)


def document() -> Path:
    """dbt's page of models, columns and lineage, all in one file. Raises DaybookError if it can't
    be built. What the last build compiled is used where there is one."""
    from dbt.cli.main import dbtRunner

    found = settings()
    compiled = (Path(found.target_path) / "manifest.json").exists()
    called = ["docs", "generate", "--static", *(["--no-compile"] if compiled else [])]
    with _surroundings(), _day_in_sessions(None, "docs"):
        outcome = dbtRunner(manifest=manifest()).invoke([*called, *_options(found), *SILENT])
    if not outcome.success:
        raise DaybookError(f"dbt could not document the project: {first_line(outcome.exception)}")
    return Path(found.target_path) / "static_index.html"


@contextlib.contextmanager
def _stoppable(stop: Stop | None) -> Iterator[None]:
    """While dbt runs: its sessions by number, and how to interrupt the thread that drives it."""
    if stop is None:
        yield
        return
    driver = threading.get_ident()

    def interrupt() -> None:
        # Ctrl-C reaches only a process's main thread, and dbt isn't in it.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(driver), ctypes.py_object(KeyboardInterrupt)
        )

    stop.dbt_sessions, stop.interrupt_dbt = _open_sessions, interrupt
    try:
        stop.check()
        yield
    finally:
        stop.dbt_sessions, stop.interrupt_dbt = list, lambda: None


def _open_sessions() -> list[int]:
    from dbt.adapters.factory import FACTORY

    pids = []
    for adapter in list(FACTORY.adapters.values()):
        for connection in list(adapter.connections.thread_connections.values()):
            with contextlib.suppress(Exception):
                pids.append(connection.handle.info.backend_pid)
    return pids


def verdict(outcome: Any, seconds: float) -> Built:
    """What dbt's result comes to. Raises BuildError, or DaybookError when no node ran."""
    results = list(getattr(outcome.result, "results", None) or [])
    counted: dict[str, int] = {}
    for result in results:
        counted[str(result.status)] = counted.get(str(result.status), 0) + 1
    if not outcome.success:
        if isinstance(outcome.exception, KeyboardInterrupt):
            raise outcome.exception
        failed = [r for r in results if str(r.status) in {"error", "fail", "runtime error"}]
        if not failed:
            raise DaybookError(f"dbt ended early: {first_line(outcome.exception)}")
        nodes = [result.node.name for result in failed]
        said = "; ".join(f"{r.node.name}: {first_line(r.message)}" for r in failed[:5])
        more = f"; and {len(failed) - 5} more" if len(failed) > 5 else ""
        raise BuildError(
            f"dbt failed: {said}{more}",
            nodes=nodes,
            can_retry=all(_LOST.search(str(result.message)) for result in failed),
        )
    warned = [result.node.name for result in results if str(result.status) == "warn"]
    return Built(counted, warned, seconds)


def first_line(message: Any) -> str:
    """dbt's own summary without Postgres's DETAIL lines, which quote data."""
    lines = [line.strip() for line in str(message).splitlines() if line.strip()]
    said = [line for line in lines if " Error in " not in line]  # that line repeats the node
    return ((said or lines or ["no message"])[0])[:300]
