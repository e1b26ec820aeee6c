"""What a run records about itself in metrics: its own row, and its phases with their seconds."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar, cast

from flows import notify, server, site, timing
from flows.pages.read import Row, ask
from flows.pages.verdict import read_story
from flows.reasons import PhaseError
from flows.run import Run, end_sessions, unless_away
from flows.transform import BuildError
from loaders import landing, ledger, warehouse
from loaders.errors import DaybookError, WarehouseError, plain, without_values
from loaders.sql import statement

if TYPE_CHECKING:
    from psycopg import Connection

Phase = TypeVar("Phase", bound=Callable[..., Any])


@contextlib.contextmanager
def recorded(run: Run) -> Iterator[list[str]]:
    """Keep the run's own row in metrics.pipeline_metrics: running, then success or failure.
    UsageError, and no row, for a day of the calendar that the warehouse does not hold.

    Called under the lock. The context gives the ids of the dead runs that were closed.
    """
    with run.connect("daybook flow") as connection:
        ledger.check_calendar(connection, run.day)
        dead = close_dead_runs(connection)
        run_id: Row = {"flow_run_id": run.flow_run_id}
        page = server.page_of(run.flow_run_id)
        begun = {"pipeline_name": "day", "day": run.day.date, "status": "running"}
        begun |= {"task_name": "day-pipeline", "started_at": "now"}
        ledger.note(connection, "pipeline_metrics", run_id | begun)
        settings = {"day": run.day.text, "prefect": page, **asdict(run.options)}
        phase = {"phase": "day-pipeline", "seconds": 0, "settings": settings}
        again = "(flow_run_id, phase) do update set settings = excluded.settings"
        ledger.note(connection, "phase_runs", run_id | phase, again=again)  # Prefect may try again
    message = functools.partial(notify.message, run.day.text, run.flow_run_id)
    began = time.monotonic()
    try:
        yield dead
    except BaseException as error:
        # If the warehouse is gone the row stays `running`, and the next run reaps it.
        why, to_look_at = without_values(error), {}
        with unless_away(), run.connect("daybook flow") as connection:
            _close(connection, "failure", why, run.flow_run_id)
            if isinstance(error, PhaseError | BuildError):
                # dbt's nodes and runs on the pool have recorded their own failures
                failures = ask(connection, "failures", run=run.flow_run_id)[:3]
                whys = [f"{failure['name']}: {failure['error_message']}" for failure in failures]
                why = "; ".join([why, *whys])
                _close(connection, "failure", why, run.flow_run_id)
            to_look_at = findings(run)
        run.message = message("failed", time.monotonic() - began, why, to_look_at)
        write_pages(run, lineage=False)
        raise
    with run.connect("daybook flow") as connection:
        _close(connection, "success", None, run.flow_run_id)
        before = connection.execute(  # the last message about the day: that it failed, or is late
            "select status from metrics.pipeline_metrics where day = %s and flow_run_id <> %s"
            " and task_name in ('day-pipeline', 'late') order by id desc limit 1",
            [run.day.date, run.flow_run_id],
        ).fetchone()
    solved = before == ("failure",)
    run.message = message("succeeded", time.monotonic() - began, None, findings(run), solved)
    write_pages(run)


def close_dead_runs(connection: Connection) -> list[str]:
    """Close as failures the rows that earlier runs left `running`; the ids of these runs. Under the
    lock they are dead. Their phases that still run on the pool lose their sessions."""
    dead = _close(connection, "failure", "the run ended without closing its row")
    with warehouse.connect(application_name="daybook flow", autocommit=True) as owner:
        for flow_run_id in dead:
            end_sessions(owner, flow_run_id)
    landing.reap_running()
    return dead


def _close(
    connection: Connection, status: str, message: str | None, run: str | None = None
) -> list[str]:
    """Close a run's own row, or (None) all that are `running`; the ids of the runs."""
    closed = {"status": status, "message": message, "run": run}
    ended = connection.execute(statement("close_runs").encode(), closed)
    return [flow_run_id for (flow_run_id,) in ended]


@contextlib.contextmanager
def notified(run: Run) -> Iterator[None]:
    """Tell the webhook how the run ended, once its lock is free: no run waits for a slow answer. If
    nobody takes the message, that is a warning and never the day's failure."""
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
    """Write the pages once the run's own row is closed. If that fails it is a warning: it must not
    hide how the day went. `lineage`: see write_site."""
    try:
        with timing.part("pages"):
            site.write_site(lineage=lineage)
    except Exception as error:
        run.progress(f"warning: no pages were written: {type(error).__name__}: {error}")
    with unless_away(), run.connect() as connection:
        note_times(connection, run.flow_run_id)


def findings(run: Run) -> dict[str, list[str]]:
    """What a person should look at, by severity: unused and repaired input, changed fields, and
    what dbt and the checks found; never a value of data."""
    with run.connect() as connection:
        return read_story(connection, run.flow_run_id, run.day.date).by_severity


def timed(phase: Phase) -> Phase:
    """A phase that begins only while its run may change the warehouse, and whose end and seconds
    are recorded, also when it fails."""

    @functools.wraps(phase)
    def noted(run: Run, *arguments: Any, **named: Any) -> Any:
        from psycopg import Error

        run.check()
        try:
            with timing.part(phase.__name__.replace("_", "-")):
                return phase(run, *arguments, **named)
        except Exception as error:
            if (without_rows := plain(error)) is not error:
                raise without_rows from None  # Prefect keeps all that an error carries
            raise
        finally:
            # if it can't be recorded the phase has not failed, and its own error is not hidden
            with contextlib.suppress(WarehouseError, Error), run.connect() as connection:
                note_times(connection, run.flow_run_id)

    return cast(Phase, noted)


def note_times(connection: Connection, flow_run_id: str) -> None:
    """Record the seconds of phases and parts in this process; those of all processes add up."""
    times = [
        {"flow_run_id": flow_run_id, "phase": part, "seconds": seconds, "finished_at": ended}
        for part, (seconds, ended) in timing.taken().items()
    ]
    again = "(flow_run_id, phase) do update set finished_at = excluded.finished_at,"
    again += " seconds = phase_runs.seconds + excluded.seconds"
    ledger.note(connection, "phase_runs", *times, again=again)
