"""The phases of a day as Prefect tasks, what may be retried of them, and what Prefect shows."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from prefect import Task, get_client, get_run_logger, task
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from prefect.states import Cancelled, Completed, Failed
from prefect.transactions import CommitMode, transaction
from prefect.utilities.annotations import quote

from flows import phases, reasons, report
from flows.pages.render import file_of
from flows.phases import Done
from flows.run import Run
from flows.transform import first_line
from loaders import warehouse
from loaders.landing import Landed, Plan

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State, TaskRun


T = TypeVar("T")
NODES_AT_ONCE = 32  # at least as many as dbt has threads


def opaque(value: T) -> T:
    """`value` for a task, as it is: Prefect would look through all it holds for futures."""
    return cast(T, quote(value))


def this_flow_run() -> FlowRun:
    """The flow run at work, in this task too; RuntimeError where there is none."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("This is called by a flow at work only.")
    return context.flow_run


def _can_retry(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return reasons.can_retry(state.result(raise_on_failure=False))


_retried: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [1, 5],
    "retry_condition_fn": _can_retry,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


@task(name="land-table", task_run_name="land {table}", **_retried)
def land_table(run: Run, plan: Plan, table: str) -> Landed:
    """One table and day, in one transaction."""
    landed = phases.land_table(run, plan)
    get_run_logger().info("%s %s: %s rows", table, landed.status, landed.rows_landed or 0)
    return landed


@task(name="land-day", task_run_name="land-day", cache_policy=NO_CACHE, persist_result=False)
def land_day(run: Run) -> list[Landed]:
    """Find, hash and check all files; then land-table × N in parallel."""
    return phases.land_day(run, _land_all)


def _land_all(run: Run, plans: list[Plan]) -> list[Landed]:
    return phases.in_threads(
        run, plans, lambda run, plan: land_table(opaque(run), opaque(plan), plan.table.name)
    )


# No tags: Prefect asks its server for a place of each before a task begins.
@task(name="dbt-node", task_run_name="{node}", cache_policy=NO_CACHE, persist_result=False)
def dbt_node(node: str, ended: Future[Any]) -> State[Any]:
    """A node of a build: dbt runs it, and this waits for its result, None when it was interrupted,
    and says it as Completed, Failed or Cancelled."""
    result = ended.result()
    if result is None or result.status == "skipped":
        return Cancelled(message=result.status if result else "the build was interrupted")
    said = f"{result.status}: {first_line(result.message)}" if result.message else None
    state = Completed if result.status in ("success", "pass", "warn") else Failed
    return state(message=said)


@contextlib.contextmanager
def node_runs() -> Iterator[Callable[[Any], None]]:
    """Gives what takes dbt's events and makes a task run of each node, while dbt is at it. Each
    waits in a thread of its own: dbt waits for none, and one that fails does not fail the build.
    (Two calls of Prefect's API a node cost its server twice as much, PrefectDbtRunner three times
    a build.)"""
    at_work: dict[str, Future[Any]] = {}  # by dbt's id of the node
    # When the build fails Prefect would roll back all below it that hasn't been committed, and call
    # that Completed. A line a node would drown the run's log.
    with (
        transaction(commit_mode=CommitMode.EAGER),
        temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}),
    ):
        here = copy_context()  # for dbt's threads, which don't know the flow

    def seen(event: Any) -> None:
        node: Any = getattr(event.data, "node_info", None)
        if event.info.name == "NodeStart" and node.resource_type != "exposure":
            ended = at_work[node.unique_id] = Future()
            run = partial(dbt_node, node.node_name, opaque(ended), return_state=True)
            threads.submit(here.copy().run, run)
        elif event.info.name == "NodeFinished" and node.unique_id in at_work:
            at_work.pop(node.unique_id).set_result(event.data.run_result)

    with ThreadPoolExecutor(NODES_AT_ONCE, "dbt-node") as threads:
        try:
            yield seen
        finally:
            for ended in at_work.values():
                ended.set_result(None)


@task(name="transform-day", task_run_name="transform-day", **_retried)
def transform_day(run: Run) -> Counter[str]:
    """dbt build, each node a task run of its own."""
    with node_runs() as seen:
        return phases.transform_day(run, seen)


OWN: dict[str, Task[[Run], Any]] = {"land-day": land_day, "transform-day": transform_day}
PHASES = OWN | {
    name: task(name=name, task_run_name=name, **_retried)(getattr(phases, name.replace("-", "_")))
    for name in (*phases.BESIDE_EACH_OTHER, *phases.IN_ORDER)
    if name not in OWN
}


def run_phases(run: Run, names: Iterable[str]) -> Done:
    """Phases of a day beside each other, as tasks of its flow. Once all have ended the first
    failure is raised: a phase never starts beside a failed one."""
    # In threads of our own, which know the flow's context: Prefect's task runner makes each task
    # two clients of the API, and each client reads all certificates.
    with ThreadPoolExecutor() as threads:
        begun = {
            name: threads.submit(copy_context().run, PHASES[name], opaque(run), return_state=True)
            for name in names
        }
    run.check()
    states = {name: future.result() for name, future in begun.items()}
    for state in states.values():
        # `_sync` as the flow is async; Prefect's types don't know it.
        state.result(_sync=True)
    return {
        name: {"run_id": str(state.state_details.task_run_id), "state": str(state.name)}
        for name, state in states.items()
    }


async def tag(run: Run) -> None:
    """Mark the flow run at work with the day and how it is run, where Prefect can be reached."""
    flow_run = this_flow_run()
    tags = {*flow_run.tags, run.day.text, run.options.mode, run.options.engine}
    with _warned(run):
        async with get_client() as client:
            await client.update_flow_run(flow_run.id, tags=sorted(tags))


@contextlib.contextmanager
def _warned(run: Run) -> Iterator[None]:
    """A Prefect or a warehouse that is away must not change how the day goes."""
    try:
        yield
    except Exception as error:
        run.progress(f"warning: Prefect was not told of it all: {type(error).__name__}")


async def leave(run: Run) -> None:
    """Tell how a run that had begun ended: rows of each table, warnings, and why it failed; never
    a value of data."""
    with _warned(run):
        if run.message:
            await _leave(run, **run.message)


async def _leave(
    run: Run, *, text: str, error: str | None, warnings: list[str], **_beside: Any
) -> None:
    logger, site = get_run_logger(), warehouse.home() / "site"
    with run.connect() as connection:
        account = report.read_account(connection, run.flow_run_id, run.day)
    tables = [*report.table_lines(account.lines), account.verdict]
    logger.info("\n".join([text.partition("\n")[0], *tables]))
    for warning in warnings:
        logger.warning(warning)
    if error:
        logger.error(error)
    pages = {
        "the run": site / "runs" / file_of(run.flow_run_id),
        "all days and runs": site / "index.html",
        "dbt's docs": site / "lineage.html",
    }
    links = [f"[{name}]({page.as_uri()})" for name, page in pages.items() if page.exists()]
    said = "\n".join([text, *tables]).replace("`", "'")
    summary = f"{' · '.join(links)}\n\n```text\n{said}\n```"
    await acreate_markdown_artifact(key="daybook-summary", markdown=summary)
    table = [{name: str(value) for name, value in row.items()} for row in account.ledger]
    await acreate_table_artifact(
        key="daybook-ledger", table=table, description=f"{run.day}, run {run.flow_run_id}"
    )
