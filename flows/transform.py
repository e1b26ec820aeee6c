"""dbt in this process, with a manifest that is kept."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from flows import timing
from flows.run import silent
from loaders import warehouse
from loaders.days import Day
from loaders.errors import DaybookError
from loaders.sources import PROJECT

# Unit tests prove a model's rules with rows of their own: CI runs them, a day need not.
BUILD = ["build", "--exclude-resource-type", "unit_test"]
# PrefectDbtRunner knows no such level. A file of its own costs dbt a tenth, and would quote rows.
SILENT = ["--log-level", "none", "--log-level-file", "none"]
# dbt's events as a node takes a connection, and as it commits.
CHECKED = ("NewConnection", "ConnectionReused", "SQLCommit")
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


def target_path() -> Path:
    """Where dbt keeps what it parsed and compiled: DBT_TARGET_PATH, or below our home."""
    return Path(os.environ.get("DBT_TARGET_PATH") or warehouse.home() / "dbt" / "target")


def _options() -> list[str]:
    """Where dbt finds the project and its profile. DaybookError where there is no profiles.yml."""
    project = os.environ.get("DBT_PROJECT_DIR") or str(PROJECT)
    given = os.environ.get("DBT_PROFILES_DIR")
    places = [Path(given)] if given else [PROJECT, Path.home() / ".dbt"]
    profiles = next((place for place in places if (place / "profiles.yml").exists()), None)
    if profiles is None:
        raise DaybookError(
            f"There is no profiles.yml in {places[0]}: run `make setup`, "
            "or copy profiles.example.yml to profiles.yml."
        )
    log_path = os.environ.get("DBT_LOG_PATH") or str(warehouse.home() / "dbt" / "logs")
    return [
        *("--project-dir", project, "--profiles-dir", str(profiles)),
        *("--target-path", str(target_path()), "--log-path", log_path, "--quiet"),
    ]


def manifest() -> Any:
    """The project's manifest, parsed once per process. Raises DaybookError if it doesn't parse."""
    with timing.part("dbt-import"):
        from dbt.cli.main import dbtRunner

    options = _options()
    with _parsing:
        if tuple(options) not in _kept:
            # A build writes it too, at its end: this one is for a day that fails before.
            written = ["--no-write-json"] if (target_path() / "manifest.json").exists() else []
            with _surroundings(), timing.part("parse"):
                parsed = dbtRunner().invoke(["parse", *written, *options, *SILENT])
            if not parsed.success:
                raise DaybookError(f"dbt could not parse the project: {parsed.exception}")
            _kept[tuple(options)] = parsed.result
            gc.freeze()  # it stays: to look through it again is a tenth of a build
        return _kept[tuple(options)]


@contextlib.contextmanager
def _surroundings(day: Day | None = None, flow_run_id: str | None = None) -> Iterator[None]:
    """dbt changes into the project and stays there, while paths given to a later day are relative;
    and the profile can't know where the project is when it is read from elsewhere. Every session
    that dbt opens gets the day and the run, and is known by the run: environment, not --vars,
    which would have dbt parse the project again for each day."""
    ours: dict[str, str | None] = {"DAYBOOK_HOME": str(warehouse.home())}
    if flow_run_id is not None:
        ours["PGOPTIONS"] = warehouse.pgoptions(day, flow_run_id)
        ours["PGAPPNAME"] = f"daybook dbt {flow_run_id}"
        ours["PGTZ"] = None  # it would beat the options' time zone
    folder, before = os.getcwd(), {name: os.environ.get(name) for name in ours}  # noqa: PTH109
    _set(ours)
    try:
        yield
    finally:
        os.chdir(folder)
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def build(
    day: Day | None,
    flow_run_id: str,
    *,
    check: Callable[[], None] = lambda: None,
    on_event: Callable[[Any], None] = lambda _event: None,
    progress: Callable[[str, int, int], None] = silent,
    arguments: list[str] = BUILD,
) -> Built:
    """`dbt build` for one day. Raises BuildError naming the failed nodes.

    `on_event` is called with each of dbt's events, in dbt's threads: it must be quick. `progress`
    is told which node of how many begins. `check` is called where each node begins and before it
    commits: what it raises fails the nodes that are still to run.
    """
    from dbt.cli.main import dbtRunner

    def begins(event: Any) -> None:
        if event.info.name == "LogStartLine":
            node = event.data.node_info.node_name
            progress(f"building · {node}", event.data.index, event.data.total)
        if event.info.name in CHECKED:
            check()

    called, started = [*arguments, *_options()], time.monotonic()
    with _surroundings(day, flow_run_id):
        if os.environ.get("DAYBOOK_DBT_RUNNER") == "prefect":
            outcome = _prefects_runner(begins).invoke(called)
        else:
            runner = dbtRunner(manifest=manifest(), callbacks=[begins, on_event])
            outcome = runner.invoke([*called, *SILENT])
    seconds = time.monotonic() - started
    if day is not None:
        _keep_node_runs(_results(outcome), day, flow_run_id)
    return verdict(outcome, seconds)


def _results(outcome: Any) -> list[Any]:
    """Of each node that dbt came to; none where it ended before the first."""
    return list(getattr(outcome.result, "results", None) or [])


def _keep_node_runs(results: list[Any], day: Day, flow_run_id: str) -> None:
    """How long each node took, for the pages. A record of times must not fail the day that they
    are of: errors are dropped."""
    rows = [_row(result, day, flow_run_id) for result in results]
    with (
        contextlib.suppress(Exception),
        warehouse.connect(
            application_name=f"daybook {flow_run_id}",
            flow_run_id=flow_run_id,
            day=day,
            role=warehouse.TRANSFORMER,
        ) as connection,
    ):
        connection.cursor().executemany(
            """
            insert into metrics.node_runs (
                flow_run_id, day, node, resource_type, status, started_at, finished_at, seconds,
                depends_on
            )
            values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
            on conflict (flow_run_id, node) do update set
                status = excluded.status, started_at = excluded.started_at,
                finished_at = excluded.finished_at, seconds = excluded.seconds
            """,
            rows,
        )


def _row(result: Any, day: Day, flow_run_id: str) -> tuple[Any, ...]:
    timed = [t for t in result.timing if t.started_at and t.completed_at]
    started = min((t.started_at for t in timed), default=None)
    ended = max((t.completed_at for t in timed), default=None)
    waited_for = getattr(getattr(result.node, "depends_on", None), "nodes", [])
    return (
        *(flow_run_id, day.date, result.node.name, str(result.node.resource_type)),
        *(str(result.status), started and started.replace(tzinfo=UTC)),
        *(ended and ended.replace(tzinfo=UTC), result.execution_time),
        [unique_id.split(".")[2] for unique_id in waited_for],
    )


def _prefects_runner(begins: Callable[[Any], None]) -> Any:
    from prefect_dbt import PrefectDbtRunner, PrefectDbtSettings

    class Watched(PrefectDbtRunner):  # type: ignore[misc]  # it has no types
        """It takes no callbacks, and makes dbt one of its own: ours comes before it."""

        def _create_unified_callback(self, *given: Any, **named: Any) -> Callable[[Any], None]:
            theirs = super()._create_unified_callback(*given, **named)

            def seen(event: Any) -> None:
                begins(event)
                theirs(event)

            return seen

    options = _options()
    places = dict(zip(options[:-1:2], options[1::2], strict=True))
    return Watched(
        settings=PrefectDbtSettings(
            project_dir=Path(places["--project-dir"]),
            profiles_dir=Path(places["--profiles-dir"]),
            target_path=target_path(),
        ),
        raise_on_failure=False,
    )


def document() -> Path:
    """dbt's page of models, columns and lineage, all in one file. Raises DaybookError if it can't
    be built. What this process has built is shown as it was compiled, else it is compiled anew."""
    from dbt.cli.main import dbtRunner

    built = _kept.get(tuple(_options()))
    compiled = ["--no-compile"] if built else []
    called = ["docs", "generate", "--static", *compiled, *_options(), *SILENT]
    with _surroundings(flow_run_id="docs"):
        outcome = dbtRunner(manifest=built).invoke(called)
    if not outcome.success:
        raise DaybookError(f"dbt could not document the project: {first_line(outcome.exception)}")
    return target_path() / "static_index.html"


def verdict(outcome: Any, seconds: float) -> Built:
    """What dbt's result comes to. Raises BuildError, or DaybookError when no node ran."""
    results = _results(outcome)
    if not outcome.success:
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
    return Built(Counter(str(result.status) for result in results), warned, seconds)


def first_line(message: Any) -> str:
    """dbt's own summary without Postgres's DETAIL lines, which quote data, and without the value
    that a type does not take."""
    lines = [line.strip() for line in str(message).splitlines() if line.strip()]
    said = [line for line in lines if " Error in " not in line]  # that line repeats the node
    line = (said or lines or ["no message"])[0]
    return re.sub(r'(: |value )".*"', r'\1"…"', line)[:300]
