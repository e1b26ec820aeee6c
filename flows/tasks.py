"""The phases of a day as Prefect tasks: what may be retried, and what a person sees of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.utilities.annotations import quote

from flows import phases, reasons, timing
from flows.node_tasks import NodeRuns
from flows.order import Done
from flows.run import Run
from loaders.landing import Landed, Plan

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State, TaskRun

    from flows.transform import Built

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


def _task(phase: Callable[[Run], T]) -> Task[[Run], T]:
    name = phase.__name__.replace("_", "-")
    return task(name=name, task_run_name=name, **_retried)(phase)


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


@task(name="dbt-node", tags=["dbt"])
def dbt_node() -> None:
    """A node of a build: dbt runs it, and Prefect is told."""


@task(name="transform-day", task_run_name="transform-day", **_retried)
def transform_day(run: Run) -> Built:
    """dbt build, each node a task run of its own."""
    nodes = NodeRuns(str(this_flow_run().id), dbt_node)
    try:
        return phases.transform_day(run, nodes)
    finally:
        with timing.part("tell-prefect"):
            nodes.close()


PHASES: dict[str, Task[[Run], Any]] = {
    phase.name: phase
    for phase in (
        _task(phases.prepare_day),
        land_day,
        _task(phases.sweep_orphans),
        _task(phases.match_names),
        transform_day,
        _task(phases.check_day),
        _task(phases.finish_day),
        _task(phases.expire_days),
    )
}


def run_phases(run: Run, names: Iterable[str]) -> Done:
    """Phases of a day beside each other, as tasks of its flow. Once all have ended the first
    failure is raised: a phase never starts beside a failed one."""
    futures = {name: PHASES[name].submit(whole(run)) for name in names}
    outcomes = [future.result(raise_on_failure=False) for future in futures.values()]
    run.check()
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return {
        name: {"run_id": str(future.task_run_id), "state": str(future.state.name)}
        for name, future in futures.items()
    }
