"""`--mode distributed`: each phase, and each table, a deployment run of its own on the pool.

The day triggers and waits. Whether a day or a phase is alive is PostgreSQL's to say, not
Prefect's: a phase holds a session open while it works, and ends when its day's lock is gone.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect import flow

from flows import phases, tasks
from flows.options import Options
from flows.reap import OPEN, with_parents
from flows.run import DayRun, Run
from flows.stack import POOL
from flows.stopping import Stop
from loaders import landing
from loaders.days import parse_day
from loaders.errors import DaybookError, LockedError, PlanError, UsageError
from loaders.landing import Landed, Plan
from loaders.lock import children_alive, runs_alive, under_parent

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

POLL_SECONDS = 0.5
START_SECONDS = 120.0  # for a worker to take the first of the runs that are waited for
FULL_SECONDS = 20.0  # a worker has looked for work many times: what it has not taken, it can't
SILENT_SECONDS = 30.0  # how long a phase may say Running without a session

Alive = Callable[[set[UUID]], set[UUID]]  # those of some runs whose processes live


class PhaseError(DaybookError):
    """A phase did not complete; the message is that of its state."""


def refuse_small_pool(*parents: str) -> None:
    """UsageError unless the pool is there, has a worker, and holds parents and children at once.

    `parents`: what takes a slot of it beside land-day and a table.
    """
    from prefect.exceptions import ObjectNotFound

    who = [*parents, "land-day", "a table"]
    with _client() as client:
        try:
            pool = client.read_work_pool(POOL)
        except ObjectNotFound:
            raise UsageError(
                f"This Prefect server has no work pool {POOL}: make up, or make deploy."
            ) from None
        workers = client.request(
            "POST",
            "/work_pools/{work_pool_name}/workers/filter",
            path_params={"work_pool_name": POOL},
            json={},
        ).json()
        queue = client.read_work_queue(pool.default_queue_id) if pool.default_queue_id else None
    for what, limit in (
        ("work pool", pool.concurrency_limit),
        ("work queue", queue.concurrency_limit if queue else None),
    ):
        if limit is not None and limit < len(who):
            raise UsageError(
                f"The {what} of {POOL} runs {limit} at once, and {len(who)} wait for each other: "
                f"{', '.join(who)}. Raise it: prefect work-pool set-concurrency-limit {POOL} 8."
            )
    if pool.is_paused or not any(worker["status"] == "ONLINE" for worker in workers):
        raise UsageError(f"No worker is at work in the pool {POOL}: make up.")


def in_order(run: Run) -> dict[str, dict[str, str]]:
    """The phases of a day, each a run of its deployment: phase → run id and state."""
    done: dict[str, FlowRun] = {}
    run.progress("landing")
    done |= wait_for({name: trigger(run, name) for name in tasks.PHASE_ONE}, run)
    for name, (_, doing) in tasks.PHASE_TWO.items():
        run.progress(doing)
        done |= wait_for({name: trigger(run, name)}, run)
    return {name: {"run_id": str(r.id), "state": str(_state(r).name)} for name, r in done.items()}


def trigger(run: Run, name: str, table: str | None = None) -> UUID:
    """Start a run of a phase's deployment on the pool; its id."""
    run.check()
    parameters = {"day": run.day.text, "run_id": run.flow_run_id, "options": asdict(run.options)}
    if table:
        parameters["table"] = table
    return _start(name, parameters)


def _start(name: str, parameters: dict[str, Any]) -> UUID:
    from prefect.deployments import run_deployment

    # `_sync` is what Prefect's decorator takes, and its types don't say so.
    run: FlowRun = run_deployment(  # type: ignore[call-arg, assignment]
        f"{name}/{name}", parameters=parameters, timeout=0, _sync=True
    )
    return run.id


def wait_for(started: dict[str, UUID], run: Run) -> dict[str, FlowRun]:
    """Wait until all have ended: name → flow run. PhaseError with the first failure's message;
    no run that was started is left at work when it raises."""

    def alive(running: set[UUID]) -> set[UUID]:
        children = children_alive(run.flow_run_id)
        return {each for each in running if str(each)[:8] in children}

    ended = _all_ended(started, run.check, alive)
    for name, found in ended.items():
        if not _state(found).is_completed():
            kind, _, message = _said(_state(found)).partition(": ")
            if kind == "PlanError":
                raise PlanError(message)
            raise PhaseError(f"{name}: {_said(_state(found))}")
    return ended


async def day_there(day: str, options: Options, stop: Stop, progress: Any) -> DayRun:
    """A day of a backfill as a run of day-pipeline's deployment: what it came to."""

    def alive(running: set[UUID]) -> set[UUID]:
        days = runs_alive()
        return {each for each in running if str(each) in days}

    progress("running on the pool")
    began = time.monotonic()
    done = DayRun(parse_day(day))
    started = _start("day-pipeline", {"day": day, **asdict(options)})
    done.flow_run_id = str(started)
    try:
        state = _state(_all_ended({"day-pipeline": started}, stop.check, alive)["day-pipeline"])
        if not state.is_completed():
            kind, _, message = _said(state).partition(": ")
            done.error = LockedError(message) if kind == "LockedError" else PhaseError(_said(state))
    except DaybookError as error:
        done.error = error
    done.seconds = time.monotonic() - began
    return done


def _all_ended(
    started: dict[str, UUID], check: Callable[[], None], alive: Alive
) -> dict[str, FlowRun]:
    names = {flow_run_id: name for name, flow_run_id in started.items()}
    try:
        return _watched(names, check, alive)
    except BaseException:
        _cancel(list(names))
        raise


def _watched(names: dict[UUID, str], check: Callable[[], None], alive: Alive) -> dict[str, FlowRun]:
    from prefect.client.schemas.filters import FlowRunFilter

    wanted = FlowRunFilter.model_validate({"id": {"any_": list(names)}})
    moved, before = time.monotonic(), None
    silent_since: dict[UUID, float] = {}
    with _client() as client:
        while True:
            check()
            found = client.read_flow_runs(flow_run_filter=wanted)
            states = {each.id: each.state_name for each in found}
            if len(found) == len(names) and all(_state(r).is_final() for r in found):
                return {names[each.id]: each for each in found}
            running = {each.id for each in found if _state(each).is_running()}
            if running or states != before:
                moved, before = time.monotonic(), states
            waited = time.monotonic() - moved
            if waited > FULL_SECONDS and _nobody_can(client, found):
                raise PhaseError(
                    f"A worker of the pool {POOL} is there and does not take "
                    f"{', '.join(names.values())}: its own --limit leaves no room beside the runs "
                    "that wait. Start it without one, or with 4 or more."
                )
            if waited > START_SECONDS:
                raise PhaseError(
                    f"No worker of the pool {POOL} took {', '.join(names.values())} within "
                    f"{START_SECONDS:g} s: is it stopped, or are all its slots taken?"
                )
            _check_alive(running, silent_since, alive, names)
            time.sleep(POLL_SECONDS)


def _nobody_can(client: SyncPrefectClient, found: list[FlowRun]) -> bool:
    """Whether a worker has long looked for work and left these runs where they are, though nothing
    is at work in the pool but the runs that wait for them. Its --limit is nowhere in the API."""
    from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter, WorkPoolFilterName

    waiting = [run for run in found if not _state(run).is_final()]
    if not waiting or not all(_state(run).is_scheduled() for run in waiting):
        return False
    queue = client.read_work_queue(client.read_work_pool(POOL).default_queue_id)
    since = max(run.created for run in waiting if run.created) + timedelta(seconds=FULL_SECONDS / 2)
    if queue.last_polled is None or queue.last_polled < since:
        return False
    at_work = client.read_flow_runs(
        flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": OPEN}}}),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
    )
    parents = {run.id for run in with_parents(client, tasks.this_flow_run().id)}
    return {run.id for run in at_work} <= parents


def _check_alive(
    running: set[UUID],
    silent_since: dict[UUID, float],
    alive: Alive,
    names: dict[UUID, str],
) -> None:
    """PhaseError for a run that says Running while its process is gone."""
    living = alive(running) if running else set()
    for flow_run_id in running:
        if flow_run_id in living:
            silent_since.pop(flow_run_id, None)
        elif (
            time.monotonic() - silent_since.setdefault(flow_run_id, time.monotonic())
            > SILENT_SECONDS
        ):
            _set_state(flow_run_id, "CRASHED", "Its process is gone.")
            raise PhaseError(f"{names[flow_run_id]}: its process is gone.")


def _cancel(ids: list[UUID]) -> None:
    for flow_run_id in ids:
        with contextlib.suppress(Exception), _client() as client:
            state = _state(client.read_flow_run(flow_run_id))
            if not state.is_final():  # Cancelling is for what has a process to end
                kind = "CANCELLING" if state.is_running() else "CANCELLED"
                _set_state(flow_run_id, kind, "Its day has ended.")


def _set_state(flow_run_id: UUID, kind: str, message: str) -> None:
    from prefect.client.schemas.objects import State, StateType

    with contextlib.suppress(Exception), _client() as client:
        client.set_flow_run_state(flow_run_id, State(type=StateType(kind), message=message))


def _state(run: FlowRun) -> State[Any]:
    """The state that Prefect's server gives each run it knows."""
    if run.state is None:
        raise PhaseError(f"Prefect says nothing of the state of {run.name}.")
    return run.state


def _said(state: State[Any]) -> str:
    """A state's message without Prefect's frame around the exception's."""
    message = (state.message or str(state.name)).strip()
    return message.removeprefix("Flow run encountered an exception: ")


def _client() -> SyncPrefectClient:
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


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


def _phase(name: str, work: Callable[..., Any]) -> Any:
    @flow(name=name, flow_run_name=f"{name} {{day}}", persist_result=False)
    async def phase(day: str, run_id: str, options: dict[str, Any]) -> None:
        with _for_the_day(day, run_id, options) as run:
            work(run)

    return phase


def _tables_of(run: Run, plans: list[Plan]) -> list[Landed | BaseException]:
    started = {plan.table.name: trigger(run, "land-table", plan.table.name) for plan in plans}
    wait_for(started, run)
    return []


prepare_day = _phase("prepare-day", lambda run: tasks.prepare_day(tasks.whole(run)))
land_day = _phase("land-day", lambda run: phases.land_day(run, _tables_of))
match_names = _phase("match-names", lambda run: tasks.match_names(tasks.whole(run)))
transform_day = _phase("transform-day", lambda run: tasks.transform_day(tasks.whole(run)))
check_day = _phase("check-day", lambda run: tasks.check_day(tasks.whole(run)))
finish_day = _phase("finish-day", lambda run: tasks.finish_day(tasks.whole(run)))

sweep_orphans = _phase("sweep-orphans", lambda run: tasks.sweep_orphans(tasks.whole(run)))
expire_days = _phase("expire-days", lambda run: tasks.expire_days(tasks.whole(run)))


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
