"""Landing: a day's raw files into `bronze.stg_*`, one table and day per transaction.

All tables of the day are looked at before the first write (plan.py). A table's batch then begins as
a `running` row of `bronze.load_batches`; in one transaction its files are read into a partition
that nobody sees, counted, checked, and swapped in with its outcome; a failure is noted apart.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from loaders import ledger
from loaders.days import Day
from loaders.errors import DaybookError, LockedError, WarehouseError, plain, without_values
from loaders.ledger import Batch, LandedDay, Outcome, reap_running
from loaders.lock import Lock, transaction
from loaders.partition import NewPartition, drop_leaves, drop_partition
from loaders.plan import Plan, plan_day, unused
from loaders.raw_file import check_unchanged
from loaders.reading import REJECTS_OF_FAILED, Reading
from loaders.slices import workers_for
from loaders.workers import copy_into

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Landed", "Plan", "land_day", "land_table", "note_unused", "plan_day", "reap_running"]

Progress = Callable[[str, int, int, int], None]
SHOWN_EVERY = 4 << 20  # bytes read, between two calls of progress
SHRINK_FROM = 20  # of the earlier day: below, half of them says nothing


@dataclass(frozen=True, kw_only=True)
class Landed(Outcome):
    """The outcome of one table of one day, and how long it took."""

    table: str
    day: Day
    seconds: float = 0.0
    batch_id: int | None = None


class LandingOptions(TypedDict, total=False):
    """How tables land. `progress(table, bytes done, bytes in all, rows so far)`; `lock` is checked
    before each commit; `workers`: so many processes read a table's files at most."""

    force: bool
    allow_shrink: bool
    progress: Progress | None
    lock: Lock | None
    workers: int


def land_day(
    data: str | Path,
    day: Day,
    *,
    flow_run_id: str | None = None,
    tables: list[str] | None = None,
    sources: str | Path | None = None,
    allow_empty: bool = False,
    **how: Unpack[LandingOptions],
) -> list[Landed]:
    """Land a day, one table after the other (see plan_day and land_table); the caller holds the run
    lock. DaybookError when a required table fails; the ledger has the reason by then. A failing
    optional table has the status `failed`, a file that no table uses `unused`."""
    run = flow_run_id or f"land-{uuid.uuid4()}"
    plans = plan_day(data, day, tables, allow_empty=allow_empty, sources=sources)
    no_table = note_unused(data, day, flow_run_id=run, sources=sources) if tables is None else []
    return [land_table(plan, flow_run_id=run, **how) for plan in plans] + no_table


def note_unused(
    data: str | Path, day: Day, *, flow_run_id: str, sources: str | Path | None = None
) -> list[Landed]:
    """Record the day's files that no table uses in the ledger; one outcome for each."""
    files = [
        Landed(table=name, day=day, status="unused", error=f"{name}: {why}")
        for name, why in unused(data, day, sources).items()
    ]
    if files:
        with ledger.connect(day, flow_run_id) as conn:
            conn.cursor().executemany(
                "insert into bronze.load_batches"
                " (flow_run_id, day, table_name, status, error, finished_at)"
                " values (%s, %s, %s, 'unused', %s, clock_timestamp())",
                [(flow_run_id, day.date, one.table, one.error) for one in files],
            )
    return files


def land_table(plan: Plan, *, flow_run_id: str, **how: Unpack[LandingOptions]) -> Landed:
    """Land one table of a day as planned, or record why not. DaybookError when a required table
    fails, after its failed batch is recorded."""
    import psycopg

    started = time.perf_counter()
    progress = how.get("progress") or (lambda table, done, total, rows: None)
    reading = Reading(plan, _paced(progress, plan))
    outcome: Outcome | BaseException
    with ledger.connect(plan.day, flow_run_id) as conn:
        batch = ledger.begin(conn, flow_run_id, plan.day, plan.table)
        try:
            outcome = _replace(conn, batch, reading, how)
        except BaseException as error:
            outcome = error
    if isinstance(failure := outcome, BaseException):
        outcome = _record_failure(batch, reading, failure)
        expected = isinstance(failure, (DaybookError, psycopg.Error, OSError))
        if isinstance(failure, LockedError) or not expected:
            raise failure
        # An optional table is not to blame when the server ended it: worth another try.
        if plan.table.required or isinstance(failure, psycopg.OperationalError):
            table = f"{plan.table.name} of {plan.day}"
            raise DaybookError(f"{table} did not land: {outcome.error}") from plain(failure)
    seconds = time.perf_counter() - started
    return Landed(
        **vars(outcome), table=plan.table.name, day=plan.day, seconds=seconds, batch_id=batch.id
    )


def _replace(conn: Connection, batch: Batch, reading: Reading, how: LandingOptions) -> Outcome:
    """The transaction that replaces a table's day: readers see the old rows until it commits."""
    plan, table, day = reading.plan, reading.plan.table.name, reading.plan.day
    if plan.error:
        raise plan.error
    new: NewPartition | None = None
    with transaction(conn, how.get("lock")):
        landed, before = ledger.landed_days(conn, table, day)
        is_same = landed and landed.fingerprint == plan.fingerprint and not how.get("force")
        same = landed if is_same else None
        if plan.files is None:
            # An optional table isn't there: its rows of the day are dropped, also expired ones.
            drop_partition(conn, table, day)
            rows = 0 if landed else None
            outcome = Outcome("skipped", rows, rows, rows)
        elif same:
            outcome = Outcome("unchanged", same.rows_in_files, None, same.rows_rejected, same.drift)
        else:
            ledger.claim_calendar(conn, day)
            new = NewPartition(conn, batch)
            workers = 1 if plan.prepared else workers_for(plan.files, how.get("workers", 1))
            copy_into(new, reading, conn, workers)
            outcome = checked(new, reading, before, how.get("allow_shrink", False))
            ledger.copy_rejects(conn, batch, reading.rejects)
        files = same.source_files if same else reading.source_files()
        ledger.finish(conn, batch.id, outcome, files, plan.fingerprint)
        check_unchanged(*plan.to_read)
        if new:
            new.swap_in()  # from here on its readers wait for the commit
    return outcome


def _paced(progress: Progress, plan: Plan) -> Callable[[int, int], None]:
    """Add up what is read, and call `progress` every SHOWN_EVERY bytes."""
    total = sum(file.bytes for file in plan.to_read)
    done = shown = rows = 0

    def tell(size: int, more_rows: int) -> None:
        nonlocal done, shown, rows
        done, rows = done + size, rows + more_rows
        if abs(done - shown) >= SHOWN_EVERY or done >= total:
            shown = done
            progress(plan.table.name, min(done, total), total, rows)

    return tell


def checked(
    partition: NewPartition, reading: Reading, before: LandedDay | None, allow_shrink: bool
) -> Outcome:
    """Check what was read into the partition, and return its outcome; DaybookError."""
    table, read = reading.plan.table, reading.read
    reading.check()
    if table.kind == "snapshot":
        check_shrink(reading, partition, before, allow_shrink)
    declared = {".".join(path) for column in table.columns for path in column.places}
    drift = ledger.drift(read, declared, before)
    counts = (read.records.total(), read.landed, read.rejected)
    return Outcome("succeeded", *counts, drift, rows_repaired=read.repaired)


def check_shrink(
    reading: Reading, partition: NewPartition, before: LandedDay | None, allow_shrink: bool
) -> None:
    """Refuse a snapshot that lost its keys, or would switch off more than half of what was on.

    Whoever is not in it counts as gone. DaybookError when no key can be read, or (without
    `allow_shrink`) when of SHRINK_FROM earlier keys or more not half are left, or are left on by a
    field or list. An empty list that may be empty is not compared."""
    plan = reading.plan
    name, key = plan.table.name, ", ".join(plan.table.key)
    compared = partition.compared(before and before.day)
    if compared.rows and not compared.readable:
        raise DaybookError(
            f"{name}: none of its {compared.rows} keys ({key}) can be read: they are blank, or a "
            "spreadsheet has shortened them (to 9.00101E+11 and the like). Export them as text. "
            "Nothing was replaced."
        )
    if allow_shrink or (plan.may_be_empty and not reading.read.records.total()):
        return

    def has_shrunk(count: int, left: int) -> bool:
        return count >= SHRINK_FROM and 2 * left < count

    if has_shrunk(compared.known, compared.shared):
        is_short = 2 * compared.rows < compared.known
        what = f"{compared.rows} rows" if is_short else f"{compared.shared} known keys ({key})"
        problem = (
            f"{what} are less than half of the {compared.known} of {compared.against}. A lost "
            "page, another system's file, or keys that went through a spreadsheet look like that."
        )
    else:
        if compared.known < SHRINK_FROM:
            compared = partition.compared_with_list()
        switched_off = [switch for switch in compared.switches if has_shrunk(*switch[1:])]
        if not switched_off:
            return
        columns, were_on, are_on = switched_off[0]
        problem = (
            f"of the {were_on} that are on in {compared.against} it would leave on {are_on} "
            f"(by {columns}). A field that was exported or mapped otherwise than before looks like "
            "that."
        )
    raise DaybookError(f"{name}: {problem} If it is right, land it with --allow-shrink.")


def _record_failure(batch: Batch, reading: Reading, failure: BaseException) -> Outcome:
    """Record a failed batch, on a connection of its own: the batch's may be what failed."""
    plan = reading.plan
    error, rejected = plain(failure), reading.read.rejected
    public = Outcome("failed", rows_rejected=rejected, error=without_values(error))
    outcome = replace(public, error=str(error) or public.error)
    # By its session's name a stop lets it be. If the server is gone the next run reaps the row.
    with (
        suppress(WarehouseError),
        ledger.connect(batch.day, batch.flow_run_id, "daybook flow") as conn,
        conn.transaction(),
    ):
        running = "select from bronze.load_batches where batch_id = %s and status = 'running'"
        if not conn.execute(running, [batch.id]).rowcount:  # the failure came after its commit
            return outcome
        drop_leaves(conn, batch)
        reading.read.records.clear()  # those of the files before the one that failed
        rejects = (reject for reject in reading.rejects if not reject[-1])  # none has landed
        ledger.copy_rejects(conn, batch, islice(rejects, REJECTS_OF_FAILED))
        ledger.finish(conn, batch.id, public, reading.source_files(), plan.fingerprint)
    return outcome
