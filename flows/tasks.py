"""The phases of a day as Prefect tasks: what may be retried, and what a person sees of them."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, TypeVar, cast

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.utilities.annotations import quote

from flows import phases, reasons
from flows.node_tasks import NodeRuns
from flows.run import Run
from loaders.landing import Landed, Plan

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State, TaskRun

    from flows.checks.run import Checked
    from flows.transform import Built
    from loaders.match import Matched

T = TypeVar("T")


def whole(value: T) -> T:
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


@task(name="prepare-day", task_run_name="prepare-day", **_retried)
def prepare_day(run: Run) -> None:
    """Handshake, control tables, rates, dbt's manifest."""
    phases.prepare_day(run)


@task(name="land-table", task_run_name="land {table}", **_retried)
def land_table(run: Run, plan: Plan, table: str) -> Landed:
    """One table and day, in one transaction."""
    return phases.land_table(run, plan)


@task(name="land-day", task_run_name="land-day", cache_policy=NO_CACHE, persist_result=False)
def land_day(run: Run) -> list[Landed]:
    """Find, hash and check all files; then land-table × N in parallel."""
    return phases.land_day(run, _land_all)


def _land_all(run: Run, plans: list[Plan]) -> list[Landed | BaseException]:
    futures = [land_table.submit(whole(run), whole(plan), plan.table.name) for plan in plans]
    return [future.result(raise_on_failure=False) for future in futures]


@task(name="match-names", task_run_name="match-names", **_retried)
def match_names(run: Run) -> Matched:
    """Names not seen before, in one batch."""
    return phases.match_names(run)


@task(name="transform-day", task_run_name="transform-day", **_retried)
def transform_day(run: Run) -> Built:
    """dbt build, each node a task run of its own."""
    nodes = NodeRuns(str(this_flow_run().id))
    try:
        return phases.transform_day(run, nodes)
    finally:
        nodes.close()


@task(name="check-day", task_run_name="check-day", **_retried)
def check_day(run: Run) -> list[Checked]:
    """Great Expectations on what was built."""
    return phases.check_day(run)


@task(name="finish-day", task_run_name="finish-day", **_retried)
def finish_day(run: Run) -> int:
    """The ledger's verdict."""
    return phases.finish_day(run)


@task(name="sweep-orphans", task_run_name="sweep-orphans", **_retried)
def sweep_orphans(run: Run) -> list[str]:
    """What only a dead run can have left."""
    return phases.sweep_orphans(run)


@task(name="expire-days", task_run_name="expire-days", **_retried)
def expire_days(run: Run) -> list[tuple[str, date]]:
    """Landed days past DAYBOOK_KEEP_DAYS."""
    return phases.expire_days(run)


PHASE_ONE: dict[str, Task[[Run], Any]] = {
    "prepare-day": prepare_day,
    "land-day": land_day,
    "sweep-orphans": sweep_orphans,
}
PHASE_TWO: dict[str, tuple[Task[[Run], Any], str]] = {
    "match-names": (match_names, "matching names"),
    "transform-day": (transform_day, "building"),
    "check-day": (check_day, "checking"),
    "finish-day": (finish_day, "checking the ledger"),
    "expire-days": (expire_days, "expiring days"),
}
