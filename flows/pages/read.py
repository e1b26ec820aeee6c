"""What pages, `daybook status` and a run's account ask of metrics and the ledgers."""

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
    """What sql/<name>.sql asks."""
    return (QUESTIONS / f"{name}.sql").read_text(encoding="utf-8")


def ask(connection: Connection, name: str, **values: Any) -> list[Row]:
    """What sql/<name>.sql asks, answered as `rows` does."""
    return rows(connection, question(name).encode(), values)


def rows(connection: Connection, query: bytes | Composed, values: dict[str, Any]) -> list[Row]:
    """Rows as dicts; [] while something that is asked is not built: a first day, a failed one."""
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
    found = ask(connection, "kind")
    return found[0]["kind"] if found else "dated"


def ask_by_day(connection: Connection, name: str, **values: Any) -> list[Row]:
    """What sql/<name>.sql asks, each row with `day_name`: its day as people write it."""
    kind = kind_of_days(connection)
    return [
        {**row, "day_name": row.get("day_name") or Day(row["day"], kind).text}
        for row in ask(connection, name, kind=kind, **values)
    ]


def runs(connection: Connection, most: int | None, **one: Any) -> list[Row]:
    """The newest runs (all for None): of any day, of one `day`, or the one `run` of that id."""
    return ask_by_day(connection, "runs", **{"day": None, "run": None, "most": most, **one})


def checks(connection: Connection, flow_run_id: str | None) -> list[Row]:
    """What the checks of a run, or of the last that checked (None), found; failures first."""
    from psycopg.types.json import Jsonb

    return ask(connection, "checks", run=flow_run_id, accepted=Jsonb(read_accepted()[0]))
