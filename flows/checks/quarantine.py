"""Why rows of a day are in quarantine, with sample keys and the values that can't be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loaders.days import Day
from loaders.personal import A_WORD, personal
from loaders.sources import declared_tables
from loaders.sql import statement

if TYPE_CHECKING:
    from psycopg import Connection

SAMPLE = 20  # rows whose keys are shown
# A malformed key can hold anything, even a name or address: file and row are shown instead.
IS_A_KEY = "^(?=.*[0-9])[A-Za-z0-9_:./=-][A-Za-z0-9_:./=+-]{0,199}$"


@dataclass(frozen=True)
class Reason:
    """Rows of one landed table that were quarantined for one reason. `keys`: of up to 20 of them;
    `values`: their column's unreadable values, masked where they may be personal."""

    table: str
    reason: str
    rows: int
    keys: list[str]
    values: list[str]


def read_reasons(connection: Connection, day: Day, tables: list[str] | None = None) -> list[Reason]:
    """A day's reasons, most rows first; a row with several counts for each. `tables`: of these."""
    from psycopg import sql

    reasons: list[Reason] = []
    entities = [table.entity for table in declared_tables().values()]
    views = "select viewname from pg_views where schemaname = 'quarantine' and viewname = any(%s)"
    for (view,) in connection.execute(views, [entities]).fetchall():
        of_view = [table for table in declared_tables().values() if table.entity == view]
        declared = sorted({column.name for table in of_view for column in table.columns})
        parameters = {
            "day": day.date,
            "key": [*declared_tables()[f"stg_{view}"].key],
            "declared": declared,
            "personal": personal(view, declared),
            "sample": SAMPLE,
            "is_a_key": IS_A_KEY,
            "is_a_word": A_WORD,
        }
        query = sql.SQL(statement("reasons")).format(view=sql.Identifier(view))
        reasons += [Reason(*row) for row in connection.execute(query, parameters)]
    wanted = [reason for reason in reasons if tables is None or reason.table in tables]
    return sorted(wanted, key=lambda reason: (-reason.rows, reason.table, reason.reason))


def sample_keys(connection: Connection, day: Day, tables: list[str]) -> list[dict[str, Any]]:
    """Keys of up to 20 quarantined rows of some landed tables."""
    return [
        {"table_name": reason.table, "row": key, "reason": reason.reason}
        for reason in read_reasons(connection, day, tables)
        for key in reason.keys
    ][:SAMPLE]
