"""Why rows of a day are in quarantine, with keys of some of them, and what could not be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loaders.days import Day
from loaders.personal import A_WORD, personal
from loaders.sources import declared_tables

if TYPE_CHECKING:
    from psycopg import Connection

SAMPLE = 20  # keys of so many rows are shown
# A key that is not one can hold anything, a person's name or address too: then file and row say it.
IS_A_KEY = "^(?=.*[0-9])[A-Za-z0-9_:./=-][A-Za-z0-9_:./=+-]{0,199}$"


@dataclass(frozen=True)
class Reason:
    """Rows of one landed table that were quarantined for one reason. `keys`: of up to 20 of them;
    `values`: what their column had that could not be read, masked where that may be a person's."""

    table: str
    reason: str
    rows: int
    keys: list[str]
    values: list[str]


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
    columns = dict.fromkeys(
        column.name
        for table in declared_tables().values()
        if table.entity == view
        for column in table.columns
    )
    hidden = personal(view, columns)
    value = sql.SQL(" ").join(
        sql.SQL("when {} then {}").format(
            sql.Literal(f"{name}_invalid"),
            sql.Literal("(personal)") if name in hidden else sql.Identifier(name),
        )
        for name in columns
    )
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
            ),
            coalesce(
                array_agg(
                    distinct case
                        when value ~ %(is_a_word)s or value = '(personal)' then value
                        else '(not shown)'
                    end
                ) filter (where value is not null),
                '{{}}'
            )
        from (
            select
                *, count(*) over (partition by _source_table, reason) as rows,
                row_number() over (
                    partition by _source_table, reason order by _source_file, _source_row
                ) as nth
            from (
                select
                    {names}, _source_table, _source_file, _source_row, reason,
                    case reason {value} end as value
                from quarantine.{view}
                cross join unnest(_errors) as reason
                where _day = %(day)s
            ) as quarantined
        ) as numbered
        where nth <= %(sample)s
        group by _source_table, reason, rows
        """
    ).format(
        key=sql.SQL(", ").join(shown.format(name) for name in names),
        names=sql.SQL(", ").join(names),
        value=value,
        view=sql.Identifier(view),
    )
    values = {"is_a_key": IS_A_KEY, "is_a_word": A_WORD, "sample": SAMPLE, "day": day.date}
    return [Reason(*row) for row in connection.execute(statement, values)]
