"""What leaves bronze again: landed days past DAYBOOK_KEEP_DAYS, and what dead runs left behind."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from loaders import warehouse
from loaders.errors import UsageError
from loaders.sources import declared_tables

if TYPE_CHECKING:
    from datetime import date

    from psycopg.sql import Identifier

    from loaders.lock import Lock

SETTING = "DAYBOOK_KEEP_DAYS"
PATIENCE = "5s"  # for a reader of the table; the next day tries again
SCHEMAS = ("intermediate", "silver", "quarantine", "metrics", "marts")


def keep_days() -> int | None:
    """DAYBOOK_KEEP_DAYS, None to keep all. UsageError unless it is a whole number from 1."""
    text = os.environ.get(SETTING, "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise UsageError(f"{SETTING} is a number of days from 1, or empty to keep all.")
    return int(text)


def expire_days(
    keep: int | None, *, flow_run_id: str, lock: Lock | None = None
) -> list[tuple[str, date]]:
    """Drop the landed partitions older than `keep` days before the newest applied day, and note
    each in bronze.expired_days: the (table, day)s that went, oldest first.

    Never one whose batch every model of it has not yet applied, and never the newest of a
    snapshot table, which presence rests on. The caller holds the run lock.
    """
    import psycopg
    from psycopg import sql

    if keep is None:
        return []
    gone = []
    name = f"daybook {flow_run_id}"
    with warehouse.connect(
        application_name=name, flow_run_id=flow_run_id, role=warehouse.LOADER
    ) as conn:
        snapshots = [t.name for t in declared_tables().values() if t.kind == "snapshot"]
        found = conn.execute(_EXPIRABLE, {"keep": keep, "snapshots": snapshots}).fetchall()
        conn.commit()
        for table, day, batch_id, partition in found:
            try:
                with conn.transaction():
                    conn.execute(f"set local lock_timeout to '{PATIENCE}'")
                    conn.execute(sql.SQL("drop table {}").format(_in_bronze(partition)))
                    conn.execute(
                        "insert into bronze.expired_days (table_name, day, batch_id, flow_run_id)"
                        " values (%s, %s, %s, %s)",
                        [table, day, batch_id, flow_run_id],
                    )
                    if lock is not None:
                        lock.check()
            except psycopg.errors.LockNotAvailable:
                continue
            gone.append((table, day))
    return gone


# to_char writes the partition's name as loaders.partition.partition_name does.
_EXPIRABLE = """
with current_batches as (
    select distinct on (table_name, day) table_name, day, batch_id
    from bronze.load_batches
    where status in ('succeeded', 'skipped') and rows_landed is not null
    order by table_name, day, batch_id desc
),
models as (
    select * from metrics.applied_batches where model not like '%%:%%'
),
readers as (
    select table_name, count(distinct model) as models from models group by table_name
),
-- A model works on days that are not yet due for others: all that read the table must be through.
applied as (
    select table_name, day, min(batch_id) as lowest, max(batch_id) as highest
    from models
    join readers using (table_name)
    group by table_name, day, readers.models
    having count(*) = readers.models
),
newest as (
    select table_name, max(day) as day from applied group by table_name
)
select
    batches.table_name, batches.day, batches.batch_id,
    batches.table_name || '_p' || to_char(batches.day, 'YYYYMMDD') as partition
from current_batches as batches
join applied
    on applied.table_name = batches.table_name and applied.day = batches.day
    and applied.lowest = batches.batch_id and applied.highest = batches.batch_id
join newest on newest.table_name = batches.table_name
where batches.day < (select max(day) from applied) - %(keep)s
    and (batches.day < newest.day or batches.table_name <> all(%(snapshots)s))
    and to_regclass(
        'bronze.' || batches.table_name || '_p' || to_char(batches.day, 'YYYYMMDD')
    ) is not null
order by batches.day, batches.table_name
"""


def sweep_orphans(*, flow_run_id: str, lock: Lock | None = None) -> list[str]:
    """Drop what only a dead run can have left: tables named like a landed table's partition that
    hang on no parent, and relations that dbt builds under a passing name. The caller holds the
    run lock, so no live run has any: what is being built is not committed. The names that went.
    """
    landed = f"^({'|'.join(declared_tables())})_p[0-9]{{8}}(_[0-9]+)*$"
    return [
        *_sweep(warehouse.LOADER, ["bronze"], landed, flow_run_id, lock),
        *_sweep(
            warehouse.TRANSFORMER, list(SCHEMAS), "__dbt_(tmp|backup)[0-9]*$", flow_run_id, lock
        ),
    ]


def _sweep(
    role: str, schemas: list[str], named: str, flow_run_id: str, lock: Lock | None
) -> list[str]:
    """What is named like that in those schemas, dropped by the role that makes such relations."""
    import psycopg
    from psycopg import sql

    swept = []
    with warehouse.connect(
        application_name=f"daybook {flow_run_id}", flow_run_id=flow_run_id, role=role
    ) as conn:
        found = conn.execute(_ORPHANS, {"named": named, "schemas": schemas}).fetchall()
        conn.commit()
        for schema, relation, kind in found:
            try:
                with conn.transaction():
                    conn.execute(f"set local lock_timeout to '{PATIENCE}'")
                    drop = sql.SQL("drop view {}" if kind == "v" else "drop table {}")
                    conn.execute(drop.format(sql.Identifier(schema, relation)))
                    if lock is not None:
                        lock.check()
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DependentObjectsStillExist):
                continue
            swept.append(f"{schema}.{relation}")
    return swept


_ORPHANS = """
select relnamespace::regnamespace::text, relname, relkind
from pg_class
where relkind in ('r', 'v')
    and not relispartition
    and relnamespace::regnamespace::text = any(%(schemas)s)
    and relname ~ %(named)s
order by 1, 2
"""


def _in_bronze(name: str) -> Identifier:
    from psycopg import sql

    return sql.Identifier("bronze", name)
