"""Landing: a day's raw files into `bronze.stg_*`, one table and day per transaction.

All tables of the day are looked at before the first write (plan.py). A table's batch then begins as
a `running` row of `bronze.load_batches`; in one transaction its files are read into a partition
that nobody sees, counted, checked, and swapped in with its outcome; a failure is noted apart.
"""

from __future__ import annotations

import time
import uuid
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders import ledger, warehouse
from loaders.days import Day
from loaders.errors import DaybookError, LockedError, WarehouseError, plain
from loaders.ledger import Earlier, Outcome
from loaders.partition import NewPartition, drop_partition, drop_shares, has_partition
from loaders.plan import Plan, plan_day, unused
from loaders.raw_file import check_unchanged
from loaders.readers.csv_count import MustBeParsed
from loaders.readers.rows import UnreadableError
from loaders.reading import Progress, Reading
from loaders.slices import worth
from loaders.workers import Workers, hired

if TYPE_CHECKING:
    from psycopg import Connection

    from loaders.lock import Lock

__all__ = ["Landed", "Plan", "land_day", "land_table", "note_unused", "plan_day", "reap_running"]

ATTEMPTS = 3
Same = tuple[Outcome, list[dict[str, Any]]]
SHRINK_FROM = 20  # keys of the earlier day: below, half of them says nothing
REJECTS_OF_FAILED = 1000  # so many of a failed batch are kept


@dataclass(frozen=True, kw_only=True)
class Landed(Outcome):
    """The outcome of one table of one day, and how long it took."""

    table: str
    day: Day
    seconds: float = 0.0
    batch_id: int | None = None


@dataclass(frozen=True)
class _How:
    run: str
    batch_id: int
    force: bool
    allow_shrink: bool
    lock: Lock | None
    workers: int


def reap_running() -> int:
    """Marks batches that a dead run left `running` as failed; call it under the run lock."""
    with warehouse.connect(
        application_name="daybook reap", autocommit=True, role=warehouse.LOADER
    ) as conn:
        return ledger.reap_running(conn)


def land_day(
    data: str | Path,
    day: Day,
    *,
    flow_run_id: str | None = None,
    tables: list[str] | None = None,
    force: bool = False,
    allow_empty: bool = False,
    allow_shrink: bool = False,
    sources: str | Path | None = None,
    progress: Progress | None = None,
    lock: Lock | None = None,
    workers: int = 1,
) -> list[Landed]:
    """Land a day, one table after the other, as plan_day and land_table have it; the caller holds
    the run lock. DaybookError when a required table fails, after what went wrong is in the ledger;
    a failing optional table has the status `failed`, a file that no table uses `unused`."""
    run = flow_run_id or f"land-{uuid.uuid4()}"
    plans = plan_day(data, day, tables, allow_empty=allow_empty, sources=sources)
    no_table = note_unused(data, day, flow_run_id=run, sources=sources) if tables is None else []
    landed = [
        land_table(
            plan,
            flow_run_id=run,
            force=force,
            allow_empty=allow_empty,
            allow_shrink=allow_shrink,
            progress=progress,
            lock=lock,
            workers=workers,
        )
        for plan in plans
    ]
    return landed + no_table


def note_unused(
    data: str | Path, day: Day, *, flow_run_id: str, sources: str | Path | None = None
) -> list[Landed]:
    """Put the day's files that no table uses into its account; what is said of each."""
    files = unused(data, day, sources)
    if files:
        with ledger.connect(day, flow_run_id) as conn:
            ledger.note_unused(conn, flow_run_id, day, files)
    return [
        Landed(table=name, day=day, status="unused", error=f"{name}: {why}")
        for name, why in files.items()
    ]


def land_table(
    plan: Plan,
    *,
    flow_run_id: str,
    force: bool = False,
    allow_empty: bool = False,
    allow_shrink: bool = False,
    progress: Progress | None = None,
    lock: Lock | None = None,
    workers: int = 1,
) -> Landed:
    """Land one table of a day as planned, or record why not.

    `progress(table, bytes done, bytes in all, rows so far)`. `lock` is checked before the commit.
    `workers`: so many processes read its files at most. DaybookError when a required table fails,
    after its failed batch is recorded.
    """
    import psycopg

    started = time.perf_counter()
    reading = Reading(plan, allow_empty, progress)
    outcome: Outcome | Exception
    with ledger.connect(plan.day, flow_run_id) as conn:
        batch_id = ledger.begin(conn, flow_run_id, plan.day, plan.table.name)
        try:
            how = _How(flow_run_id, batch_id, force, allow_shrink, lock, workers)
            outcome = _land(conn, reading, how)
        except Exception as error:
            outcome = error
    if isinstance(failure := outcome, Exception):
        outcome = _record_failure(reading, flow_run_id, batch_id, failure)
        expected = isinstance(failure, (DaybookError, psycopg.Error, OSError))
        if isinstance(failure, LockedError) or not expected:
            raise failure
        # That the server ended it is no fault of an optional table: worth another try.
        if plan.table.required or isinstance(failure, psycopg.OperationalError):
            table = f"{plan.table.name} of {plan.day}"
            raise DaybookError(f"{table} did not land: {outcome.error}") from plain(failure)
    return Landed(
        **vars(outcome),
        table=plan.table.name,
        day=plan.day,
        seconds=time.perf_counter() - started,
        batch_id=batch_id,
    )


def _land(conn: Connection, reading: Reading, how: _How) -> Outcome:
    """Tries again where that helps: behind a deadlock, or with a file that must be parsed here."""
    import psycopg

    plan = reading.plan
    if plan.error:
        raise plan.error
    same = None if how.force or plan.files is None else unchanged(conn, plan)
    many = 0 if same or plan.prepared else worth(plan.files or (), how.workers)
    deadlocks = 0
    while True:
        reading.begin()
        try:
            with hired(many) if many > 1 else nullcontext() as workers:
                return _land_once(conn, reading, how, same, workers)
        except MustBeParsed:
            reading.as_they_are = False
        except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
            deadlocks += 1
            if deadlocks == ATTEMPTS:
                raise
            time.sleep(0.2 * deadlocks)


def _land_once(
    conn: Connection, reading: Reading, how: _How, same: Same | None, workers: Workers | None
) -> Outcome:
    """The transaction that replaces a table's day."""
    plan, table, day = reading.plan, reading.plan.table.name, reading.plan.day
    with conn.transaction():
        partition = None
        source_files: list[dict[str, Any]] = []
        if plan.files is None:
            # an optional table that isn't there: what the day had of it is dropped
            rows = 0 if drop_partition(conn, table, day) else None
            none = dict.fromkeys(("rows_in_files", "rows_landed", "rows_rejected"), rows)
            outcome = Outcome(status="skipped", **none)
        elif same:
            outcome, source_files = same
        else:
            ledger.claim_calendar(conn, day)
            before = ledger.previous_landed(conn, table, day)
            partition = NewPartition(conn, plan.table, day, how.batch_id)
            if workers:
                workers.copy_into(partition, reading, conn, how.batch_id, how.run)
            else:
                reading.copy_into(partition)
            outcome = checked(partition, reading, before, how.allow_shrink)
            source_files = reading.source_files()
            ledger.copy_rejects(conn, how.batch_id, table, day, reading.rejects)
        ledger.finish(conn, how.batch_id, outcome, source_files, plan.fingerprint)
        check_unchanged(*plan.to_read)
        if partition:
            partition.swap_in()
        if how.lock:
            how.lock.check()
    return outcome


def unchanged(conn: Connection, plan: Plan) -> Same | None:
    """The outcome, and the files as delivered, when the table holds exactly these already."""
    same = ledger.unchanged(conn, plan.table.name, plan.day, plan.fingerprint)
    return same if has_partition(conn, plan.table.name, plan.day) else None


def checked(
    partition: NewPartition, reading: Reading, before: Earlier | None, allow_shrink: bool
) -> Outcome:
    """What came of the files that were read into the partition; DaybookError."""
    table, read = reading.plan.table, reading.read
    reading.check()
    if table.kind == "snapshot":
        check_keys(reading.plan, partition, before, allow_shrink)
    return Outcome(
        status="succeeded",
        rows_in_files=read.records.total(),
        rows_landed=read.landed,
        rows_rejected=read.rejected,
        rows_repaired=read.repaired,
        drift=ledger.drift(read.found.missing(), read.found.unknown, before),
    )


def check_keys(
    plan: Plan, partition: NewPartition, before: Earlier | None, allow_shrink: bool
) -> None:
    """Whoever is not in a snapshot counts as gone: so is nobody whose key can't be read."""
    name, key = plan.table.name, ", ".join(plan.table.key)
    earlier = Day(before.day, plan.day.calendar) if before else None
    keys = partition.keys(earlier)
    if keys.rows and not keys.readable:
        raise DaybookError(
            f"{name}: none of its {keys.rows} keys ({key}) can be read: they are blank, or a "
            "spreadsheet has shortened them (to 9.00101E+11 and the like). Export them as text. "
            "Nothing was replaced."
        )
    shrunk = keys.earlier >= SHRINK_FROM and 2 * keys.shared < keys.earlier
    if earlier and shrunk and not allow_shrink:
        few = 2 * keys.rows < keys.earlier
        what = f"{keys.rows} rows are" if few else f"{keys.shared} known keys ({key}) are"
        raise DaybookError(
            f"{name}: {what} less than half of the {keys.earlier} of {earlier}. A lost page, "
            "another system's file, or keys that went through a spreadsheet look like that. If it "
            "is right, land it with --allow-shrink."
        )


def _record_failure(
    reading: Reading, flow_run_id: str, batch_id: int, failure: Exception
) -> Outcome:
    """On a connection of its own: the other may be what failed."""
    import psycopg

    plan = reading.plan
    said = message = str(failure) or type(failure).__name__
    if isinstance(failure, psycopg.Error):
        message = f"{plan.table.name}: {plain(failure)}"
        said = f"{type(failure).__name__} {failure.sqlstate or ''}".strip()
    elif isinstance(failure, UnreadableError):
        said = failure.said
    outcome = Outcome(status="failed", rows_rejected=reading.read.rejected, error=message)
    try:
        with ledger.connect(plan.day, flow_run_id) as conn, conn.transaction():
            drop_shares(conn, plan.table, plan.day, batch_id)
            reading.read.records.clear()  # those of the files before the one that failed
            files = reading.source_files()
            some = islice(reading.rejects, REJECTS_OF_FAILED)
            ledger.copy_rejects(conn, batch_id, plan.table.name, plan.day, some)
            ledger.finish(conn, batch_id, outcome, files, plan.fingerprint, said)
    except WarehouseError:
        pass  # the server is gone: the row stays `running`, and the next run reaps it
    return outcome
