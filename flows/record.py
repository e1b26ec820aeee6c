"""What a run notes of itself in metrics: its own row, its phases with their seconds, warnings."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, cast

from flows import notify, server, site, timing
from flows.pages.read import Row, ask
from flows.pages.verdict import read_story
from flows.reasons import PhaseError, without_values
from flows.run import Run, end_sessions, unless_away
from flows.transform import BuildError
from loaders import landing, ledger, warehouse
from loaders.errors import DaybookError, WarehouseError, plain

if TYPE_CHECKING:
    from psycopg import Connection

    P = ParamSpec("P")
    T = TypeVar("T")
    Phase = Callable[Concatenate[Run, P], T]


@contextlib.contextmanager
def recorded(run: Run) -> Iterator[list[str]]:
    """Keep the run's own row in metrics.pipeline_metrics: running, then success or failure.
    UsageError, and no row, for a day of the calendar that the warehouse does not hold.

    Called under the lock; the context gives the ids of the dead runs that it has closed.
    """
    with run.connect("daybook flow") as connection:
        ledger.check_calendar(connection, run.day)
        dead = close_dead_runs(connection)
        of_run: Row = {"flow_run_id": run.flow_run_id}
        # what it is asked for, and where Prefect shows it
        page = server.page_of(run.flow_run_id)
        begun = {"pipeline_name": "day", "day": run.day.date, "status": "running"}
        begun |= {"task_name": "day-pipeline", "started_at": "now"}
        ledger.note(connection, "pipeline_metrics", of_run | begun)
        asked = {"day": run.day.text, "prefect": page, **asdict(run.options)}
        phase = {"phase": "day-pipeline", "seconds": 0, "settings": asked}
        again = "(flow_run_id, phase) do update set settings = excluded.settings"
        ledger.note(connection, "phase_runs", of_run | phase, again=again)  # Prefect may try again
    ended = functools.partial(notify.message, run.day.text, run.flow_run_id)
    began = time.monotonic()
    try:
        yield dead
    except BaseException as error:
        # If the warehouse is gone the row stays `running`, and the next run reaps it.
        said, found = without_values(error), {}
        with unless_away(), run.connect("daybook flow") as connection:
            _close(connection, "failure", said, run.flow_run_id)
            if isinstance(error, PhaseError | BuildError):
                # dbt's nodes, and runs on the pool, have noted theirs
                noted = ask(connection, "failures", run=run.flow_run_id)[:3]
                more = [f"{each['name']}: {each['error_message']}" for each in noted]
                said = "; ".join([said, *more])
                _close(connection, "failure", said, run.flow_run_id)
            found = findings(run)
        run.message = ended("failed", time.monotonic() - began, said, found)
        write_pages(run, lineage=False)
        raise
    with run.connect("daybook flow") as connection:
        _close(connection, "success", None, run.flow_run_id)
        solved = _had_failed(connection, run)
    run.message = ended("succeeded", time.monotonic() - began, None, findings(run), solved)
    write_pages(run)


def close_dead_runs(connection: Connection) -> list[str]:
    """Close as failures what earlier runs left `running`; the ids of their days. Under the lock
    they belong to the dead. Phases of theirs that live on, on the pool, lose their sessions."""
    dead = _close(connection, "failure", "the run ended without closing its row")
    with warehouse.connect(autocommit=True) as owner:
        for flow_run_id in dead:
            end_sessions(owner, flow_run_id)
    landing.reap_running()
    return dead


def _close(
    connection: Connection, status: str, message: str | None, run: str | None = None
) -> list[str]:
    """End a run's own row, or those of all that are `running`; their ids."""
    ended = connection.execute(
        """
        update metrics.pipeline_metrics
        set
            status = %(status)s,
            error_message = %(message)s,
            finished_at = clock_timestamp(),
            duration_seconds =
                greatest(extract(epoch from clock_timestamp() - started_at), 0.000001)
        where task_name = 'day-pipeline' and case
            when %(run)s::text is null then status = 'running'
            else id = (
                select max(id) from metrics.pipeline_metrics
                where task_name = 'day-pipeline' and flow_run_id = %(run)s
            )
        end
        returning flow_run_id
        """,
        {"status": status, "message": message, "run": run},
    )
    return [flow_run_id for (flow_run_id,) in ended]


@contextlib.contextmanager
def notified(run: Run) -> Iterator[None]:
    """Tell the webhook how the run ended, around its lock: nobody waits for a slow answer. That
    nobody took the message is a warning, never the day's failure."""
    try:
        yield
    except DaybookError as error:
        if run.message is None and error.exit_code == 1:  # its day has not come
            why = without_values(error)
            run.message = notify.message(run.day.text, run.flow_run_id, "failed", why=why)
        raise
    finally:
        if run.message and (complaint := notify.post(run.message)):
            run.progress(f"warning: {complaint}")


def write_pages(run: Run, *, lineage: bool = True) -> None:
    """The pages, once the run's own row is closed, whatever it came to. Where they can't be
    written that is a warning: it must not hide how the day went. `lineage`: as write_site has it.
    """
    try:
        with timing.part("pages"):
            site.write_site(lineage=lineage)
    except Exception as error:
        run.progress(f"warning: no pages were written: {type(error).__name__}: {error}")
    with unless_away(), run.connect() as connection:
        note_times(connection, run.flow_run_id)


def _had_failed(connection: Connection, run: Run) -> bool:
    """Whether the last that was told of the day was that it failed, or is late."""
    before = connection.execute(
        "select status from metrics.pipeline_metrics where day = %s and flow_run_id <> %s"
        " and task_name in ('day-pipeline', 'late') order by id desc limit 1",
        [run.day.date, run.flow_run_id],
    ).fetchone()
    return before == ("failure",)


def findings(run: Run) -> dict[str, list[str]]:
    """What a person should look at, by severity: what was left out or mended, how fields changed,
    and what nodes and checks found; never a value of data."""
    with run.connect() as connection:
        return read_story(connection, run.flow_run_id, run.day.date).by_severity


def timed(phase: Phase[P, T]) -> Phase[P, T]:
    """A phase that begins only while its run may change the warehouse, and notes when it ended,
    well or not, with its seconds."""

    @functools.wraps(phase)
    def noted(run: Run, *arguments: P.args, **named: P.kwargs) -> T:
        from psycopg import Error

        started = time.monotonic()
        run.check()
        try:
            return phase(run, *arguments, **named)
        except Exception as error:
            if (said := plain(error)) is not error:
                raise said from None  # what Prefect keeps of an error is all that it carries
            raise
        finally:
            timing.add(phase.__name__.replace("_", "-"), time.monotonic() - started)
            # what can't be noted is no fault of the phase, and hides none
            with contextlib.suppress(WarehouseError, Error), run.connect() as connection:
                note_times(connection, run.flow_run_id)

    return cast("Phase[P, T]", noted)


def note_times(connection: Connection, flow_run_id: str) -> None:
    """Keep what phases and parts have taken in this process; those of a run's processes add up."""
    times = [
        {"flow_run_id": flow_run_id, "phase": part, "seconds": seconds, "finished_at": ended}
        for part, (seconds, ended) in timing.taken().items()
    ]
    again = "(flow_run_id, phase) do update set finished_at = excluded.finished_at,"
    again += " seconds = phase_runs.seconds + excluded.seconds"
    ledger.note(connection, "phase_runs", *times, again=again)
