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
    views = "select viewname from pg_views where schemaname = 'quarantine'"
    found = [
        reason
        for (view,) in connection.execute(views).fetchall()
        for reason in _reasons(connection, view, day)
        if tables is None or reason.table in tables
    ]
    return sorted(found, key=lambda reason: (-reason.rows, reason.table, reason.reason))


def sample_keys(connection: Connection, day: Day, tables: list[str]) -> list[dict[str, Any]]:
    """Keys of up to 20 quarantined rows of some landed tables."""
    return [
        {"table_name": reason.table, "row": key, "reason": reason.reason}
        for reason in read_reasons(connection, day, tables)
        for key in reason.keys
    ][:SAMPLE]


def _reasons(connection: Connection, view: str, day: Day) -> list[Reason]:
    from psycopg import sql

    key = sql.SQL(", ").join(
        sql.SQL("case when {0} ~ %(is_a_key)s then {0} end").format(sql.Identifier(name))
        for name in declared_tables()[f"stg_{view}"].key
    )
    statement = sql.SQL(
        """
        select _source_table, reason, count(*), (array_agg(key order by place, n))[1:%(sample)s]
        from (
            select
                _source_table, unnest(_errors) as reason, _source_file as place, _source_row as n,
                concat_ws(
                    ' · ', nullif(concat_ws(', ', {key}), ''),
                    _source_file || ' row ' || _source_row
                ) as key
            from quarantine.{view}
            where _day = %(day)s
        ) as quarantined
        group by _source_table, reason
        """
    ).format(key=key, view=sql.Identifier(view))
    values = {"is_a_key": IS_A_KEY, "sample": SAMPLE, "day": day.date}
    return [Reason(*row) for row in connection.execute(statement, values)]
