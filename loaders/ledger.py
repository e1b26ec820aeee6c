"""The landing ledger: `bronze.load_batches`, `bronze.load_rejects` and landing's run metrics."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from loaders import warehouse
from loaders.days import Day
from loaders.errors import UsageError
from loaders.forget import eraser_of_landing
from loaders.schema import Table

if TYPE_CHECKING:
    from psycopg import Connection

Drift = dict[str, list[str]]


@dataclass(frozen=True)
class Outcome:
    """What became of a batch; rows are None where the status has none."""

    status: str  # succeeded, unchanged, skipped, failed or (a file of no table) unused
    rows_in_files: int | None = None
    rows_landed: int | None = None
    rows_rejected: int | None = None
    drift: Drift | None = None
    error: str | None = None
    rows_repaired: int = 0


class Batch(NamedTuple):
    """A try to land a table of a day; `started_at` is when its rows are said to be loaded."""

    table: Table
    day: Day
    flow_run_id: str
    id: int
    started_at: datetime


class LandedDay(NamedTuple):
    """What a table has of a day since a batch. `stands`: its partition is there, and no later try
    to land the day has failed; `source_files` are None of another day than was asked for."""

    day: Day
    stands: bool
    fingerprint: str
    source_files: list[dict[str, Any]] | None
    rows_in_files: int
    rows_rejected: int
    drift: Drift | None


def connect(day: Day, flow_run_id: str | None = None) -> Connection:
    """A session of a run's landing, or of a plan's."""
    return warehouse.connect(
        application_name=f"daybook land {flow_run_id}" if flow_run_id else "daybook plan",
        flow_run_id=flow_run_id,
        day=day,
        autocommit=True,
        role=warehouse.LOADER,
        client_encoding="UTF8",
    )


def check_calendar(conn: Connection, day: Day) -> None:
    """UsageError when the warehouse holds the other calendar."""
    held = conn.execute("select kind from bronze.calendar").fetchone()
    if held and held[0] != day.calendar:
        words = {"dated": "dates (2026-01-05)", "numbered": "numbered days (day1)"}
        raise UsageError(
            f"{day}: this warehouse holds {words[held[0]]}, and never both calendars. "
            "Use another DAYBOOK_HOME or database."
        )


def claim_calendar(conn: Connection, day: Day) -> None:
    """Makes the warehouse one of `day`'s calendar, in the caller's transaction."""
    conn.execute(
        "insert into bronze.calendar (kind) values (%s) on conflict do nothing", [day.calendar]
    )
    check_calendar(conn, day)


def begin(conn: Connection, flow_run_id: str, day: Day, table: Table) -> Batch:
    """Adds a `running` batch."""
    [begun] = conn.execute(
        "insert into bronze.load_batches (flow_run_id, day, table_name, status)"
        " values (%s, %s, %s, 'running') returning batch_id, started_at",
        [flow_run_id, day.date, table.name],
    ).fetchall()
    return Batch(table, day, flow_run_id, *begun)


def finish(
    conn: Connection,
    batch_id: int,
    outcome: Outcome,
    source_files: list[dict[str, Any]] | None = None,
    fingerprint: str | None = None,
    said: str | None = None,
) -> None:
    """Gives a batch its outcome and appends landing's run metrics, in the caller's transaction.
    The outcome's error may show what is in the files; `said` is what the metrics may say of it.
    Of who is forgotten neither tells, nor do the batch's rejects."""
    from psycopg.rows import dict_row
    from psycopg.types.json import Jsonb

    [ended] = conn.cursor(row_factory=dict_row).execute(
        """
        update bronze.load_batches
        set status = %(status)s, rows_landed = %(rows_landed)s,
            rows_in_files = %(rows_in_files)s, rows_rejected = %(rows_rejected)s,
            source_files = %(source_files)s, fingerprint = %(fingerprint)s,
            drift = %(drift)s, error = %(error)s, finished_at = clock_timestamp()
        where batch_id = %(batch_id)s
        returning
            flow_run_id, table_name, day, coalesce(rows_landed, 0) as rows_landed, started_at,
            finished_at, case status when 'failed' then 'failure' else 'success' end as status,
            greatest(extract(epoch from finished_at - started_at), 0.000001) as duration_seconds
        """,
        {
            **vars(outcome),
            "batch_id": batch_id,
            "source_files": Jsonb(source_files or []),
            "fingerprint": fingerprint,
            "drift": Jsonb(outcome.drift) if outcome.drift else None,
            "error": _storable(outcome.error),
        },
    )
    ended |= {"task_name": "land-table", "pipeline_name": "landing"}
    note(conn, "pipeline_metrics", {**ended, "error_message": _storable(said)})
    if eraser := eraser_of_landing(conn):
        eraser.texts(batch_id)


def note(conn: Connection, table: str, *rows: dict[str, Any], again: str = "") -> None:
    """Adds rows, all of the same columns, to a table of metrics; `again`: what is to become of one
    that is there already, as SQL has it after `on conflict`."""
    from psycopg import sql
    from psycopg.types.json import Jsonb

    if not rows:
        return
    statement = "insert into {table} ({columns}) select {columns} from jsonb_populate_recordset"
    statement += f"(null::{{table}}, %s) {'on conflict' if again else ''} {again}"
    columns = sql.SQL(", ").join(map(sql.Identifier, rows[0]))
    insert = sql.SQL(statement).format(table=sql.Identifier("metrics", table), columns=columns)
    conn.execute(insert, [Jsonb(rows, dumps=partial(json.dumps, default=str))])


def _storable(text: str | None) -> str | None:
    return text and text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def copy_rejects(conn: Connection, batch: Batch, rejects: Iterable[list[Any]]) -> None:
    """Writes a batch's rejects: file, row, reason, raw text, and whether the record landed."""
    columns = "batch_id, table_name, _day, source_file, source_row, reason, raw_text, landed"
    with conn.cursor().copy(f"copy bronze.load_rejects ({columns}) from stdin") as copy:
        for reject in rejects:
            copy.write_row((batch.id, batch.table.name, batch.day.date, *reject))


def landed_days(
    conn: Connection, table: str, day: Day
) -> tuple[LandedDay | None, LandedDay | None]:
    """What a table has of the day, and of the nearest earlier day that has rows of it."""
    found = conn.execute(
        """
        with batches as (
            select * from bronze.load_batches
            where table_name = %(table)s and day <= %(day)s and status <> 'running'
        ),

        landed as (
            select distinct on (day) *
            from batches
            where rows_landed is not null and status in ('succeeded', 'skipped')
            order by day desc, batch_id desc
        )

        select
            day,
            to_regclass('bronze.' || table_name || '_p' || to_char(day, 'YYYYMMDD')) is not null
            and 'failed' <> (
                select status from batches
                where batches.day = landed.day
                order by batch_id desc
                limit 1
            ),
            fingerprint, case day when %(day)s then source_files end,
            rows_in_files, rows_rejected, drift
        from landed
        where status = 'succeeded'
        order by day desc
        limit 2
        """,
        {"table": table, "day": day.date},
    )
    days = [LandedDay(Day(date, day.calendar), *about) for date, *about in found]
    own = days.pop(0) if days and days[0].day == day else None
    return own, days[0] if days else None


def reap_running() -> int:
    """Marks batches that a dead run left `running` as failed; call it under the run lock."""
    message = "the run ended in the middle of it; nothing was replaced"
    with (
        warehouse.connect(application_name="daybook reap", role=warehouse.LOADER) as conn,
        conn.transaction(),
    ):
        running = conn.execute(
            "select batch_id from bronze.load_batches where status = 'running'"
        ).fetchall()
        for (batch_id,) in running:
            finish(conn, batch_id, Outcome(status="failed", error=message), said=message)
    return len(running)


def drift(missing: set[str], unknown: set[str], before: LandedDay | None) -> Drift | None:
    """What the files lack and have beyond the declaration, and how that differs from the day
    before: {"missing", "unknown", "added", "gone"}, each only when it has names; None without.

    A field is there unless it is missing, or when it is unknown: so the day before's drift says
    which fields it had.
    """
    names = {"missing": missing, "unknown": unknown}
    if before:
        earlier = before.drift or {}
        was_missing, was_unknown = (set(earlier.get(kind, [])) for kind in ("missing", "unknown"))
        names["added"] = (unknown - was_unknown) | (was_missing - missing)
        names["gone"] = (missing - was_missing) | (was_unknown - unknown)
    return {kind: sorted(of) for kind, of in names.items() if of} or None
