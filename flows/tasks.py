"""The phases of a day as Prefect tasks, which errors are retried, and what Prefect shows."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar, cast

from prefect import get_client, get_run_logger, task
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from prefect.states import Cancelled, Completed, Failed
from prefect.transactions import CommitMode, transaction
from prefect.utilities.annotations import quote

from flows import phases, reasons, report
from flows.pages.render import file_of, render
from flows.run import Run
from flows.transform import first_line
from loaders import warehouse
from loaders.errors import many, unquoted
from loaders.landing import Landed, Plan

T = TypeVar("T")
NODES_AT_ONCE = 32  # at least as many as dbt has threads


def opaque(value: T) -> T:
    """Wrap a task's argument, so that Prefect doesn't search all that it holds for futures."""
    return cast(T, quote(value))


_retried: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [1, 5],
    "retry_condition_fn": lambda _task, _run, state: reasons.can_retry(
        state.result(raise_on_failure=False)
    ),
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


@task(name="land-table", task_run_name="land {table}", **_retried)
@unquoted()
def land_table(run: Run, plan: Plan, table: str) -> Landed:
    """One table and day, in one transaction."""
    landed = phases.land_table(run, plan)
    get_run_logger().info("%s %s: %s", table, landed.status, many(landed.rows_landed or 0, "row"))
    return landed


@task(name="land-day", task_run_name="land-day", cache_policy=NO_CACHE, persist_result=False)
@unquoted()
def land_day(run: Run) -> list[Landed]:
    """Find, hash and check all files; then land the tables in parallel, a land-table task each."""
    return phases.land_day(run, _land_all)


def _land_all(run: Run, plans: list[Plan]) -> list[Landed]:
    return phases.in_threads(
        run, plans, lambda run, plan: land_table(opaque(run), opaque(plan), plan.table.name)
    )


# It has no tags: for each tag Prefect asks its server for a slot before a task begins.
@task(name="dbt-node", task_run_name="{node}", cache_policy=NO_CACHE, persist_result=False)
def dbt_node(node: str, ended: Future[Any]) -> State[Any]:
    """A node of a dbt build, as a task run. dbt runs the node; this waits for its result (None when
    it was interrupted) and ends as Completed, Failed or Cancelled."""
    result = ended.result()
    if result is None or result.status == "skipped":
        return Cancelled(message=result.status if result else "the build was interrupted")
    message = f"{result.status}: {first_line(result.message)}" if result.message else None
    state = Completed if result.status in ("success", "pass", "warn") else Failed
    return state(message=message)


@contextlib.contextmanager
def node_runs() -> Iterator[Callable[[Any], None]]:
    """A context with a callback for dbt's events, which makes a task run of each node. Each task
    waits in a thread of its own: dbt waits for no task, and a failed task fails no build.
    (Two API calls a node cost Prefect's server twice as much; PrefectDbtRunner makes a build take
    three times as long.)"""
    running: dict[str, Future[Any]] = {}  # by dbt's id of the node
    # EAGER: else Prefect rolls back the uncommitted tasks of a failed build, and shows that as
    # Completed. No logging: a line for each node would drown the run's log.
    with (
        transaction(commit_mode=CommitMode.EAGER),
        temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}),
    ):
        here = copy_context()  # for dbt's threads, which don't know the flow

    def on_event(event: Any) -> None:
        node: Any = getattr(event.data, "node_info", None)
        if event.info.name == "NodeStart" and node.resource_type != "exposure":
            ended = running[node.unique_id] = Future()
            run = partial(dbt_node, node.node_name, opaque(ended), return_state=True)
            threads.submit(here.copy().run, run)
        elif event.info.name == "NodeFinished" and node.unique_id in running:
            running.pop(node.unique_id).set_result(event.data.run_result)

    with ThreadPoolExecutor(NODES_AT_ONCE, "dbt-node") as threads:
        try:
            yield on_event
        finally:
            for ended in running.values():
                ended.set_result(None)


@task(name="transform-day", task_run_name="transform-day", **_retried)
def transform_day(run: Run) -> Counter[str]:
    """dbt build, with a task run for each node."""
    with node_runs() as on_event:
        return phases.transform_day(run, on_event)


PHASES: dict[str, Any] = {
    name: task(name=name, task_run_name=name, **_retried)(getattr(phases, name.replace("-", "_")))
    for name in (*phases.BESIDE_EACH_OTHER, *phases.IN_ORDER)
} | {"land-day": land_day, "transform-day": transform_day}


def run_phases(run: Run, names: Iterable[str]) -> phases.Done:
    """Run phases of a day side by side, as tasks of its flow. When all have ended, the first
    failure is raised."""
    # In our own threads, with the flow's context: for each task Prefect's task runner would make
    # two API clients, and each client reads all certificates.
    with ThreadPoolExecutor() as threads:
        begun = {
            name: threads.submit(copy_context().run, PHASES[name], opaque(run), return_state=True)
            for name in names
        }
    run.check()
    states = {name: future.result() for name, future in begun.items()}
    for state in states.values():
        # `_sync`, which Prefect's types lack, because the flow is async.
        state.result(_sync=True)
    return {
        name: {"run_id": str(state.state_details.task_run_id), "state": str(state.name)}
        for name, state in states.items()
    }


async def tag(run: Run) -> None:
    """Tag the current flow run with day, mode and engine; when Prefect is away, only warn."""
    tags = {*flow_run.tags, run.day.text, run.options.mode, run.options.engine}
    with _errors_as_warnings(run):
        async with get_client() as client:
            await client.update_flow_run(flow_run.id, tags=sorted(tags))


@contextlib.contextmanager
def _errors_as_warnings(run: Run) -> Iterator[None]:
    """Turn any error into a warning: a Prefect or warehouse that is away must not fail the day."""
    try:
        yield
    except Exception as error:
        run.progress(f"warning: Prefect was not told of it all: {type(error).__name__}")


async def leave(run: Run) -> None:
    """Log in Prefect how a run ended, and leave it artifacts: rows by table, warnings, the error;
    never a value of data. Does nothing for a run that never began."""
    if not (ended := run.message):
        return
    with _errors_as_warnings(run):
        logger, site = get_run_logger(), warehouse.home() / "site"
        with run.connect() as connection:
            account = report.read_account(connection, run.flow_run_id, run.day)
        landed = render("landed.txt.j2", lines=account.lines) + account.verdict
        logger.info("\n".join([ended["text"].partition("\n")[0], landed]))
        for warning in ended["warnings"]:
            logger.warning(warning)
        if ended["error"]:
            logger.error(ended["error"])
        pages = {
            "the run": site / "runs" / file_of(run.flow_run_id),
            "all days and runs": site / "index.html",
            "dbt's docs": site / "lineage.html",
        }
        links = [f"[{name}]({page.as_uri()})" for name, page in pages.items() if page.exists()]
        text = f"{ended['text']}\n{landed}".replace("`", "'")
        summary = f"{' · '.join(links)}\n\n```text\n{text}\n```"
        await acreate_markdown_artifact(key="daybook-summary", markdown=summary)
        table = [{name: str(value) for name, value in row.items()} for row in account.ledger]
        about = f"{run.day}, run {run.flow_run_id}"
        await acreate_table_artifact(key="daybook-ledger", table=table, description=about)
