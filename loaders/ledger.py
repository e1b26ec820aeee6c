"""The landing ledger: `bronze.load_batches`, `bronze.load_rejects` and landing's run metrics."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from loaders.days import Day
from loaders.errors import UsageError
from loaders.readers.rows import Reject

if TYPE_CHECKING:
    from psycopg import Connection

REJECTS_IN_MEMORY = 8 << 20
REJECTS_OF_FAILED = 1000


@dataclass(frozen=True)
class Batch:
    """A row of load_batches, as far as landing looks at it."""

    batch_id: int
    day: date
    status: str
    fingerprint: str | None
    rows_landed: int | None
    drift: dict[str, list[str]] | None


class Rejects:
    """What one attempt put aside, beyond 8 MiB on disk. `count` are those that did not land,
    `repaired` those that did."""

    def __init__(self) -> None:
        self._lines = tempfile.SpooledTemporaryFile(  # noqa: SIM115
            max_size=REJECTS_IN_MEMORY, mode="w+", encoding="utf-8"
        )
        self.count = self.repaired = 0

    def add(self, path: str, reject: Reject) -> None:
        kept = [path, reject.number, reject.reason, reject.raw, reject.landed]
        self._lines.write(json.dumps(kept) + "\n")
        self.count += not reject.landed
        self.repaired += reject.landed

    def __iter__(self) -> Iterator[list[Any]]:
        self._lines.seek(0)
        return (json.loads(line) for line in self._lines)

    def clear(self) -> None:
        self._lines.seek(0)
        self._lines.truncate()
        self.count = self.repaired = 0


def check_calendar(conn: Connection, day: Day) -> None:
    """UsageError when the warehouse holds the other calendar."""
    found = conn.execute("select kind from bronze.calendar").fetchone()
    if found and found[0] != day.calendar:
        words = {"dated": "dates (2026-01-05)", "numbered": "numbered days (day1)"}
        raise UsageError(
            f"{day}: this warehouse holds {words[found[0]]}, and never both calendars. "
            "Use another DAYBOOK_HOME or database."
        )


def claim_calendar(conn: Connection, day: Day) -> None:
    """Makes the warehouse one of `day`'s calendar, in the caller's transaction."""
    check_calendar(conn, day)
    conn.execute(
        "insert into bronze.calendar (kind) values (%s) on conflict do nothing", [day.calendar]
    )
    check_calendar(conn, day)


def begin(conn: Connection, flow_run_id: str, day: Day, table: str) -> int:
    """Adds a `running` batch and gives its id."""
    [(batch_id,)] = conn.execute(
        "insert into bronze.load_batches (flow_run_id, day, table_name, status)"
        " values (%s, %s, %s, 'running') returning batch_id",
        [flow_run_id, day.date, table],
    ).fetchall()
    return batch_id


def finish(
    conn: Connection,
    batch_id: int,
    status: str,
    *,
    rows_landed: int | None = None,
    rows_in_files: int | None = None,
    rows_rejected: int | None = None,
    source_files: list[dict[str, Any]] | None = None,
    fingerprint: str | None = None,
    drift: dict[str, list[str]] | None = None,
    error: str | None = None,
    said: str | None = None,
) -> None:
    """Gives a batch its final status and appends landing's run metrics, in the caller's
    transaction. `error` may show what is in the files; `said` is what the metrics may say."""
    from psycopg.types.json import Jsonb

    conn.execute(
        """
        update bronze.load_batches
        set status = %s, rows_landed = %s, rows_in_files = %s, rows_rejected = %s,
            source_files = %s, fingerprint = %s, drift = %s, error = %s,
            finished_at = clock_timestamp()
        where batch_id = %s
        """,
        [
            status,
            rows_landed,
            rows_in_files,
            rows_rejected,
            Jsonb(source_files or []),
            fingerprint,
            Jsonb(drift) if drift else None,
            _storable(error),
            batch_id,
        ],
    )
    conn.execute(
        """
        insert into metrics.pipeline_metrics (
            flow_run_id, task_name, pipeline_name, table_name, day, rows_landed,
            status, error_message, started_at, finished_at, duration_seconds
        )
        select
            flow_run_id, 'land-table', 'landing', table_name, day, coalesce(rows_landed, 0),
            case status when 'failed' then 'failure' else 'success' end, %s, started_at,
            finished_at,
            greatest(extract(epoch from finished_at - started_at), 0.000001)
        from bronze.load_batches
        where batch_id = %s
        """,
        [_storable(said), batch_id],
    )


def _storable(text: str | None) -> str | None:
    return text and text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def copy_rejects(
    conn: Connection,
    batch_id: int,
    table: str,
    day: Day,
    rejects: Rejects,
    limit: int | None = None,
) -> None:
    """Writes the rejects of a batch to load_rejects, at most `limit` of them."""
    if not rejects.count + rejects.repaired:
        return
    columns = "batch_id, table_name, _day, source_file, source_row, reason, raw_text, landed"
    with conn.cursor().copy(f"copy bronze.load_rejects ({columns}) from stdin") as copy:
        for index, reject in enumerate(rejects):
            if index == limit:
                break
            copy.write_row((batch_id, table, day.date, *reject))


_BATCH = "batch_id, day, status, fingerprint, rows_landed, drift"


def note_unused(conn: Connection, flow_run_id: str, day: Day, unused: dict[str, str]) -> None:
    """A batch of the status `unused` for each file of the day that no table uses."""
    for name, why in unused.items():
        conn.execute(
            "insert into bronze.load_batches"
            " (flow_run_id, day, table_name, status, error, finished_at)"
            " values (%s, %s, %s, 'unused', %s, clock_timestamp())",
            [flow_run_id, day.date, name, f"{name}: {why}"],
        )


def current_batch(conn: Connection, table: str, day: Day) -> Batch | None:
    """The batch whose rows the table holds for `day`."""
    found = conn.execute(
        f"select {_BATCH} from bronze.load_batches where table_name = %s and day = %s"
        " and rows_landed is not null and status in ('succeeded', 'skipped')"
        " order by batch_id desc limit 1",
        [table, day.date],
    ).fetchone()
    return Batch(*found) if found else None


def newest_status(conn: Connection, table: str, day: Day, before: int) -> str | None:
    """The status of the newest batch of the table's day before batch `before`."""
    found = conn.execute(
        "select status from bronze.load_batches where table_name = %s and day = %s"
        " and batch_id < %s order by batch_id desc limit 1",
        [table, day.date, before],
    ).fetchone()
    return found[0] if found else None


def previous_landed(conn: Connection, table: str, day: Day) -> Batch | None:
    """The current batch of the nearest earlier day on which the table landed."""
    found = conn.execute(
        f"""
        select {_BATCH}
        from (
            select distinct on (day) *
            from bronze.load_batches
            where table_name = %s and day < %s and rows_landed is not null
                and status in ('succeeded', 'skipped')
            order by day desc, batch_id desc
        ) as landed
        where status = 'succeeded'
        order by day desc
        limit 1
        """,
        [table, day.date],
    ).fetchone()
    return Batch(*found) if found else None


def reap_running(conn: Connection) -> int:
    """Marks batches that a dead run left `running` as failed; call it under the run lock."""
    left = conn.execute(
        "select batch_id from bronze.load_batches where status = 'running'"
    ).fetchall()
    with conn.transaction():
        for (batch_id,) in left:
            message = "the run ended in the middle of it; nothing was replaced"
            finish(conn, batch_id, "failed", error=message, said=message)
    return len(left)


def drift(
    missing: set[str], unknown: set[str], before: dict[str, list[str]] | None, first: bool
) -> dict[str, list[str]] | None:
    """What the files lack and have beyond the declaration, and how that differs from the day
    before: {"missing", "unknown", "added", "gone"}, each only when it has names; None without.

    A field is there unless it is missing, or when it is unknown: so the day before's drift says
    which fields it had.
    """
    was = before or {}
    was_missing, was_unknown = set(was.get("missing", [])), set(was.get("unknown", []))
    found = {"missing": missing, "unknown": unknown}
    if not first:
        found["added"] = (unknown - was_unknown) | (was_missing - missing)
        found["gone"] = (missing - was_missing) | (was_unknown - unknown)
    return {kind: sorted(names) for kind, names in found.items() if names} or None
