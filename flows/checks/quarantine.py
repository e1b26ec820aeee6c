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

    names = [sql.Identifier(name) for name in declared_tables()[f"stg_{view}"].key]
    shown = sql.SQL("case when {0} ~ %(is_a_key)s then {0} end")
    key = sql.SQL(", ").join(shown.format(name) for name in names)
    # Whether a key may be shown costs more than all else here: it is asked of the sample alone.
    statement = sql.SQL(
        """
        select
            _source_table, reason, rows,
            array_agg(
                concat_ws(
                    ' · ', nullif(concat_ws(', ', {key}), ''),
                    _source_file || ' row ' || _source_row
                )
                order by nth
            )
        from (
            select
                *, count(*) over (partition by _source_table, reason) as rows,
                row_number() over (
                    partition by _source_table, reason order by _source_file, _source_row
                ) as nth
            from (
                select {names}, _source_table, _source_file, _source_row, unnest(_errors) as reason
                from quarantine.{view}
                where _day = %(day)s
            ) as quarantined
        ) as numbered
        where nth <= %(sample)s
        group by _source_table, reason, rows
        """
    ).format(key=key, names=sql.SQL(", ").join(names), view=sql.Identifier(view))
    values = {"is_a_key": IS_A_KEY, "sample": SAMPLE, "day": day.date}
    return [Reason(*row) for row in connection.execute(statement, values)]
