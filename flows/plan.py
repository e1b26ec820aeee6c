"""What a run of a day would do, and nothing done: `daybook plan day2 --data tests/sample`.

It is found by landing the day in transactions that are rolled back.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from flows.options import Options
from flows.report import wrapped
from loaders import ledger, warehouse
from loaders.arguments import JSON, add_day, add_reading, command, option
from loaders.days import Day, parse_day
from loaders.errors import DaybookError, UsageError
from loaders.files import day_folder
from loaders.landing import checked, unchanged
from loaders.partition import NewPartition, has_partition, partition_name
from loaders.plan import Plan, plan_tables, unused
from loaders.raw_file import Place
from loaders.reading import Reading
from loaders.schema import Table
from loaders.sources import declared_tables

if TYPE_CHECKING:
    from psycopg import Connection

NO_BATCH = 0  # batches begin with 1
WIDTH = 19  # of a table's name
FILES = 3  # named; a folder can have thousands


@dataclass(frozen=True)
class Keys:
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


def preview_day(day: Day, options: Options) -> list[Preview]:
    """Each declared table's preview.

    Leaves nothing in the warehouse, not even a number taken. DaybookError where there is no such
    day, UsageError where the warehouse holds the other calendar.
    """
    folder, found = day_folder(options.data, day), []
    with ledger.connect(day) as conn:
        warehouse.check_ready(conn)
        ledger.check_calendar(conn, day)
        for table in declared_tables(options.sources).values():
            try:
                found.append(_preview(conn, folder, table, day, options))
            except UsageError:
                raise
            except DaybookError as error:
                said = (
                    str(error).removeprefix(f"{table.name}: ").removesuffix("Nothing was landed.")
                )
                found.append(Preview(table.name, table.required, "refused", error=said.strip()))
    return found


def _preview(conn: Connection, folder: Place, table: Table, day: Day, options: Options) -> Preview:
    (plan,) = plan_tables(folder, [table], day, allow_empty=options.allow_empty)
    if plan.error:
        raise plan.error
    about = partial(Preview, table.name, table.required)
    if plan.files is None:
        return about("dropped" if has_partition(conn, table.name, day) else "absent")
    about = partial(about, files=tuple(scanned.file.path for scanned in plan.files))
    held, before = ledger.kept(conn, table.name, day)
    if unchanged(plan, held):
        return about("unchanged")
    reading = Reading(plan)
    batch = ledger.Batch(table, day, "", NO_BATCH, datetime.now(UTC))
    with conn.transaction(force_rollback=True):
        partition = NewPartition(conn, batch)
        reading.copy_into(partition)
        landed = checked(partition, reading, before, options.allow_shrink)
        return about(
            "lands",
            rows=landed.rows_landed or 0,
            rejected=landed.rows_rejected or 0,
            repaired=landed.rows_repaired,
            drift=landed.drift,
            keys=_keys(conn, plan, before),
        )


def _keys(conn: Connection, plan: Plan, before: ledger.Kept | None) -> Keys | None:
    """The new rows' keys beside those of the day itself where it has landed, else of the nearest
    earlier one."""
    table, held = plan.table, None
    if table.kind == "snapshot":
        held = plan.day if has_partition(conn, table.name, plan.day) else before and before.day
        if held is None:
            return None
    new = f"bronze.{partition_name(table.name, plan.day)}_{NO_BATCH}"
    key, columns = (
        ", ".join(f'"{name}"' for name in names)
        for names in (table.key, (*table.column_names, "_extra"))
    )
    counts = _COUNTS.format(new=new, landed=f"bronze.{table.name}", key=key, columns=columns)
    [(fresh, changed, gone)] = conn.execute(counts.encode(), {"day": held and held.date})
    return Keys(str(held or "all landed days"), fresh, changed, gone if held else 0)


# A row a key; one that can't be read is nobody's.
_COUNTS = """
with fresh as (
    select distinct on ({key}) {key}, row({columns})::text as content from {new}
    where row({key}) is not null
    order by {key}, _source_row desc
),
held as (
    select distinct on ({key}) {key}, row({columns})::text as content from {landed}
    where row({key}) is not null and (%(day)s::date is null or _day = %(day)s)
    order by {key}, _day desc, _source_row desc
)
select
    count(*) filter (where held.content is null),
    count(*) filter (where fresh.content <> held.content),
    count(*) filter (where fresh.content is null)
from fresh full join held using ({key})
"""


def print_plan(previews: list[Preview], beside: dict[str, str]) -> None:
    """What would become of each table, for people."""
    for each in previews:
        said = f"\n{' ' * WIDTH}".join(_said(each))
        print(wrapped(f"{each.table.removeprefix('stg_'):<{WIDTH}}{said}", WIDTH))
    if beside:
        print("\nfiles that no table uses")
    for name, why in beside.items():
        print(wrapped(f"  {name}: {why}", 4))


def _said(each: Preview) -> list[str]:
    if each.status == "absent":
        return ["not in the day's files; what it said before stays"]
    if each.status == "dropped":
        return ["no longer in the day's files: what landed of it is dropped"]
    if each.status == "refused":
        return [f"REFUSED: {each.error}"]
    more = f" and {len(each.files) - FILES} more" if len(each.files) > FILES else ""
    files = ", ".join(each.files[:FILES]) + more
    if each.status == "unchanged":
        return [f"{files}: the same as has landed, nothing to do"]
    rows = {"rows": each.rows, "rejected": each.rejected, "repaired": each.repaired}
    said = [f"{files}: {_counted(rows) or 'no rows'}"]
    if keys := each.keys:
        changes = {"new": keys.new, "changed": keys.changed, "gone": keys.gone}
        said.append(f"against {keys.against}: {_counted(changes) or 'no key differs'}")
    return said + [f"fields {kind}: {', '.join(of)}" for kind, of in (each.drift or {}).items()]


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)


@command(
    "flows.plan",
    "Say what a run of a day would land, refuse and change; writes nothing.",
    "example: %(prog)s day2 --data tests/sample. Exit code 1 where it would fail.",
    add_day,
    add_reading,
    option("--allow-shrink", action="store_true", help="accept a halved snapshot"),
    JSON,
)
def main(given: argparse.Namespace) -> int:
    day = parse_day(given.day)
    options = Options.of(vars(given)).checked()
    print(f"reading {day} in {options.data}", file=sys.stderr, flush=True)
    warehouse.wake()
    previews = preview_day(day, options)
    beside = unused(options.data, day, options.sources)
    refused = [each.table for each in previews if each.status == "refused" and each.required]
    if given.json:
        tables = [asdict(each) for each in previews]
        print(json.dumps({"day": day.text, "tables": tables, "unused": beside}, indent=2))
    else:
        print_plan(previews, beside)
        if refused:
            print(f"\n{day} would fail: {', '.join(refused)} is required.")
    return int(bool(refused))


if __name__ == "__main__":
    sys.exit(main())
