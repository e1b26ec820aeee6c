"""What landing a day would do, found by landing it in transactions that are rolled back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from loaders import ledger, warehouse
from loaders.days import Day
from loaders.errors import DaybookError, UsageError
from loaders.files import day_folder
from loaders.landing import checked, unchanged
from loaders.partition import NewPartition, has_partition, partition_name
from loaders.plan import Plan, plan_tables, unused
from loaders.raw_file import Place
from loaders.readers.csv_count import MustBeParsed
from loaders.reading import Reading
from loaders.schema import Table
from loaders.sources import declared_tables

if TYPE_CHECKING:
    from psycopg import Connection, sql

NO_BATCH = 0  # batches begin with 1


class Keys(NamedTuple):
    """How the keys differ from those of `against`, a landed day; of a delta nothing is gone, and
    it is compared with all landed days."""

    against: str
    new: int
    changed: int
    gone: int


@dataclass(frozen=True)
class Preview:
    """What would become of one table: `status` is lands, unchanged, absent, dropped (it was
    there when the day landed) or refused."""

    table: str
    required: bool
    status: str
    files: tuple[str, ...] = ()
    error: str | None = None
    rows: int = 0
    rejected: int = 0
    repaired: int = 0
    drift: ledger.Drift | None = None
    keys: Keys | None = None


def preview_day(
    data: str | Path,
    day: Day,
    *,
    allow_empty: bool = False,
    allow_shrink: bool = False,
    sources: str | Path | None = None,
) -> tuple[list[Preview], dict[str, str]]:
    """Each declared table's preview, and the files that no table uses, with what is said of each.

    Leaves nothing in the warehouse, not even a number taken. DaybookError where there is no such
    day, UsageError where the warehouse holds the other calendar.
    """
    folder, found = day_folder(data, day), []
    with ledger.connect(day) as conn:
        warehouse.check_ready(conn)
        ledger.check_calendar(conn, day)
        for table in declared_tables(sources).values():
            try:
                found.append(_preview(conn, folder, table, day, allow_empty, allow_shrink))
            except UsageError:
                raise
            except DaybookError as error:
                said = (
                    str(error).removeprefix(f"{table.name}: ").removesuffix("Nothing was landed.")
                )
                found.append(Preview(table.name, table.required, "refused", error=said.strip()))
    return found, unused(data, day, sources)


def _preview(
    conn: Connection,
    folder: Place,
    table: Table,
    day: Day,
    allow_empty: bool,
    allow_shrink: bool,
) -> Preview:
    (plan,) = plan_tables(folder, [table], day, allow_empty=allow_empty)
    if plan.error:
        raise plan.error
    if plan.files is None:
        gone = has_partition(conn, table.name, day)
        return Preview(table.name, table.required, "dropped" if gone else "absent")
    files = tuple(scanned.file.path for scanned in plan.files)
    held, before = ledger.kept(conn, table.name, day)
    if unchanged(plan, held):
        return Preview(table.name, table.required, "unchanged", files)
    reading = Reading(plan, allow_empty)
    batch = ledger.Batch(table, day, "", NO_BATCH, datetime.now(UTC))
    while True:
        reading.begin()
        try:
            with conn.transaction(force_rollback=True):
                partition = NewPartition(conn, batch)
                reading.copy_into(partition)
                landed = checked(partition, reading, before, allow_shrink)
                keys = _keys(conn, plan, before)
            return Preview(
                table.name,
                table.required,
                "lands",
                files,
                rows=landed.rows_landed or 0,
                rejected=landed.rows_rejected or 0,
                repaired=landed.rows_repaired,
                drift=landed.drift,
                keys=keys,
            )
        except MustBeParsed:
            reading.as_they_are = False


def _keys(conn: Connection, plan: Plan, before: ledger.Kept | None) -> Keys | None:
    """The new rows' keys beside those of the day itself where it has landed, else of the nearest
    earlier one."""
    from psycopg import sql

    table, day = plan.table, plan.day
    held: sql.Composable
    if table.kind == "delta":
        against, held = "all landed days", sql.SQL("true")
    elif has_partition(conn, table.name, day):
        against, held = str(day), _of_day(day.date)
    elif before:
        against, held = str(Day(before.day, day.calendar)), _of_day(before.day)
    else:
        return None
    names = [sql.Identifier(name) for name in table.key]
    key = sql.SQL(", ").join(names)

    def latest(relation: str, where: sql.Composable) -> sql.Composed:
        """A row a key; one that can't be read is nobody's."""
        return sql.SQL(
            "select distinct on ({key}) {key}, row({columns})::text as content from {relation}"
            " where {where} and not ({unread}) order by {key}, _day desc, _source_row desc"
        ).format(
            key=key,
            columns=sql.SQL(", ").join(map(sql.Identifier, (*table.column_names, "_extra"))),
            relation=sql.Identifier("bronze", relation),
            where=where,
            unread=sql.SQL(" or ").join(sql.SQL("{} is null").format(name) for name in names),
        )

    counts = sql.SQL(
        "select count(*) filter (where held.content is null),"
        " count(*) filter (where fresh.content <> held.content),"
        " count(*) filter (where fresh.content is null)"
        " from ({}) as fresh full join ({}) as held using ({})"
    ).format(
        latest(f"{partition_name(table.name, day)}_{NO_BATCH}", sql.SQL("true")),
        latest(table.name, held),
        key,
    )
    [(fresh, changed, gone)] = conn.execute(counts).fetchall()
    return Keys(against, fresh, changed, 0 if table.kind == "delta" else gone)


def _of_day(day: date) -> sql.Composable:
    from psycopg import sql

    return sql.SQL("_day = {}").format(sql.Literal(day))
