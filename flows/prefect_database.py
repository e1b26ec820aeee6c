"""Prefect's own database: `python -m flows.prefect_database` creates and migrates it. Idempotent.

By default it is `prefect` in the embedded server, beside the warehouse and apart from it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import Any

from flows.command import guarded
from loaders import server, warehouse
from loaders.errors import WarehouseError

NAME = "prefect"
SETTINGS = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")


def database_url() -> str | None:
    """Where it is: as Prefect's settings name it, else in the embedded server; None leaves Prefect
    its own SQLite file, in PREFECT_HOME."""
    for name in SETTINGS:
        if os.environ.get(name):
            return os.environ[name]
    if not warehouse.is_embedded():
        return None
    where = server.address(warehouse.home())
    return f"postgresql+asyncpg://{where['user']}@/{NAME}?host={where['host']}"


def make_ready() -> bool:
    """Create the database, and migrate it where Prefect can't; False when nothing was to do.

    WarehouseError when its server can't be reached, or the migration fails.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict
    from psycopg.sql import SQL, Identifier

    url = database_url()
    scheme, _, rest = (url or "").partition("://")
    if not scheme.startswith("postgresql"):
        return False
    to = conninfo_to_dict(f"postgresql://{rest}")
    name = str(to.get("dbname") or NAME)
    with _connected({**to, "dbname": "postgres"}) as connection:
        there = connection.execute("select 1 from pg_database where datname = %s", [name])
        created = there.fetchone() is None
        if created:
            with contextlib.suppress(psycopg.errors.DuplicateDatabase):  # two starts at once
                connection.execute(SQL("create database {}").format(Identifier(name)))
    with _connected({**to, "dbname": name}) as connection:
        if _can_migrate_itself(connection) or _noted(connection) == _version():
            return created
        _migrate(url or "")
        note = SQL("comment on database {} is {}").format(Identifier(name), _version())
        connection.execute(note)
    return True


def _connected(to: dict[str, Any]) -> Any:
    import psycopg

    try:
        return psycopg.connect(**to, connect_timeout=10, autocommit=True)
    except psycopg.OperationalError:
        where = f"{to.get('host') or 'the default host'}, database {to['dbname']}"
        raise WarehouseError(f"No connection to PostgreSQL at {where}, for Prefect.") from None


def _can_migrate_itself(connection: Any) -> bool:
    """Prefect's migrations index names with pg_trgm, which the embedded server doesn't have."""
    found = connection.execute("select 1 from pg_available_extensions where name = 'pg_trgm'")
    return found.fetchone() is not None


def _noted(connection: Any) -> str | None:
    found = connection.execute(
        "select shobj_description(oid, 'pg_database') from pg_database"
        " where datname = current_database()"
    ).fetchone()
    return found[0] if found else None


def _version() -> str:
    from importlib.metadata import version

    return f"Prefect {version('prefect')}"


def _migrate(url: str) -> None:
    """In a process of its own: Prefect reads its settings once, when it is imported."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.prefect_database", "--without-trigrams"],
        env={**os.environ, SETTINGS[0]: url},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise WarehouseError(f"Prefect's database was not migrated: {done.stderr.strip()[-500:]}")


def _without_trigrams() -> None:
    """Prefect's migrations but for its trigram indexes, which only speed up the search by name."""
    import asyncio

    from prefect.server.database.dependencies import provide_database_interface
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "before_cursor_execute", retval=True)
    def skip(
        _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
    ) -> tuple[str, Any]:
        return ("select 1" if "trgm" in statement else statement), parameters

    asyncio.run(provide_database_interface().create_db())


def main(argv: list[str]) -> int:
    if argv == ["--without-trigrams"]:
        _without_trigrams()
        return 0

    def command() -> int:
        print("Prefect's database was made ready." if make_ready() else "Nothing to do.")
        return 0

    return guarded(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
