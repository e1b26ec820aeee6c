"""The phases of a day as plain functions; flows/pipeline.py makes Prefect tasks of them.

Each can be called alone: `phases.land_day(Run.of("day1", "tests/sample"))`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from flows import notify, took
from flows.reasons import LandError, LedgerError, without_values
from flows.resume import kept
from flows.stopping import Stop
from loaders.days import Day, parse_day
from loaders.errors import DaybookError, PlanError

if TYPE_CHECKING:
    from datetime import date

    from psycopg import Connection

    from flows.checks.run import Checked
    from flows.transform import Built
    from loaders.landing import Landed, Plan
    from loaders.lock import Lock
    from loaders.match import Matched

TABLES_AT_ONCE = 4


def silent(_what: str, _done: int | None = None, _total: int | None = None) -> None:
    """The progress of a run that nobody watches."""


@dataclass
class Run:
    """One run of one day: what to land, under which id, and who may stop it."""

    flow_run_id: str
    day: Day
    data: str
    mode: str = "local"
    engine: str = "python"
    force: bool = False
    allow_empty: bool = False
    allow_shrink: bool = False
    sources: str | None = None
    resumes: str | None = None
    lock: Lock | None = None
    stop: Stop = field(default_factory=Stop)
    progress: Callable[..., None] = silent

    @classmethod
    def of(cls, day: str, data: str, **options: Any) -> Run:
        """A run for calling a phase by hand, under an id of its own."""
        return cls(
            options.pop("flow_run_id", None) or str(uuid4()), parse_day(day), data, **options
        )

    def settings(self) -> dict[str, Any]:
        """What the run was asked for; the day too, as its calendar is known once a table landed."""
        names = ("data", "mode", "engine", "force", "allow_empty", "allow_shrink", "sources")
        return {"day": self.day.text, **{name: getattr(self, name) for name in names}}

    def check(self) -> None:
        """Stopped or LockedError, when this run may no longer change the warehouse."""
        self.stop.check()
        if self.lock is not None:
            self.lock.check()


@kept("prepare-day")
def prepare_day(run: Run) -> None:
    """Handshake, control tables, rates, dbt's manifest. Raises WarehouseError, or DaybookError when
    the project does not parse. Needs nothing of the day, so it runs beside the landing."""
    from flows import transform
    from loaders import rates, warehouse

    run.check()
    with _connected(run) as connection:
        warehouse.check_ready(connection)
    rates.refresh_rates(
        application_name=f"daybook {run.flow_run_id}", flow_run_id=run.flow_run_id, day=run.day
    )
    transform.manifest()


@kept("land-day")
def land_day(
    run: Run, land_all: Callable[[Run, list[Plan]], list[Landed | BaseException]] | None = None
) -> list[Landed]:
    """Check all tables of the day, then land them, several at once.

    A failing optional table is in the result with status `failed`. Raises PlanError before
    any write when the day can't be landed, LandError when a required table failed.
    """
    run.check()
    plans = _plans(run)
    _note_unused(run)
    outcomes = (land_all or _in_threads)(run, plans)
    run.check()
    failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise LandError("\n".join(str(error) for error in failed)) from failed[0]
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]


def _plans(run: Run) -> list[Plan]:
    from loaders import landing

    try:
        return landing.plan_day(run.data, run.day, allow_empty=run.allow_empty, sources=run.sources)
    except DaybookError as error:
        if type(error) is not DaybookError:  # a wrong call, a warehouse that is gone
            raise
        raise PlanError(str(error)) from error


def _note_unused(run: Run) -> None:
    from loaders import landing

    landing.note_unused(run.data, run.day, flow_run_id=run.flow_run_id, sources=run.sources)


def land_table(run: Run, plan: Plan) -> Landed:
    """Land one table of the day in one transaction. Raises DaybookError if a required one fails."""
    from loaders import landing

    run.check()
    return landing.land_table(
        plan,
        flow_run_id=run.flow_run_id,
        force=run.force,
        allow_empty=run.allow_empty,
        allow_shrink=run.allow_shrink,
        progress=run.progress,
        lock=run.lock,
    )


def _in_threads(run: Run, plans: list[Plan]) -> list[Landed | BaseException]:
    def attempt(plan: Plan) -> Landed | BaseException:
        try:
            return land_table(run, plan)
        except Exception as error:
            return error

    with ThreadPoolExecutor(TABLES_AT_ONCE) as pool:
        return list(pool.map(attempt, plans))


@kept("match-names")
def match_names(run: Run) -> Matched:
    """Names not seen before, matched in one batch. Raises DaybookError when a seed is at fault."""
    from loaders import match

    run.check()
    return match.match_names(run.day, flow_run_id=run.flow_run_id, lock=run.lock)


@kept("transform-day")
def transform_day(run: Run, on_event: Callable[[Any], None] | None = None) -> Built:
    """dbt build in this process, with the day and the run in every session. Raises BuildError."""
    from flows import transform

    run.check()
    try:
        return transform.build(
            run.day,
            run.flow_run_id,
            stop=run.stop,
            on_event=on_event,
            arguments=_what_is_left(run),
        )
    finally:
        run.stop.check()


@kept("check-day")
def check_day(run: Run) -> list[Checked]:
    """Hold what the day built to its checks. Raises CheckError when one of severity error fails."""
    from flows.checks import run as checks
    from loaders import warehouse

    run.check()
    found = checks.check_day(run.day, run.flow_run_id, docs=warehouse.home() / "site" / "checks")
    checks.raise_failed(found)
    return found


@kept("finish-day")
def finish_day(run: Run) -> int:
    """The ledger's verdict: rows of the row ledger for the day. Raises LedgerError naming the
    tables that do not balance."""
    run.check()
    with _connected(run) as connection:
        rows = connection.execute(
            """
            select table_name, target, balanced
            from metrics.row_ledger
            where day = %s
            order by table_name, target
            """,
            [run.day.date],
        ).fetchall()
    unbalanced = [f"{table} → {target}" for table, target, balanced in rows if not balanced]
    if unbalanced:
        raise LedgerError(
            f"The row ledger of {run.day} does not balance: {', '.join(unbalanced)}. "
            f"See metrics.row_ledger where day = '{run.day.date}'."
        )
    return len(rows)


def warnings(run: Run) -> list[str]:
    """What the run's nodes and checks warned of, a line each; never a value of data."""
    with _connected(run) as connection:
        found = connection.execute(
            """
            select node from metrics.node_runs where flow_run_id = %(run)s and status = 'warn'
            union all
            select suite || '.' || check_name || ': ' || coalesce(observed, 'failed')
            from metrics.check_results
            where flow_run_id = %(run)s and not success
            """,
            {"run": run.flow_run_id},
        ).fetchall()
        left = left_out(connection, run.flow_run_id)
    return [*left, *(warning for (warning,) in found)]


def left_out(connection: Any, flow_run_id: str) -> list[str]:
    """What was delivered and did not land: optional tables that failed, files of no table."""
    found = connection.execute(
        """
        select name, status
        from (
            select distinct on (table_name) table_name as name, status
            from bronze.load_batches
            where flow_run_id = %s
            order by table_name, batch_id desc
        ) as newest
        where status in ('failed', 'unused')
        """,
        [flow_run_id],
    ).fetchall()
    why = {"failed": "it is there and did not land", "unused": "no table uses it"}
    return [f"{name}: {why[status]}" for name, status in found]


@kept("sweep-orphans")
def sweep_orphans(run: Run) -> list[str]:
    """Drop tables that only a dead run can have left; their names."""
    from loaders import retention

    run.check()
    return retention.sweep_orphans(flow_run_id=run.flow_run_id, lock=run.lock)


@kept("expire-days")
def expire_days(run: Run) -> list[tuple[str, date]]:
    """Drop landed days past DAYBOOK_KEEP_DAYS that were applied; (table, day) of each."""
    from loaders import retention

    run.check()
    return retention.expire_days(retention.keep_days(), flow_run_id=run.flow_run_id, lock=run.lock)


def _what_is_left(run: Run) -> list[str] | None:
    """dbt's arguments for a run that goes on from another's failed nodes; None builds all."""
    from flows import resume, transform

    if run.resumes is None:
        return None
    with _connected(run) as connection:
        nodes = resume.undone_nodes(connection, run.resumes)
    return [*transform.BUILD, "--select", *nodes] if nodes else None


def done_before(run: Run) -> set[str]:
    """The phases that the run it resumes had done; prepare-day is for each run to do."""
    from flows import resume

    if run.resumes is None:
        return set()
    with _connected(run) as connection:
        return resume.done_phases(connection, run.resumes) - {"prepare-day", "day-pipeline"}


def _connected(run: Run, who: str = "daybook") -> Connection:
    """A connection that can be told by its run; `daybook flow` ones survive a stop."""
    from loaders import warehouse

    return warehouse.connect(
        application_name=f"{who} {run.flow_run_id}",
        flow_run_id=run.flow_run_id,
        day=run.day,
        autocommit=True,
    )


@contextlib.contextmanager
def recorded(run: Run) -> Iterator[list[str]]:
    """Keep the run's own row in metrics.pipeline_metrics: running, then success or failure.
    UsageError, and no row, for a day of the calendar that the warehouse does not hold.

    Called under the lock, so rows that an earlier run left `running` belong to the dead: they
    are closed as failures, and the dead runs' ids are what the context gives.
    """
    from flows import resume
    from loaders import ledger

    with _connected(run, "daybook flow") as connection:
        ledger.check_calendar(connection, run.day)
        ledger.reap_running(connection)
        dead = connection.execute(
            """
            update metrics.pipeline_metrics
            set
                status = 'failure',
                error_message = 'the run ended without closing its row',
                finished_at = clock_timestamp(),
                duration_seconds = extract(epoch from clock_timestamp() - started_at)
            where task_name = 'day-pipeline' and status = 'running'
            returning flow_run_id
            """
        ).fetchall()
        [(row,)] = connection.execute(
            """
            insert into metrics.pipeline_metrics
                (flow_run_id, task_name, pipeline_name, day, status, started_at)
            values (%s, 'day-pipeline', 'day', %s, 'running', clock_timestamp())
            returning id
            """,
            [run.flow_run_id, run.day.date],
        ).fetchall()
        resume.begin(connection, run.flow_run_id, run.settings(), run.resumes)
    began = time.monotonic()
    try:
        yield [flow_run_id for (flow_run_id,) in dead]
    except BaseException as error:
        # If the warehouse is gone the row stays `running`, and the next run reaps it.
        with contextlib.suppress(Exception):
            _close(run, row, "failure", without_values(error))
        seconds = time.monotonic() - began
        notify.tell(run.day.text, run.flow_run_id, "failed", seconds, without_values(error))
        write_pages(run, lineage=False)
        raise
    _close(run, row, "success", None)
    with _connected(run) as connection:
        left = "; ".join(left_out(connection, run.flow_run_id)) or None
    notify.tell(run.day.text, run.flow_run_id, "succeeded", time.monotonic() - began, left)
    write_pages(run)


def write_pages(run: Run, *, lineage: bool | None = None) -> None:
    """The pages, once the run's own row is closed, whatever it came to. Where they can't be
    written that is a warning: it must not hide how the day went. `lineage`: as write_site has it.
    """
    from flows import resume, site

    try:
        with took.part("pages"):
            site.write_site(lineage=lineage)
    except Exception as error:
        run.progress(f"warning: no pages were written: {type(error).__name__}: {error}")
    with contextlib.suppress(Exception), _connected(run) as connection:
        resume.note_parts(connection, run.flow_run_id)


def _close(run: Run, row: int, status: str, message: str | None) -> None:
    with _connected(run, "daybook flow") as connection:
        connection.execute(
            """
            update metrics.pipeline_metrics
            set
                status = %s,
                error_message = %s,
                finished_at = clock_timestamp(),
                duration_seconds = extract(epoch from clock_timestamp() - started_at)
            where id = %s
            """,
            [status, message, row],
        )
