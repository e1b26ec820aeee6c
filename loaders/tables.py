"""Creates the landed tables as declared: all text, partitioned by day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loaders.sources import declared_tables

if TYPE_CHECKING:
    from psycopg import Connection

LINEAGE = {
    "_extra": "jsonb",
    "_day": "date not null",
    "_batch_id": "bigint not null",
    "_source_file": "text not null",
    "_source_row": "bigint not null",
    "_loaded_at": "timestamptz not null",
}


def ensure_tables(conn: Connection) -> list[str]:
    """Create each missing `bronze.stg_*` and add newly declared columns.

    In the caller's transaction. Nothing is ever dropped: a column that is no longer declared stays
    and is null in what lands. Returns what was added, as `stg_x` or `stg_x.column`.
    """
    gaps = missing(conn)
    for gap in gaps:
        name, _, column = gap.partition(".")
        if column:
            conn.execute(f'alter table bronze.{name} add "{column}" text'.encode())
        else:
            columns = [f'"{one}" text' for one in declared_tables()[name].column_names]
            columns += [f"{one} {kind}" for one, kind in LINEAGE.items()]
            table = f"bronze.{name} ({', '.join(columns)}) partition by list (_day)"
            conn.execute(f"create table {table}".encode())
    return gaps


def missing(conn: Connection) -> list[str]:
    """What `ensure_tables` would add, as `stg_x` or `stg_x.column`; reads only."""
    from psycopg.rows import scalar_row

    names = conn.cursor(row_factory=scalar_row).execute(
        """
        select relname || '.' || attname
        from pg_class
        join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
        where relnamespace = to_regnamespace('bronze') and relkind = 'p'
        """
    )
    present = set(names)
    gaps = []
    for table in declared_tables().values():
        if f"{table.name}._day" not in present:
            gaps.append(table.name)
        else:
            columns = [f"{table.name}.{name}" for name in table.column_names]
            gaps += [column for column in columns if column not in present]
    return gaps
