"""Why rows of a day are in quarantine, with keys of some of them and never another value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loaders.days import Day
from loaders.sources import declared_tables

if TYPE_CHECKING:
    from psycopg import Connection

SAMPLE = 20  # keys of so many rows are shown
# A key that is not one can hold anything, a person's name or address too: then file and row say it.
IS_A_KEY = "^(?=.*[0-9])[A-Za-z0-9_:./=-][A-Za-z0-9_:./=+-]{0,199}$"


@dataclass(frozen=True)
class Reason:
    """Rows of one landed table that were quarantined for one reason."""

    table: str
    reason: str
    rows: int
    keys: list[str]


def read_reasons(connection: Connection, day: Day, tables: list[str] | None = None) -> list[Reason]:
    """The reasons of a day, most rows first; a row with several counts under each."""
    found: list[Reason] = []
    for relation in _relations(connection):
        found += _reasons(connection, relation, day)
    chosen = [reason for reason in found if tables is None or reason.table in tables]
    return sorted(chosen, key=lambda reason: (-reason.rows, reason.table, reason.reason))


def sample_keys(connection: Connection, day: Day, tables: list[str]) -> list[dict[str, Any]]:
    """Keys of up to 20 quarantined rows of some landed tables."""
    return [
        {"table_name": reason.table, "row": key, "reason": reason.reason}
        for reason in read_reasons(connection, day, tables)
        for key in reason.keys
    ][:SAMPLE]


def _relations(connection: Connection) -> list[str]:
    rows = connection.execute(
        "select viewname from pg_views where schemaname = 'quarantine' order by viewname"
    )
    return [name for (name,) in rows]


def _reasons(connection: Connection, relation: str, day: Day) -> list[Reason]:
    from psycopg import sql

    key = sql.SQL(", ").join(
        sql.SQL("case when {0} ~ {1} then {0} end").format(
            sql.Identifier(name), sql.Literal(IS_A_KEY)
        )
        for name in _keys(relation)
    )
    statement = sql.SQL(
        """
        select _source_table, reason, count(*), (array_agg(key order by place, n))[1:{sample}]
        from (
            select
                _source_table, unnest(_errors) as reason, _source_file as place, _source_row as n,
                concat_ws(
                    ' · ', nullif(concat_ws(', ', {key}), ''),
                    _source_file || ' row ' || _source_row
                ) as key
            from quarantine.{relation}
            where _day = {day}
        ) as quarantined
        group by _source_table, reason
        """
    ).format(
        sample=sql.Literal(SAMPLE),
        key=key,
        relation=sql.Identifier(relation),
        day=sql.Literal(day.date),
    )
    return [Reason(*row) for row in connection.execute(statement)]


def _keys(relation: str) -> tuple[str, ...]:
    return declared_tables()[f"stg_{relation}"].key
