"""Which edition of the control tables a warehouse has, and whether this code can work on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg import Connection

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
MIGRATE = "run python -m loaders.warehouse migrate"
FIRST_REVISION = "0101"  # of this edition
DROP_BUILT = """
drop schema if exists intermediate, silver, quarantine, metrics, marts cascade;
drop table if exists bronze.alembic_version;
"""


def other(found: str | None) -> str | None:
    """Why this code can't work on control tables of that revision, if it can't."""
    if found and found > head():
        return f"The control tables are at {found}, newer than this code ({head()}): update it."
    if found and found < FIRST_REVISION:
        return (
            "This warehouse was built by the first edition of Daybook. What landed stays, what was"
            f" built from it has to go: {MIGRATE} --drop-built, then dbt build."
        )
    return None


def head() -> str:
    """The newest revision that this code knows."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def revision(conn: Connection) -> str | None:
    """The revision that the control tables are at; None without any."""
    from psycopg.rows import tuple_row

    cursor = conn.cursor(row_factory=tuple_row)
    if cursor.execute("select to_regclass('bronze.alembic_version')").fetchone() == (None,):
        return None
    found = cursor.execute("select max(version_num) from bronze.alembic_version").fetchone()
    return found[0] if found else None
