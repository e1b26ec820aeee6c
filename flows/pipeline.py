"""`day-pipeline` as a Prefect flow, and `backfill`, a flow of several days.

Importing this module imports Prefect; flows/day.py does so only when a day is run.
"""

from __future__ import annotations

import contextlib
import gc
import shutil
import threading
from contextvars import ContextVar
from dataclasses import asdict, replace
from datetime import UTC, timedelta
from typing import Any

from prefect import flow
from prefect.context import SyncClientContext
from prefect.runtime import deployment, flow_run

from flows import distributed, phases, record, tasks
from flows import prove as proving
from flows.options import Engine, Mode, Options, chosen_days, stopped_at
from flows.run import Run, Stop, silent
from loaders import session, warehouse
from loaders.days import parse_day
from loaders.errors import DaybookError, unquoted
from loaders.files import day_folder
from loaders.lock import living_session, run_lock
from loaders.spark.reading import read_apart

# The command line's stop switch and progress. As parameters of the flow they would be serialised.
watched: ContextVar[tuple[Stop, Any] | None] = ContextVar("watched", default=None)
DAY_SECONDS = 7200.0  # a day takes minutes: one that takes this long hangs


def _run_name() -> str:
    return f"day-pipeline {flow_run.parameters.get('day') or _due_day()}"


def _due_day() -> str:
    """The day before the run was due, in UTC: what the nightly schedule means."""
    return (flow_run.scheduled_start_time.astimezone(UTC).date() - timedelta(days=1)).isoformat()


@flow(name="day-pipeline", flow_run_name=_run_name, persist_result=False)
async def day_pipeline(
    day: str | None = None,
    data: str = "",
    mode: Mode = "local",
    engine: Engine = "python",
    force: bool = False,
    allow_empty: bool = False,
    allow_shrink: bool = False,
    sources: str | None = None,
    timeout: float | None = None,
    workers: int = 1,
) -> phases.Done:
    """A day of raw files to silver, metrics and a balanced ledger: phase → run id and state.

    The schedule leaves `day` out: it is then the day before the run was due, in UTC.
    Async because Prefect makes a synchronous flow wait a second at its end. Nothing else uses its
    event loop, so the phases may block it.
    """
    options = Options.of(locals()).checked()
    logical_day = parse_day(_due_day() if day is None else day)
    flow_run_id = str(flow_run.id)
    warehouse.wake()
    stop, progress = watched.get() or (Stop(), silent)
    run = Run(flow_run_id, logical_day, options, stop=stop, progress=progress)
    stop.flow_run_id = flow_run_id
    run_phases = tasks.run_phases
    if mode == "distributed":
        distributed.refuse_small_pool(on_pool=deployment.id is not None)
        run_phases = distributed.run_phases
    await tasks.tag(run)
    seconds = timeout or DAY_SECONDS
    limit = threading.Timer(seconds, stop.request, [f"The day took more than {seconds:g} s."])
    limit.daemon = True
    limit.start()
    session.of_run = flow_run_id
    try:
        with unquoted(), record.notified(run):
            day_folder(options.data, run.day)  # a day that isn't there leaves nothing behind
            with (
                SyncClientContext.get_or_create(),  # one for all tasks
                run_lock(f"daybook run {flow_run_id} {run.day}") as run.lock,
                record.recorded(run) as dead,
                contextlib.ExitStack() as left_over,
            ):
                distributed.close_dead(dead, run)
                if engine == "spark":
                    run.progress("reading with Spark")
                    read = read_apart(
                        options.data,
                        run.day,
                        allow_empty=allow_empty,
                        sources=options.sources,
                        check=run.check,
                    )
                    # it holds the day's records, and DAYBOOK_KEEP_DAYS would not delete it
                    left_over.callback(shutil.rmtree, read, ignore_errors=True)
                    run.options = replace(options, data=read)
                return phases.run_in_order(run, run_phases)
    finally:
        stop.over.set()
        limit.cancel()
        await tasks.leave(run)
        session.of_run = ""


def _days_name() -> str:
    parameters = flow_run.parameters
    days = parameters.get("days") or [parameters.get("first"), parameters.get("last")]
    return f"backfill {days[0]} to {days[-1]}"


@flow(name="backfill", flow_run_name=_days_name, persist_result=False)
async def backfill(
    days: list[str] | None = None,
    first: str | None = None,
    last: str | None = None,
    data: str = "",
    mode: Mode = "local",
    engine: Engine = "python",
    force: bool = False,
    allow_empty: bool = False,
    allow_shrink: bool = False,
    sources: str | None = None,
    timeout: float | None = None,
    workers: int = 1,
) -> dict[str, dict[str, str]]:
    """Run day-pipeline for each of `days`, or each from `first` to `last`, in order, until one
    fails: day → run id and state. Each day is a subflow run, in this process. DaybookError names
    the days that are done, the one that failed and those that have not run."""
    options = Options.of(locals()).checked()
    chosen = chosen_days(days, first, last)
    warehouse.wake()
    done = {}
    with living_session(f"daybook backfill {flow_run.id}"):  # between its days too
        for number, day in enumerate(chosen):
            state = await day_pipeline(day=day, **asdict(options), return_state=True)
            outcome = await state.aresult(raise_on_failure=False)
            if isinstance(outcome, BaseException):
                raise DaybookError(f"{stopped_at(chosen, number)}\n{outcome}") from outcome
            done[day] = {"run_id": str(state.state_details.flow_run_id), "state": str(state.name)}
            gc.collect()  # by itself it runs once in many days
    return done


@flow(name="prove", persist_result=False)
async def prove() -> str:
    """Build all landed days anew and compare: the verdict. DaybookError when they differ."""
    warehouse.wake()
    with living_session(f"daybook prove {flow_run.id}"):  # the proof's own have another id
        verdict = proving.verdict(proof := proving.shown())
    if proof.partings:
        raise DaybookError(f"{verdict} By table and key: daybook prove.")
    return verdict
