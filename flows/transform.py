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
from flows.run import silent, unless_away
from loaders import ledger, warehouse
from loaders.days import Day
from loaders.errors import DaybookError, UsageError
from loaders.sources import PROJECT

# Unit tests prove a model's rules with rows of their own: CI runs them, a day need not.
BUILD = ["build", "--exclude-resource-type", "unit_test"]
# A log file would take a tenth of dbt's time and quote rows.
SILENT = ["--log-level", "none", "--log-level-file", "none"]
# dbt's events when a node takes a connection and when it commits: then the run is checked.
CHECKED = ("NewConnection", "ConnectionReused", "SQLCommit")
_LOST = re.compile(
    r"server closed the connection|terminating connection|connection already closed"
    r"|could not connect|connection (refused|reset|timed out)|SSL connection has been closed"
    r"|deadlock detected|could not serialize access|the database system is (starting|shutting)",
    re.IGNORECASE,
)
_manifests: dict[tuple[str, ...], Any] = {}  # by `_options()`
_parsing = threading.Lock()


class BuildError(DaybookError):
    """dbt ended with failed nodes. `can_retry`: all lost a connection or a lock conflict."""

    def __init__(self, failed: list[Any]) -> None:
        reasons = "; ".join(f"{r.node.name}: {first_line(r.message)}" for r in failed[:5])
        more = f"; and {len(failed) - 5} more" if len(failed) > 5 else ""
        super().__init__(f"dbt failed: {reasons}{more}")
        self.nodes = [result.node.name for result in failed]
        self.can_retry = all(_LOST.search(str(result.message)) for result in failed)
        self.public = f"dbt failed: {', '.join(self.nodes)}"


def target_path() -> Path:
    """dbt's target folder: DBT_TARGET_PATH, or one in DAYBOOK_HOME."""
    if users := os.environ.get("DBT_TARGET_PATH"):
        return Path(users)
    # dbt would make it, and DAYBOOK_HOME, open
    return warehouse.own_folder("dbt") / "target"


def _options() -> list[str]:
    """dbt's options for project, profile, target and logs. DaybookError without a profiles.yml,
    UsageError when DBT_PROFILES_DIR has none or DBT_PROJECT_DIR no project."""
    project = os.environ.get("DBT_PROJECT_DIR") or str(PROJECT)
    if not Path(project, "dbt_project.yml").exists():
        raise UsageError(f"DBT_PROJECT_DIR has no dbt_project.yml: {project}.")
    users = os.environ.get("DBT_PROFILES_DIR")
    places = [Path(users)] if users else [PROJECT, Path.home() / ".dbt"]
    profiles = next((place for place in places if (place / "profiles.yml").exists()), None)
    if profiles is None and users:
        raise UsageError(f"DBT_PROFILES_DIR has no profiles.yml: {users}.")
    if profiles is None:
        raise DaybookError(
            f"There is no profiles.yml in {PROJECT}: run `make setup`, "
            "or copy profiles.example.yml to profiles.yml."
        )
    log_path = os.environ.get("DBT_LOG_PATH") or str(warehouse.home() / "dbt" / "logs")
    return [
        *("--project-dir", project, "--profiles-dir", str(profiles)),
        *("--target-path", str(target_path()), "--log-path", log_path, "--quiet"),
    ]


def manifest() -> Any:
    """The project's manifest, parsed once per process. DaybookError if it doesn't parse, UsageError
    where a setting is why."""
    with timing.part("dbt-import"):
        from dbt.cli.main import dbtRunner

    options = _options()
    with _parsing:
        if tuple(options) not in _manifests:
            # A build writes the file too, at its end; a day that fails before needs this one.
            written = ["--no-write-json"] if (target_path() / "manifest.json").exists() else []
            with _dbt_environment(), timing.part("parse"):
                parsed = dbtRunner().invoke(["parse", *written, *options, *SILENT])
            if not parsed.success:
                raise _failure("dbt could not parse the project", str(parsed.exception))
            _manifests[tuple(options)] = parsed.result
            gc.freeze()  # the manifest stays: to scan it again would take a tenth of a build
        return _manifests[tuple(options)]


@contextlib.contextmanager
def _dbt_environment(day: Day | None = None, flow_run_id: str | None = None) -> Iterator[None]:
    """Set the variables that a call of dbt needs; restore them and the working directory after it.
    dbt changes into the project and stays there, but a later day's paths may be relative. The
    profile needs DAYBOOK_HOME, and each of dbt's sessions the day and the run. They are variables
    because --vars would make dbt parse the project again for each day."""
    ours: dict[str, str | None] = {"DAYBOOK_HOME": str(warehouse.home())}
    if flow_run_id is not None:
        ours["PGOPTIONS"] = warehouse.pgoptions(day, flow_run_id)
        ours["PGAPPNAME"] = f"daybook dbt {flow_run_id}"
        ours["PGTZ"] = None  # it would override the time zone in PGOPTIONS
    before = {name: os.environ.get(name) for name in ours}
    _set(ours)
    try:
        with contextlib.chdir(Path.cwd()):
            yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        elif os.environ.get(name) != value:  # other threads read it: no write that isn't needed
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
    """`dbt build` for one day: dbt's status → how many nodes. BuildError names the failed nodes.

    `on_event` gets each of dbt's events, in dbt's threads: it must be quick. `progress` gets the
    name and number of each node that begins, and how many there are. `check` is called when a node
    begins and before it commits: what it raises fails the nodes that have not run yet.
    """
    from dbt.cli.main import dbtRunner

    def begins(event: Any) -> None:
        if event.info.name == "LogStartLine":
            node = event.data.node_info.node_name
            progress(f"building · {node}", event.data.index, event.data.total)
        if event.info.name in CHECKED:
            check()

    command = [*arguments, *_options()]
    with _dbt_environment(day, flow_run_id):
        if os.environ.get("DAYBOOK_DBT_RUNNER") == "prefect":
            outcome = _prefects_runner(begins).invoke(command, log_level_file="none")
        else:
            runner = dbtRunner(manifest=manifest(), callbacks=[begins, on_event])
            outcome = runner.invoke([*command, *SILENT])
    if day is not None:
        _keep_node_runs(_results(outcome), day, flow_run_id)
    return verdict(outcome)


def _results(outcome: Any) -> list[Any]:
    """The results of the nodes that dbt reached; none when it ended before the first."""
    return list(getattr(outcome.result, "results", None) or [])


def _keep_node_runs(results: list[Any], day: Day, flow_run_id: str) -> None:
    """Record each node's status, times and inputs, for the pages."""
    rows = {}  # by name: two tests, or two versions of a model, can share one
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
    with (
        unless_away(),
        ledger.connect(day, flow_run_id, "daybook", warehouse.TRANSFORMER) as connection,
    ):
        ledger.note(connection, "node_runs", *rows.values(), again=again)


def _prefects_runner(begins: Callable[[Any], None]) -> Any:
    from prefect_dbt import PrefectDbtRunner, PrefectDbtSettings

    class Watched(PrefectDbtRunner):  # type: ignore[misc]  # it has no types
        """It takes no callbacks, so its own callback is replaced by ours and its own."""

        def _create_unified_callback(self, *args: Any, **named: Any) -> Callable[[Any], None]:
            theirs = super()._create_unified_callback(*args, **named)

            def both(event: Any) -> None:
                begins(event)
                theirs(event)

            return both

        @staticmethod
        def get_dbt_event_msg(event: Any) -> str:
            return first_line(event.info.msg)  # it goes to Prefect's log

    _, project, _, profiles, *_ = _options()
    places = {"project_dir": Path(project), "profiles_dir": Path(profiles)}
    settings = PrefectDbtSettings(**places, target_path=target_path())
    return Watched(settings=settings, raise_on_failure=False)


def document() -> Path:
    """Build dbt's page of models, columns and lineage, one file, and return its path. DaybookError
    if it can't be built. The project is compiled unless this process has a manifest already."""
    from dbt.cli.main import dbtRunner

    known = _manifests.get(tuple(_options()))
    no_compile = ["--no-compile"] if known else []
    command = ["docs", "generate", "--static", *no_compile, *_options(), *SILENT]
    with _dbt_environment(flow_run_id="docs"):
        outcome = dbtRunner(manifest=known).invoke(command)
    if not outcome.success:
        raise _failure("dbt could not document the project", first_line(outcome.exception))
    return target_path() / "static_index.html"


def verdict(outcome: Any) -> Counter[str]:
    """dbt's status → how many nodes. BuildError when nodes failed, DaybookError when dbt did."""
    results = _results(outcome)
    if not outcome.success:
        failed = [r for r in results if str(r.status) in {"error", "fail", "runtime error"}]
        if not failed:
            raise DaybookError(f"dbt ended early: {first_line(outcome.exception)}")
        raise BuildError(failed)
    return Counter(str(result.status) for result in results)


def _failure(what: str, why: str) -> DaybookError:
    """dbt's own failure before it builds as an error, that of a setting by its name."""
    line = first_line(why)
    if line.startswith("DAYBOOK_"):  # a macro refuses it
        return UsageError(line)
    last = re.search("'([^']+)'[^']*$", line)  # before it dbt may quote what is right
    settings = {name: text for name, text in os.environ.items() if name.startswith("DBT_")}
    if names := [name for name, text in settings.items() if last and text == last[1]]:
        said = re.sub(r"(?<=\.) [^.]*:$", "", line)  # a list would follow
        return UsageError(f"{' or '.join(sorted(names))} can't be used: {said}")
    return DaybookError(f"{what}: {why}")


def first_line(message: Any) -> str:
    """The summary line of dbt's message. It leaves out Postgres's DETAIL lines, which quote data,
    and a value that Postgres could not read as its type, which may have line ends, quotes and the
    word DETAIL: (then nobody knows its end)."""
    text = re.split(r"\s(?:LINE \d+|DETAIL|CONTEXT):", str(message), maxsplit=1)[0]
    text = re.sub(r'(: |value )"(?:.*"(?=\s|$)|.*)', r'\1"…"', text, flags=re.DOTALL)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # that line only says whose error it is
    reasons = [line for line in lines if not re.search(" Error( in |$)", line)]
    return (reasons or lines or ["no message"])[0][:300]
