"""What landing a day would do: it is landed in transactions that are rolled back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from loaders import ledger, warehouse
from loaders.days import Day
from loaders.errors import DaybookError, UsageError
from loaders.files import day_folder
from loaders.landing import checked
from loaders.partition import NewPartition, has_partition, partition_name
from loaders.plan import Plan, plan_tables
from loaders.reading import Reading
from loaders.sources import declared_tables
from loaders.sql import statement

if TYPE_CHECKING:
    from psycopg import Connection

NO_BATCH = 0  # batches begin with 1


@dataclass(frozen=True)
class Keys:
    """How the keys differ from those of the landed day `against`. A delta is compared with all
    landed days, and none of its keys is gone."""

    against: str
    new: int
    changed: int
    gone: int


@dataclass(frozen=True)
class Preview:
    """What would become of one table: `status` is lands, unchanged, absent, dropped (it was
    there when the day landed) or refused. `nowhere`: columns of which the overlay says where they
    are, and which are not there."""

    table: str
    required: bool
    status: str
    files: tuple[str, ...] = ()
    error: str | None = None
    rows: int = 0
    rejected: int = 0
    repaired: int = 0
    nowhere: tuple[str, ...] = ()
    drift: ledger.Drift | None = None
    keys: Keys | None = None


def preview_day(
    data: str,
    day: Day,
    *,
    allow_empty: bool = False,
    allow_shrink: bool = False,
    sources: str | None = None,
) -> list[Preview]:
    """Each declared table's preview.

    Nothing stays in the warehouse, and no sequence advances. DaybookError when there is no such
    day, UsageError when the warehouse holds the other calendar.
    """
    folder, previews = day_folder(data, day), []
    with ledger.connect(day) as conn:
        warehouse.check_ready(conn)
        ledger.check_calendar(conn, day)
        for table in declared_tables(sources).values():
            try:
                (plan,) = plan_tables(folder, [table], day, allow_empty=allow_empty)
                previews.append(_preview(conn, plan, allow_shrink))
            except UsageError:
                raise
            except DaybookError as error:
                why = str(error).removeprefix(f"{table.name}: ").removesuffix("Nothing was landed.")
                refused = Preview(table.name, table.required, "refused", error=why.strip())
                previews.append(refused)
    return previews


def _preview(conn: Connection, plan: Plan, allow_shrink: bool) -> Preview:
    table, day = plan.table, plan.day
    if plan.error:
        raise plan.error
    preview = partial(Preview, table.name, table.required)
    landed, before = ledger.landed_days(conn, table.name, day)
    if plan.files is None:
        return preview("dropped" if landed else "absent")
    preview = partial(preview, files=tuple(file.path for file in plan.files))
    if landed and landed.fingerprint == plan.fingerprint:
        return preview("unchanged")
    reading = Reading(plan)
    batch = ledger.Batch(table, day, "", NO_BATCH, datetime.now(UTC))
    with conn.transaction(force_rollback=True):
        partition = NewPartition(conn, batch)
        reading.copy_into(partition)
        outcome = checked(partition, reading, before, allow_shrink)
        missing = reading.read.missing()
        return preview(
            "lands",
            rows=outcome.rows_landed or 0,
            rejected=outcome.rows_rejected or 0,
            repaired=outcome.rows_repaired,
            nowhere=tuple(one.name for one in table.columns if one.moved and one.name in missing),
            drift=outcome.drift,
            keys=_keys(conn, plan, before),
        )


def _keys(conn: Connection, plan: Plan, before: ledger.LandedDay | None) -> Keys | None:
    """The new rows' keys compared with those of the day itself where it has landed, else with the
    nearest earlier landed day's."""
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
    counts = statement("count_keys").format(
        new=new, landed=f"bronze.{table.name}", key=key, columns=columns
    )
    [(fresh, changed, gone)] = conn.execute(counts.encode(), {"day": held and held.date})
    return Keys(str(held or "all landed days"), fresh, changed, gone if held else 0)
