"""Tables held against their twins in scratch schemas: by a hash of all rows, then row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

KEYS_SHOWN = 5
# What tells the rows of a view apart; a table's unique index says it by itself.
VIEW_KEYS = {
    "quarantine": ("_source_table", "_day", "_source_file", "_source_row"),
    "silver": ("group_id", "agent_id", "card_id", "sync_date", "valid_from"),
    "metrics": ("day", "table_name", "target"),
}


@dataclass(frozen=True)
class Parting:
    """A table whose two builds differ: rows that only one of them has, and some of their keys."""

    table: str
    only_built: int
    only_rebuilt: int
    keys: list[list[str | None]]


def compare(conn: Connection, prefix: str) -> tuple[int, list[Parting]]:
    """Hold silver, quarantine, marts, row ledger and group activity against what is of the same
    name in the schemas with this prefix: how many tables there are, and which part.

    A table that was never built, or not with all its columns, has no row.
    """
    tables = conn.execute(_TABLES, {"prefix": f"{prefix}_"}).fetchall()
    found = (_parting(conn, prefix, *table) for table in tables)
    return len(tables), [parting for parting in found if parting]


# Where silver's value stands (_day, _source_row) depends on who brought it first, or again; what
# is in quarantine is a record itself. transaction_pipeline_state says how far days came.
_TABLES = """
select
    layer,
    relname,
    array_agg(columns.attname::text order by columns.attnum) filter (
        where not starts_with(columns.attname, '_')
            or layer = 'quarantine' and columns.attname not in ('_batch_id', '_updated_at')
    ),
    (
        select array_agg(keys.attname::text order by keys.attnum)
        from pg_index
        inner join pg_attribute as keys on attrelid = indrelid and attnum = any(indkey)
        where indrelid = pg_class.oid and indisunique
    ),
    bool_and(exists (
        select from pg_attribute as built
        where built.attrelid = to_regclass(format('%%I.%%I', layer, relname))
            and built.attname = columns.attname and not built.attisdropped
    ))
from unnest(array['silver', 'quarantine', 'metrics', 'marts']) as layer
inner join pg_class on relnamespace = to_regnamespace(%(prefix)s || layer) and relkind in ('r', 'v')
inner join pg_attribute as columns
    on attrelid = pg_class.oid and attnum > 0 and not attisdropped
where relname <> 'transaction_pipeline_state'
    and (layer <> 'metrics' or relname in ('row_ledger', 'group_activity'))
group by layer, relname, pg_class.oid
order by layer, relname
"""


def _parting(
    conn: Connection,
    prefix: str,
    layer: str,
    name: str,
    columns: list[str],
    key: list[str] | None,
    is_built: bool,
) -> Parting | None:
    from psycopg import sql

    key = key or [column for column in VIEW_KEYS[layer] if column in columns]

    def rows(schema: str) -> Composed:
        # Equal numbers hash alike, whatever zeros they end in.
        return sql.SQL(
            "select array[{}]::text[] as key, hash_record_extended(row({}), 0) as hash from {}"
        ).format(
            sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(c)) for c in key),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.Identifier(schema, name),
        )

    rebuilt = rows(f"{prefix}_{layer}")
    sides = {
        "built": rows(layer) if is_built else rebuilt + sql.SQL(" where false"),
        "rebuilt": rebuilt,
    }
    if conn.execute(sql.SQL(_SAME).format(**sides)).fetchone() == (True,):
        return None
    [(only_built, only_rebuilt, keys)] = conn.execute(
        sql.SQL(_DIFFERENCE).format(**sides, most=KEYS_SHOWN)
    )
    return Parting(f"{layer}.{name}", only_built, only_rebuilt, keys or [])


_SAME = """
select (select (count(*), sum(hash::numeric))::text from ({built}) as built)
    = (select (count(*), sum(hash::numeric))::text from ({rebuilt}) as rebuilt)
"""
_DIFFERENCE = """
with built as materialized ({built}),
rebuilt as materialized ({rebuilt}),
only_built as (select * from built except all select * from rebuilt),
only_rebuilt as (select * from rebuilt except all select * from built)
select
    (select count(*) from only_built),
    (select count(*) from only_rebuilt),
    array(
        select key from only_built union select key from only_rebuilt order by key limit {most}
    )
"""
