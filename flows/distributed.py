"""`--mode distributed`: each phase, and each table, a run of its own deployment on the pool.

The day triggers runs, waits for their states in Prefect, and holds its lock in PostgreSQL. A run
on the pool that finds its day without the lock ends by itself.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import State, StateType, WorkPoolStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

from flows import phases, tasks
from flows.api import POOL
from flows.options import Options
from flows.order import Done
from flows.reasons import PhaseError
from flows.run import DayRun, Run
from flows.stopping import Stop
from loaders import landing
from loaders.days import parse_day
from loaders.errors import DaybookError, LockedError, PlanError, UsageError
from loaders.landing import Landed, Plan
from loaders.lock import under_parent

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

POLL_SECONDS = 0.5
START_SECONDS = 120.0  # for a worker to take a run and for its process to start


def refuse_small_pool(*parents: str) -> None:
    """UsageError unless the pool is there, has a worker, and holds parents and children at once.

    `parents`: what takes a slot of it beside land-day and a table.
    """
    who = [*parents, "land-day", "a table"]
    try:
        with get_client(sync_client=True) as client:
            pool = client.read_work_pool(POOL)
    except ObjectNotFound:
        raise UsageError(
            f"This Prefect server has no work pool {POOL}: make up, or make deploy."
        ) from None
    limit = pool.concurrency_limit
    if limit is not None and limit < len(who):
        raise UsageError(
            f"The work pool {POOL} runs {limit} at once, and {len(who)} wait for each other: "
            f"{', '.join(who)}. Raise it: prefect work-pool set-concurrency-limit {POOL} 8."
        )
    if pool.status != WorkPoolStatus.READY:
        raise UsageError(f"No worker is at work in the pool {POOL}: make up.")


def run_phases(run: Run, names: Iterable[str]) -> Done:
    """Phases of a day beside each other, each a run of its deployment. Raises as wait_for does."""
    run.check()
    started = {name: trigger(name, **_of_the_day(run)) for name in names}
    ended = wait_for(started, run.check)
    return {
        name: {"run_id": str(ended[name].id), "state": str(ended[name].state_name)}
        for name in started
    }


def _of_the_day(run: Run) -> dict[str, Any]:
    return {"day": run.day.text, "run_id": run.flow_run_id, "options": asdict(run.options)}


def trigger(name: str, **parameters: Any) -> UUID:
    """Start a run of a deployment on the pool; its id."""
    # `_sync` is what Prefect's decorator takes, and its types don't say so.
    run: FlowRun = run_deployment(  # type: ignore[call-arg, assignment]
        f"{name}/{name}", parameters=parameters, timeout=0, _sync=True
    )
    return run.id


def wait_for(started: dict[str, UUID], check: Callable[[], None]) -> dict[str, FlowRun]:
    """Wait until all have completed: name → flow run. Raises what the first that failed said, as
    PhaseError, PlanError or LockedError, or what `check` raises: then the others are cancelled."""
    names = {flow_run_id: name for name, flow_run_id in started.items()}
    wanted = FlowRunFilter.model_validate({"id": {"any_": list(names)}})
    taken = time.monotonic()
    with get_client(sync_client=True) as client:
        try:
            while True:
                check()
                found = client.read_flow_runs(flow_run_filter=wanted)
                states = {names[run.id]: run.state for run in found if run.state}
                if len(states) == len(names) and all(s.is_final() for s in states.values()):
                    break
                if any(state.is_running() for state in states.values()):
                    taken = time.monotonic()
                if time.monotonic() - taken > START_SECONDS:
                    raise PhaseError(
                        f"No worker of the pool {POOL} took {', '.join(started)} within "
                        f"{START_SECONDS:g} s: is it stopped, are all slots of the pool taken, or "
                        "does its own --limit leave no room beside the runs that wait?"
                    )
                time.sleep(POLL_SECONDS)
        except BaseException:
            for flow_run_id in names:
                _cancel(client, flow_run_id)
            raise
    for name, state in states.items():
        if not state.is_completed():
            raise _failure(name, state)
    return {names[run.id]: run for run in found}


def _failure(name: str, state: State[Any]) -> DaybookError:
    said = (state.message or str(state.name)).strip()
    said = said.removeprefix("Flow run encountered an exception: ")
    kind, _, message = said.partition(": ")
    known: dict[str, type[DaybookError]] = {"PlanError": PlanError, "LockedError": LockedError}
    return known[kind](message) if kind in known else PhaseError(f"{name}: {said}")


def _cancel(client: Any, flow_run_id: UUID) -> None:
    # The failure that the runs are cancelled for is what is to be told.
    with contextlib.suppress(Exception):
        state = client.read_flow_run(flow_run_id).state
        if not state.is_final():  # Cancelling is for what has a process to end
            kind = StateType.CANCELLING if state.is_running() else StateType.CANCELLED
            client.set_flow_run_state(flow_run_id, State(type=kind, message="Its day has ended."))


async def day_there(day: str, options: Options, stop: Stop, progress: Any) -> DayRun:
    """A day of a backfill as a run of day-pipeline's deployment: what it came to."""
    progress("running on the pool")
    began, done = time.monotonic(), DayRun(parse_day(day))
    try:
        started = trigger("day-pipeline", day=day, **asdict(options))
        done.flow_run_id = str(started)
        wait_for({"day-pipeline": started}, stop.check)
    except DaybookError as error:
        done.error = error
    done.seconds = time.monotonic() - began
    return done


@contextlib.contextmanager
def _for_the_day(day: str, run_id: str, options: dict[str, Any]) -> Iterator[Run]:
    """What a phase works under: a session that shows it lives, and a watch over the day's lock."""
    run, child = Run(run_id, parse_day(day), Options(**options)), str(tasks.this_flow_run().id)
    with under_parent(run.flow_run_id, child) as lock:
        run.lock = lock
        run.stop.begin(run.flow_run_id)
        over = threading.Event()

        def watch() -> None:
            while not over.wait(1.0):
                try:
                    lock.check()
                except DaybookError as error:
                    run.stop.request(str(error))
                    return

        threading.Thread(target=watch, daemon=True, name="daybook-watch").start()
        try:
            yield run
        finally:
            over.set()
            run.stop.over()


def _phase(name: str, work: Callable[[Run], Any]) -> Any:
    @flow(name=name, flow_run_name=f"{name} {{day}}", persist_result=False)
    async def phase(day: str, run_id: str, options: dict[str, Any]) -> None:
        with _for_the_day(day, run_id, options) as run:
            work(run)

    return phase


def _as_flow(name: str) -> Any:
    return _phase(name, lambda run: tasks.PHASES[name](tasks.whole(run)))


def _tables_of(run: Run, plans: list[Plan]) -> list[Landed | BaseException]:
    names = [plan.table.name for plan in plans]
    wait_for({t: trigger("land-table", table=t, **_of_the_day(run)) for t in names}, run.check)
    return []


prepare_day = _as_flow("prepare-day")
land_day = _phase("land-day", lambda run: phases.land_day(run, _tables_of))
match_names = _as_flow("match-names")
transform_day = _as_flow("transform-day")
check_day = _as_flow("check-day")
finish_day = _as_flow("finish-day")
sweep_orphans = _as_flow("sweep-orphans")
expire_days = _as_flow("expire-days")


@flow(name="land-table", flow_run_name="land {table} {day}", persist_result=False)
async def land_table(day: str, run_id: str, options: dict[str, Any], table: str) -> str:
    """Find, hash and check one table's files, and land them; the batch's status."""
    with _for_the_day(day, run_id, options) as run:
        (plan,) = landing.plan_day(
            run.options.data,
            run.day,
            [table],
            allow_empty=run.options.allow_empty,
            sources=run.options.sources,
        )
        return tasks.land_table(tasks.whole(run), tasks.whole(plan), table).status
