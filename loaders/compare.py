"""Tables held against their twins in scratch schemas: by a hash of all rows, then row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from loaders.sql import statement

if TYPE_CHECKING:
    from psycopg import Connection

KEYS_SHOWN = 5


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
    tables = conn.execute(statement("twin_tables").encode(), {"prefix": f"{prefix}_"}).fetchall()
    partings = []
    for name, built, rebuilt in tables:
        parted = statement("partings").format(built=built, rebuilt=rebuilt, most=KEYS_SHOWN)
        partings += [Parting(name, *row) for row in conn.execute(parted.encode())]
    return len(tables), partings
