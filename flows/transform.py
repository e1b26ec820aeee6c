"""dbt in this process, with a manifest that is kept."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flows import timing
from flows.run import session, silent, unless_away
from loaders import ledger, warehouse
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
        self.nodes, self.can_retry = nodes, can_retry
        self.public = f"dbt failed: {', '.join(nodes)}"


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
) -> Counter[str]:
    """`dbt build` for one day: nodes by dbt's status. Raises BuildError naming the failed nodes.

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

    called = [*arguments, *_options()]
    with _surroundings(day, flow_run_id):
        if os.environ.get("DAYBOOK_DBT_RUNNER") == "prefect":
            outcome = _prefects_runner(begins).invoke(called)
        else:
            runner = dbtRunner(manifest=manifest(), callbacks=[begins, on_event])
            outcome = runner.invoke([*called, *SILENT])
    if day is not None:
        _keep_node_runs(_results(outcome), day, flow_run_id)
    return verdict(outcome)


def _results(outcome: Any) -> list[Any]:
    """Of each node that dbt came to; none where it ended before the first."""
    return list(getattr(outcome.result, "results", None) or [])


def _keep_node_runs(results: list[Any], day: Day, flow_run_id: str) -> None:
    """How each node went and how long it took, for the pages."""
    rows = {}  # names may be had twice: a test's, a version's
    for result in results:
        timed = [time for time in result.timing if time.completed_at]  # naive, in UTC
        inputs = getattr(getattr(result.node, "depends_on", None), "nodes", [])
        row = {"flow_run_id": flow_run_id, "day": day.date, "node": result.node.name}
        row |= {"resource_type": result.node.resource_type, "status": result.status}
        row |= {"started_at": min((time.started_at for time in timed), default=None)}
        row |= {"finished_at": max((time.completed_at for time in timed), default=None)}
        row |= {"depends_on": [each.split(".")[2] for each in inputs]}
        rows[result.node.name] = row | {"seconds": result.execution_time}
    again = "(flow_run_id, node) do update set status = excluded.status,"
    again += " started_at = excluded.started_at, finished_at = excluded.finished_at,"
    again += " seconds = excluded.seconds"
    with unless_away(), session(flow_run_id, day) as connection:
        ledger.note(connection, "node_runs", *rows.values(), again=again)


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


def verdict(outcome: Any) -> Counter[str]:
    """Nodes by status. Raises BuildError, or DaybookError when no node ran."""
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
    return Counter(str(result.status) for result in results)


def first_line(message: Any) -> str:
    """dbt's own summary without Postgres's DETAIL lines, which quote data, and without the value
    that a type does not take."""
    lines = [line.strip() for line in str(message).splitlines() if line.strip()]
    said = [line for line in lines if " Error in " not in line]  # that line repeats the node
    line = (said or lines or ["no message"])[0]
    return re.sub(r'(: |value )".*"', r'\1"…"', line)[:300]
