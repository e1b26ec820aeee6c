"""The work pool, and `--mode distributed`: each phase and each table is a run of its own on it.

The day triggers runs, waits for their states in Prefect, and holds its lock in PostgreSQL: a run
on the pool whose day has lost the lock changes nothing more. When a worker and its flow processes
are killed, Prefect shows their runs as Running for ever and keeps their slots. So PostgreSQL says
which runs are alive: those that have a session.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from httpx import HTTPError
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter
from prefect.client.schemas.objects import FlowRun, State, StateType, WorkPoolStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectException
from prefect.runtime import flow_run
from prefect.states import Crashed

from flows import phases, tasks
from flows.api import POOL
from flows.options import Options
from flows.reasons import PhaseError
from flows.run import Run, unless_away
from loaders import session
from loaders.days import parse_day
from loaders.errors import DaybookError, LockedError, PlanError, UsageError, unquoted
from loaders.landing import Landed, Plan
from loaders.lock import sessions, under_parent
from loaders.sources import PROJECT

SLOTS = 8  # a distributed day with its tables, and a second day that waits
OURS = WorkPoolFilter.model_validate({"name": {"any_": [POOL]}})
OPEN = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
# How the pool's workers start a run: by one command, with this Python (the worker's PATH may lead
# to another), and without variables by which a run could have another command.
JOB_TEMPLATE: dict[str, Any] = {
    "job_configuration": {
        "command": f"{shlex.quote(sys.prefix)}/bin/python3 -m prefect.engine",
        "working_dir": str(PROJECT),
    },
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}
POLL_SECONDS = 0.5
START_SECONDS = 120.0  # for a worker to take a run and start its process


def make_pool() -> None:
    """Make the pool, or give the one that is there our job template."""
    pool = WorkPoolCreate(
        name=POOL, type="process", concurrency_limit=SLOTS, base_job_template=JOB_TEMPLATE
    )
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(pool)
        except ObjectAlreadyExists:  # the user's limit stays
            client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=JOB_TEMPLATE))


def project_folder() -> dict[str, Any]:
    """prefect.yaml's build step: the folder that runs work in, and which schedules are switched on.
    DaybookError, before anything is deployed, when the pool has another job template: each run
    would crash, or run any command."""
    with get_client(sync_client=True) as client:
        job = client.read_work_pool(POOL).base_job_template["job_configuration"]
        deployments = client.read_deployments(work_pool_filter=OURS)
    if job != JOB_TEMPLATE["job_configuration"]:
        raise DaybookError(
            f"Workers of the pool {POOL} start a run by `{job.get('command')}` in "
            f"{job.get('working_dir')}, which is not this environment and project: make deploy."
        )
    is_on = {each.slug: each.active for one in deployments for each in one.schedules}
    schedules = {slug: is_on.get(slug, False) for slug in ("nightly", "weekly")}
    return {"folder": str(PROJECT)} | schedules


def has_worker() -> bool:
    """Whether a worker is at work in the pool, which of a paused pool isn't told: then True."""
    with get_client(sync_client=True) as client:
        return client.read_work_pool(POOL).status != WorkPoolStatus.NOT_READY


def refuse_small_pool(*, on_pool: bool) -> None:
    """UsageError unless the pool is there, has a worker, and has slots for parents and children at
    once. `on_pool`: the day itself takes a slot too."""
    waiting = [*["the day"] * on_pool, "land-day", "a table"]  # each waits for the next
    try:
        with get_client(sync_client=True) as client:
            pool = client.read_work_pool(POOL)
    except ObjectNotFound:
        raise UsageError(
            f"This Prefect server has no work pool {POOL}: make up, or make deploy."
        ) from None
    limit = pool.concurrency_limit
    if limit is not None and limit < len(waiting):
        raise UsageError(
            f"The work pool {POOL} runs {limit} at once, and {len(waiting)} wait for each other: "
            f"{', '.join(waiting)}. Raise it: prefect work-pool set-concurrency-limit {POOL} 8."
        )
    if pool.is_paused:
        raise UsageError(f"The work pool {POOL} is paused: prefect work-pool resume {POOL}.")
    if pool.status != WorkPoolStatus.READY:
        raise UsageError(f"No worker is at work in the pool {POOL}: make up.")


def reap(is_over: Callable[[FlowRun, str], bool]) -> None:
    """Mark those of the pool's open runs Crashed that have no session and, by their own state and
    the names of all sessions, are over."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate(OPEN), work_pool_filter=OURS
        )
    names = sessions()
    gone = (run for run in runs if str(run.id)[-8:] not in names)
    _mark_crashed([str(run.id) for run in gone if is_over(run, names)])


def _day_of(run: FlowRun) -> str:
    """The id of the day's run for which one works; empty for a day itself."""
    return str(run.parameters.get("run_id", ""))


def is_left(run: FlowRun, names: str) -> bool:
    """Whether nobody will go on with an open run without a session, when a worker starts: one that
    another worker has just taken for a day that lives has no session yet."""
    recent, day = datetime.now(UTC) - timedelta(seconds=START_SECONDS), _day_of(run)
    is_new = run.state and run.state.is_pending() and run.state.timestamp > recent
    return not (is_new and day and day in names)


def close_dead(days: list[str], run: Run) -> None:
    """Close days' runs whose process died, and what earlier days left on the pool: they are over,
    since `run` holds the lock."""
    _mark_crashed(days)
    if days or run.options.mode == "distributed":
        with _unless_away():
            reap(lambda one, _: _day_of(one) not in ("", run.flow_run_id))


@contextlib.contextmanager
def _unless_away() -> Iterator[None]:
    """Ignore that Prefect or the warehouse is away: the day's own error says it too."""
    with contextlib.suppress(HTTPError, PrefectException), unless_away():
        yield


def _mark_crashed(flow_run_ids: list[str]) -> None:
    """Close runs whose process died. A run that outlived PostgreSQL has a final state: it stays."""
    if not flow_run_ids:
        return
    crashed: State[None] = Crashed(message="Its worker or its process is gone.")
    with get_client(sync_client=True) as client:
        for flow_run_id in map(UUID, flow_run_ids):
            # It may be a run of another Prefect server; and a server that is away must not fail the
            # day that calls this.
            with _unless_away():
                state = client.read_flow_run(flow_run_id).state
                if state and not state.is_final():
                    client.set_flow_run_state(flow_run_id, crashed, force=True)


def run_phases(run: Run, names: Iterable[str]) -> phases.Done:
    """Run phases of a day side by side, each a run of its deployment. Raises as wait_for does."""
    run.check()
    return wait_for({name: trigger(run, name, f"{name} {run.day}") for name in names}, run)


def trigger(run: Run, name: str, run_name: str, **more: str) -> UUID:
    """Start a run of the deployment `name`; returns its id. DaybookError when there is none."""
    parameters = {"day": run.day.text, "run_id": run.flow_run_id, "options": asdict(run.options)}
    try:
        # Prefect's decorator takes `_sync`, which its types lack.
        started: FlowRun = run_deployment(  # type: ignore[call-arg, assignment]
            f"{name}/{name}",
            parameters=parameters | more,
            flow_run_name=run_name,
            tags=[run.day.text, "distributed"],
            timeout=0,
            _sync=True,
        )
    except ObjectNotFound:
        raise DaybookError(f"Prefect has no deployment {name}: make deploy.") from None
    return started.id


def wait_for(started: dict[str, UUID], run: Run) -> phases.Done:
    """Wait until all have completed: name → run id and state. Raises what the first that failed
    said, as PhaseError, PlanError or LockedError; at once when one crashed, or the run may not go
    on, which raises what its check does: then the others are cancelled."""
    wanted = FlowRunFilter.model_validate({"id": {"any_": list(started.values())}})
    taken, waiting = time.monotonic(), list(started)
    with get_client(sync_client=True) as client:
        try:
            while True:
                run.check()
                runs = client.read_flow_runs(flow_run_filter=wanted)
                found = {each.id: each.state for each in runs}
                states = {name: state for name, one in started.items() if (state := found.get(one))}
                waiting = [n for n in started if n not in states or not states[n].is_final()]
                for name, state in states.items():
                    # with its worker, perhaps: nobody takes the others
                    if state.is_crashed() or not (waiting or state.is_completed()):
                        raise _failure(name, state)
                if not waiting:
                    break
                if time.monotonic() - taken > START_SECONDS / 8:  # a look costs a connection
                    with _unless_away():
                        names = sessions()
                        if any(str(each)[-8:] in names for each in started.values()):
                            taken = time.monotonic()
                if time.monotonic() - taken > START_SECONDS:
                    raise PhaseError(
                        f"No worker of the pool {POOL} was at work on {', '.join(waiting)} for "
                        f"{START_SECONDS:g} s: is it stopped or killed, is pool or queue paused, "
                        "are all slots taken, or does its own --limit leave no room beside those "
                        "that wait?"
                    )
                time.sleep(POLL_SECONDS)
        except BaseException:
            ended = State[Any](type=StateType.CANCELLING, message="Its day has ended.")
            for name in waiting:
                # what they are cancelled for is to be told
                with contextlib.suppress(HTTPError, PrefectException):
                    client.set_flow_run_state(started[name], ended)
            if time.monotonic() - taken > START_SECONDS:
                with _unless_away():  # what a dead worker had would keep its slots
                    reap(lambda one, _: _day_of(one) == run.flow_run_id)
            raise
    return {n: {"run_id": str(started[n]), "state": str(s.name)} for n, s in states.items()}


def _failure(name: str, state: State[Any]) -> DaybookError:
    text = (state.message or str(state.name)).strip()
    text = text.removeprefix("Flow run encountered an exception: ")
    kind, _, message = text.partition(": ")
    known: dict[str, type[DaybookError]] = {"PlanError": PlanError, "LockedError": LockedError}
    if kind in known:
        return known[kind](message)
    return PhaseError(f"{name} {state.type.value.lower()}: {text}")


@contextlib.contextmanager
def _locked_run(day: str, run_id: str, options: dict[str, Any]) -> Iterator[Run]:
    """The Run of a run on the pool, under the day's lock; its session shows that it is alive."""
    session.of_run = run_id
    run = Run(run_id, parse_day(day), Options(**options))
    with under_parent(run_id, str(flow_run.id)) as run.lock, unquoted():
        yield run


def _phase(name: str, work: Callable[[Run], Any] | None = None) -> Any:
    """The flow of a phase, which runs its task of flows.tasks, or `work` instead."""
    work = work or (lambda run: tasks.PHASES[name](tasks.opaque(run)))

    @flow(name=name, flow_run_name=f"{name} {{day}}", persist_result=False)
    async def phase(day: str, run_id: str, options: dict[str, Any]) -> None:
        with _locked_run(day, run_id, options) as run:
            work(run)

    return phase


def _tables_of(run: Run, plans: list[Plan]) -> list[Landed]:
    names = [plan.table.name for plan in plans]
    wait_for({t: trigger(run, "land-table", f"land {t} {run.day}", table=t) for t in names}, run)
    return []


prepare_day = _phase("prepare-day")
land_day = _phase("land-day", lambda run: phases.land_day(run, _tables_of))
match_names = _phase("match-names")
transform_day = _phase("transform-day")
check_day = _phase("check-day")
finish_day = _phase("finish-day")
sweep_orphans = _phase("sweep-orphans")
expire_days = _phase("expire-days")


@flow(name="land-table", flow_run_name="land {table} {day}", persist_result=False)
async def land_table(day: str, run_id: str, options: dict[str, Any], table: str) -> None:
    """Find, hash and check one table's files, and land them."""
    with _locked_run(day, run_id, options) as run:
        for plan in phases.plans(run, [table]):
            tasks.land_table(tasks.opaque(run), tasks.opaque(plan), table)
