"""Landing: a day's raw files into `bronze.stg_*`, one table and day per transaction."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders import ledger, warehouse
from loaders.attempt import Attempt, RefusedFile, copy_all, too_many
from loaders.days import Day
from loaders.errors import DaybookError, LockedError, WarehouseError, plain
from loaders.opening import check_unchanged
from loaders.partition import NewPartition, drop_partition, has_partition
from loaders.plan import Plan, plan_day, unused
from loaders.readers.rows import UnreadableError

if TYPE_CHECKING:
    from psycopg import Connection

    from loaders.lock import Lock

__all__ = ["Landed", "Plan", "land_day", "land_table", "note_unused", "plan_day", "reap_running"]

Progress = Callable[[str, int, int], None]
ATTEMPTS = 3
SHRINK_FROM = 20  # keys of the earlier day: below, half of them says nothing
TOLD_EVERY = 4 << 20  # bytes

reap_running = ledger.reap_running


@dataclass(frozen=True)
class Landed:
    """What became of one table of one day; rows are None where the status has none."""

    table: str
    day: Day
    status: str  # succeeded, unchanged, skipped, failed or (a file of no table) unused
    rows_in_files: int | None
    rows_landed: int | None
    rows_rejected: int | None
    drift: dict[str, list[str]] | None
    seconds: float
    batch_id: int | None
    error: str | None = None
    rows_repaired: int = 0


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
) -> list[Landed]:
    """Land a day, one table after the other; the caller holds the run lock.

    `sources`: as plan_day has it. DaybookError when a required table fails, after what went wrong
    is in the ledger; a failing optional table has the status `failed`, a file that no table uses
    `unused`.
    """
    run = flow_run_id or f"land-{uuid.uuid4()}"
    plans = plan_day(data, day, tables, allow_empty=allow_empty, sources=sources)
    left = note_unused(data, day, flow_run_id=run, sources=sources) if tables is None else []
    landed = [
        land_table(
            plan,
            flow_run_id=run,
            force=force,
            allow_empty=allow_empty,
            allow_shrink=allow_shrink,
            progress=progress,
            lock=lock,
        )
        for plan in plans
    ]
    return landed + left


def note_unused(
    data: str | Path, day: Day, *, flow_run_id: str, sources: str | Path | None = None
) -> list[Landed]:
    """Put the day's files that no table uses into its account; what is said of each."""
    found = unused(data, day, sources)
    if found:
        with _connect(flow_run_id, day) as conn:
            ledger.note_unused(conn, flow_run_id, day, found)
    return [
        Landed(name, day, "unused", None, None, None, None, 0.0, None, f"{name}: {why}")
        for name, why in found.items()
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
) -> Landed:
    """Land one table of a day as planned, or record why not.

    `progress(table, bytes done, bytes in all)`. `lock` is checked before the commit. DaybookError
    when a required table fails, after its failed batch is recorded.
    """
    import psycopg

    started = time.perf_counter()
    attempt = Attempt(plan, allow_empty, *_teller(plan, progress))
    table, day = plan.table, plan.day
    with _connect(flow_run_id, day) as conn:
        batch_id = ledger.begin(conn, flow_run_id, day, table.name)
        try:
            outcome = _land_somehow(conn, attempt, batch_id, force, allow_shrink, lock)
            return Landed(table.name, day, **outcome, seconds=_since(started), batch_id=batch_id)
        except Exception as error:
            failure = error
    if isinstance(failure, psycopg.Error):
        message = f"{table.name}: {plain(failure)}"
        said = f"{type(failure).__name__} {failure.sqlstate or ''}".strip()
    else:
        message = str(failure) or type(failure).__name__
        said = failure.said if isinstance(failure, UnreadableError) else message
    _record_failure(attempt, flow_run_id, batch_id, message, said)
    if isinstance(failure, LockedError) or not isinstance(
        failure, (DaybookError, psycopg.Error, OSError)
    ):
        raise failure
    if table.required:
        raise DaybookError(f"{table.name} of {day} did not land: {message}") from plain(failure)
    rejected = attempt.rejects.count
    return Landed(
        table.name, day, "failed", None, None, rejected, None, _since(started), batch_id, message
    )


def _land_somehow(
    conn: Connection,
    attempt: Attempt,
    batch_id: int,
    force: bool,
    allow_shrink: bool,
    lock: Lock | None,
) -> dict[str, Any]:
    """Tries again where that can help: a deadlock, or a file that must be parsed here."""
    import psycopg

    plan = attempt.plan
    if plan.error:
        raise plan.error
    tries = 0
    while True:
        attempt.restart()
        try:
            with conn.transaction():
                if plan.files is None:
                    outcome = _skip(conn, plan, batch_id)
                elif not force and (same := _unchanged(conn, plan, batch_id)):
                    outcome = same
                else:
                    outcome = _land(conn, attempt, batch_id, allow_shrink)
                check_unchanged(*plan.to_read)
                if lock is not None:
                    lock.check()
            return outcome
        except RefusedFile as refused:
            attempt.parsed.add(str(refused))
            if len(attempt.parsed) > 3:  # each one more would start the table over again
                attempt.parsed.update(scanned.file.path for scanned in plan.files or ())
        except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
            tries += 1
            if tries == ATTEMPTS:
                raise
            time.sleep(0.2 * tries)


def _skip(conn: Connection, plan: Plan, batch_id: int) -> dict[str, Any]:
    """An optional table that isn't there: what the day had of it is dropped."""
    dropped = drop_partition(conn, plan.table.name, plan.day)
    rows = 0 if dropped else None
    ledger.finish(
        conn, batch_id, "skipped", rows_in_files=rows, rows_landed=rows, rows_rejected=rows
    )
    return _outcome("skipped", rows, rows, rows, None)


def _unchanged(conn: Connection, plan: Plan, batch_id: int) -> dict[str, Any] | None:
    """The outcome when the table holds exactly these files already; else None."""
    current = ledger.current_batch(conn, plan.table.name, plan.day)
    if (
        current is None
        or current.status != "succeeded"
        or current.fingerprint != plan.fingerprint
        or ledger.newest_status(conn, plan.table.name, plan.day, batch_id) == "failed"
        or not has_partition(conn, plan.table.name, plan.day)
    ):
        return None
    [(rows, rejected, source_files)] = conn.execute(
        "select rows_in_files, rows_rejected, source_files from bronze.load_batches"
        " where batch_id = %s",
        [current.batch_id],
    ).fetchall()
    ledger.finish(
        conn,
        batch_id,
        "unchanged",
        rows_in_files=rows,
        rows_rejected=rejected,
        source_files=source_files,
        fingerprint=plan.fingerprint,
        drift=current.drift,
    )
    return _outcome("unchanged", rows, None, rejected, current.drift)


def _land(conn: Connection, attempt: Attempt, batch_id: int, allow_shrink: bool) -> dict[str, Any]:
    plan, table, rejects = attempt.plan, attempt.plan.table, attempt.rejects
    ledger.claim_calendar(conn, plan.day)
    before = ledger.previous_landed(conn, table.name, plan.day)
    partition = NewPartition(conn, table, plan.day, batch_id)
    landed = copy_all(partition, attempt)
    in_files = sum(attempt.records.values())
    if landed + rejects.count != in_files:
        raise DaybookError(
            f"{table.name}: {in_files} records are in the files, but {landed} landed and "
            f"{rejects.count} were rejected."
        )
    if rejects.count > table.max_reject_share * in_files:
        raise too_many(attempt)
    if table.kind == "snapshot":
        _check_keys(plan, partition, before, allow_shrink)
    drift = ledger.drift(
        attempt.found.missing(table),
        attempt.found.unknown,
        before.drift if before else None,
        first=before is None,
    )
    ledger.copy_rejects(conn, batch_id, table.name, plan.day, rejects)
    ledger.finish(
        conn,
        batch_id,
        "succeeded",
        rows_landed=landed,
        rows_in_files=in_files,
        rows_rejected=rejects.count,
        source_files=_source_files(plan, attempt.records),
        fingerprint=plan.fingerprint,
        drift=drift,
    )
    partition.swap_in()
    found = _outcome("succeeded", in_files, landed, rejects.count, drift)
    return {**found, "rows_repaired": rejects.repaired}


def _check_keys(
    plan: Plan, partition: NewPartition, before: ledger.Batch | None, allow_shrink: bool
) -> None:
    """Whoever is not in a snapshot counts as gone: so is nobody whose key can't be read."""
    table = plan.table
    was = Day(before.day, plan.day.calendar) if before else None
    keys = partition.keys(was)
    key = ", ".join(table.key)
    if keys.rows and not keys.readable:
        raise DaybookError(
            f"{table.name}: none of its {keys.rows} keys ({key}) can be read: they are blank, or a "
            "spreadsheet has shortened them (to 9.00101E+11 and the like). Export them as text. "
            "Nothing was replaced."
        )
    if was and keys.earlier >= SHRINK_FROM and 2 * keys.shared < keys.earlier and not allow_shrink:
        few = 2 * keys.rows < keys.earlier
        what = f"{keys.rows} rows are" if few else f"{keys.shared} known keys ({key}) are"
        raise DaybookError(
            f"{table.name}: {what} less than half of the {keys.earlier} of {was}. A lost page, "
            "another system's file, or keys that went through a spreadsheet look like that. If it "
            "is right, land it with --allow-shrink."
        )


def _record_failure(
    attempt: Attempt, flow_run_id: str, batch_id: int, message: str, said: str
) -> None:
    """In a transaction of its own, on a connection of its own: the other may be what failed."""
    plan = attempt.plan
    try:
        with _connect(flow_run_id, plan.day) as conn, conn.transaction():
            ledger.finish(
                conn,
                batch_id,
                "failed",
                rows_rejected=attempt.rejects.count,
                source_files=_source_files(plan, attempt.records),
                fingerprint=plan.fingerprint,
                error=message,
                said=said,
            )
            ledger.copy_rejects(
                conn,
                batch_id,
                plan.table.name,
                plan.day,
                attempt.rejects,
                limit=ledger.REJECTS_OF_FAILED,
            )
    except WarehouseError:
        return  # the server is gone: the row stays `running`, and the next run reaps it


def _source_files(plan: Plan, records: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "path": scanned.file.path,
            "bytes": scanned.file.bytes,
            "sha256": scanned.sha256,
            "records": records.get(scanned.file.path, scanned.records),
        }
        for scanned in plan.files or ()
    ]


def _outcome(
    status: str,
    rows_in_files: int | None,
    rows_landed: int | None,
    rows_rejected: int | None,
    drift: dict[str, list[str]] | None,
) -> dict[str, Any]:
    return {
        "status": status,
        "rows_in_files": rows_in_files,
        "rows_landed": rows_landed,
        "rows_rejected": rows_rejected,
        "drift": drift,
    }


def _teller(plan: Plan, progress: Progress | None) -> list[Callable[[bytes], None]]:
    """Adds up bytes read and tells `progress`, not more often than every 4 MiB."""
    if progress is None:
        return []
    total = sum(file.bytes for file in plan.to_read)
    done = told = 0

    def tell(data: bytes) -> None:
        nonlocal done, told
        done = min(done + len(data), total)
        if done - told >= TOLD_EVERY or done == total:
            told = done
            progress(plan.table.name, done, total)

    return [tell]


def _connect(flow_run_id: str, day: Day) -> Connection:
    return warehouse.connect(
        application_name=f"daybook land {flow_run_id}",
        flow_run_id=flow_run_id,
        day=day,
        autocommit=True,
        role=warehouse.LOADER,
        client_encoding="UTF8",
    )


def _since(started: float) -> float:
    return time.perf_counter() - started
