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
from loaders.readers.mapping import folded
from loaders.readers.rows import Observed
from loaders.schema import Table
from loaders.sql import statement

if TYPE_CHECKING:
    from psycopg import Connection

Drift = dict[str, list[str]]


@dataclass(frozen=True)
class Outcome:
    """How a batch ended; counts are None where the status has none."""

    status: str  # succeeded, unchanged, skipped, failed; unused: a file that no table uses
    rows_in_files: int | None = None
    rows_landed: int | None = None
    rows_rejected: int | None = None
    drift: Drift | None = None
    error: str | None = None
    rows_repaired: int = 0


class Batch(NamedTuple):
    """One try to land a table of a day; `started_at` becomes its rows' `_loaded_at` (with workers,
    each share's is a microsecond behind that of the share before it)."""

    table: Table
    day: Day
    flow_run_id: str
    id: int
    started_at: datetime


class LandedDay(NamedTuple):
    """What the newest landed batch of a table's day left. `fingerprint` is empty when its partition
    is gone or a later batch has failed, `source_files` None for another day than was asked for,
    `drift` None while no day has had records."""

    day: Day
    fingerprint: str
    source_files: list[dict[str, Any]] | None
    rows_in_files: int
    rows_rejected: int
    drift: Drift | None
    flow_run_id: str


def connect(
    day: Day | None,
    flow_run_id: str | None = None,
    who: str = "daybook land",
    role: str = warehouse.LOADER,
) -> Connection:
    """A session of a run, `who` and its id being the session's name; without a run for a plan. It
    commits each statement, so that no lock outlives what was read."""
    return warehouse.connect(
        application_name=f"{who} {flow_run_id}" if flow_run_id else "daybook plan",
        flow_run_id=flow_run_id,
        day=day,
        autocommit=True,
        role=role,
    )


def check_calendar(conn: Connection, day: Day) -> None:
    """UsageError when the warehouse holds the other calendar."""
    row = conn.execute("select kind from bronze.calendar").fetchone()
    if row and row[0] != day.calendar:
        kinds = {"dated": "dates (2026-01-05)", "numbered": "numbered days (day1)"}
        raise UsageError(
            f"{day}: this warehouse holds {kinds[row[0]]}, and never both calendars. "
            "Use another DAYBOOK_HOME or database."
        )


def claim_calendar(conn: Connection, day: Day) -> None:
    """Set the warehouse's calendar to that of `day`, in the caller's transaction; UsageError."""
    conn.execute(
        "insert into bronze.calendar (kind) values (%s) on conflict do nothing", [day.calendar]
    )
    check_calendar(conn, day)


def begin(conn: Connection, flow_run_id: str, day: Day, table: Table) -> Batch:
    """Record a new batch as `running`."""
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
) -> None:
    """Record a batch's outcome, whose error has no value of data, and its row in pipeline_metrics,
    in the caller's transaction. The forgotten are erased from both and from the batch's rejects."""
    from psycopg.rows import dict_row
    from psycopg.types.json import Jsonb

    [ended] = conn.cursor(row_factory=dict_row).execute(
        statement("finish_batch").encode(),
        {
            **vars(outcome),
            "batch_id": batch_id,
            "source_files": Jsonb(source_files or []),
            "fingerprint": fingerprint,
            "drift": Jsonb(outcome.drift) if outcome.drift else None,
        },
    )
    ended |= {"task_name": "land-table", "pipeline_name": "landing"}
    note(conn, "pipeline_metrics", ended)
    if eraser := eraser_of_landing(conn):
        eraser.texts(batch_id)


def note(conn: Connection, table: str, *rows: dict[str, Any], again: str = "") -> None:
    """Insert rows, which all have the same columns, into a table of metrics. `again` is the SQL
    after `on conflict`."""
    from psycopg import sql
    from psycopg.types.json import Jsonb

    if not rows:
        return
    text = "insert into {table} ({columns}) select {columns} from jsonb_populate_recordset"
    text += f"(null::{{table}}, %s) {'on conflict' if again else ''} {again}"
    columns = sql.SQL(", ").join(map(sql.Identifier, rows[0]))
    insert = sql.SQL(text).format(table=sql.Identifier("metrics", table), columns=columns)
    conn.execute(insert, [Jsonb(rows, dumps=partial(json.dumps, default=str))])


def copy_rejects(conn: Connection, batch: Batch, rejects: Iterable[list[Any]]) -> None:
    """Record a batch's rejects: file, row, reason, raw text, and whether the record landed."""
    columns = "batch_id, table_name, _day, source_file, source_row, reason, raw_text, landed"
    with conn.cursor().copy(f"copy bronze.load_rejects ({columns}) from stdin") as copy:
        for reject in rejects:
            copy.write_row((batch.id, batch.table.name, batch.day.date, *reject))


def landed_days(
    conn: Connection, table: str, day: Day
) -> tuple[LandedDay | None, LandedDay | None]:
    """The table's landed `day`, and its nearest earlier landed day; None for each that is not."""
    parameters = {"table": table, "day": day.date}
    rows = conn.execute(statement("landed_days").encode(), parameters)
    days = [LandedDay(Day(date, day.calendar), *rest) for date, *rest in rows]
    own = days.pop(0) if days and days[0].day == day else None
    return own, days[0] if days else None


def reap_running() -> int:
    """Mark as failed the batches that a dead run left `running`; call it under the run lock."""
    message = "the run ended in the middle of it; nothing was replaced"
    with (
        warehouse.connect(application_name="daybook flow reap", role=warehouse.LOADER) as conn,
        conn.transaction(),
    ):
        running = conn.execute(
            "select batch_id from bronze.load_batches where status = 'running'"
        ).fetchall()
        for (batch_id,) in running:
            finish(conn, batch_id, Outcome(status="failed", error=message))
    return len(running)


def drift(read: Observed, declared: set[str], before: LandedDay | None) -> Drift | None:
    """The columns that the files lack (`missing`) and their undeclared fields (`unknown`), and the
    fields that came (`added`) and went (`gone`) since the day before. Only what has names; or None.
    An unknown field that is among the `declared` ones by now is not gone.

    A day has the declared fields that are not missing, and the unknown ones: so the drift of the
    day before says which fields it had. Without records and header it has those of the day before.
    """
    names = {"missing": read.missing(), "unknown": read.unknown}
    if before and before.drift is not None:
        was_missing, was_unknown = (set(before.drift.get(kind, [])) for kind in names)
        if not (read.records.total() or any(names.values())):
            names = {"missing": was_missing, "unknown": was_unknown}
        missing, unknown = names.values()
        names["added"] = (unknown - was_unknown) | (was_missing - missing)
        known = {folded(name) for name in declared}
        unread = {name for name in was_unknown - unknown if folded(name) not in known}
        names["gone"] = (missing - was_missing) | unread
    return {kind: sorted(fields) for kind, fields in names.items() if fields} or None
