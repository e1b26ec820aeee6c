"""The queries of metrics and ledgers for pages, `daybook status` and a run's account."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flows.checks.accepted import read_accepted
from loaders.days import Day

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

Row = dict[str, Any]

DISPOSITIONS = ("inserted", "updated", "unchanged", "stale", "duplicate", "quarantined", "rejected")
QUESTIONS = Path(__file__).parent / "sql"


def question(name: str) -> str:
    """The query in sql/<name>.sql."""
    return (QUESTIONS / f"{name}.sql").read_text(encoding="utf-8")


def ask(connection: Connection, name: str, **values: Any) -> list[Row]:
    """The rows of the query in sql/<name>.sql, as `rows` returns them."""
    return rows(connection, question(name).encode(), values)


def rows(connection: Connection, query: bytes | Composed, values: dict[str, Any]) -> list[Row]:
    """Rows as dicts; [] while a table of the query is not built, as before a first day's end."""
    from psycopg.errors import UndefinedTable
    from psycopg.rows import dict_row

    with (
        contextlib.suppress(UndefinedTable),
        connection.transaction(),
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        return cursor.execute(query, values).fetchall()
    return []


def kind_of_days(connection: Connection) -> Literal["dated", "numbered"]:
    """Whether days are dates or numbers."""
    answer = ask(connection, "kind")
    return answer[0]["kind"] if answer else "dated"


def ask_by_day(connection: Connection, name: str, **values: Any) -> list[Row]:
    """As `ask`, each row with `day_name`: its day as people write it."""
    kind = kind_of_days(connection)
    return [
        {**row, "day_name": row.get("day_name") or Day(row["day"], kind).text}
        for row in ask(connection, name, kind=kind, **values)
    ]


def runs(connection: Connection, most: int | None, **one: Any) -> list[Row]:
    """The newest `most` runs (None: all), of any day, of one `day`, or with one `run` id."""
    return ask_by_day(connection, "runs", **{"day": None, "run": None, "most": most, **one})


def checks(connection: Connection, flow_run_id: str | None) -> list[Row]:
    """The check results of a run, or of the last one that has some (None); failures first."""
    from psycopg.types.json import Jsonb

    return ask(connection, "checks", run=flow_run_id, accepted=Jsonb(read_accepted()[0]))
