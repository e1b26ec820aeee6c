"""Starts, migrates, checks and stops the warehouse; where it is and how to connect."""

from __future__ import annotations

import argparse
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from loaders import process, server, session
from loaders.arguments import command, option
from loaders.errors import SettingError, WarehouseError, plain
from loaders.session import LOADER, TRANSFORMER, connect, home, is_embedded, pgoptions, uri, where
from loaders.tables import ensure_tables, missing

if TYPE_CHECKING:
    from psycopg import Connection
    from sqlalchemy import Engine

# most are of loaders.session: the other modules use them from here
__all__ = ["LOADER", "TRANSFORMER", "connect", "home", "is_embedded", "pgoptions", "uri", "where"]
MIGRATIONS = Path(__file__).resolve().parent / "migrations"
# Run whole by each migrate: functions, and who may do what. The warehouse keeps the version.
RUN_WHOLE = ("functions.sql", "roles.sql")
RUN_WHOLE_VERSION = 3  # raise it when they change
FIRST_REVISION = "0103"  # the oldest of this edition
MIGRATE = "run daybook warehouse migrate"
MIGRATION_LOCK = 0x6461_796D  # "daym": two migrations of one database wait for each other

COMMANDS = {
    "start": "start it if need be and make it ready",
    "stop": "stop the embedded server",
    "status": "say whether it runs, where, and its version",
    "uri": "print its owner's URI and nothing else",
    "migrate": "bring its control tables and landed tables up to date",
}


def own_folder(name: str) -> Path:
    """A folder in DAYBOOK_HOME, which only its owner can enter; made if need be. A home that is
    open to others is closed, but for one like /tmp, or of somebody else."""
    folder = process.private_folder(home() / name)
    mode = folder.parent.stat().st_mode
    if mode & 0o067 and not mode & stat.S_ISVTX:
        with suppress(PermissionError):
            folder.parent.chmod(mode & 0o710)  # the embedded server's user may enter it
    return folder


def start() -> str:
    """Start the embedded server if need be and leave the warehouse ready; returns its URI.

    Idempotent, and safe to call twice at once. An external server is only connected to.
    """
    if is_embedded():
        server.start(home())
    with connect(application_name="daybook start") as conn:
        behind = _behind(conn)
    if behind:
        migrate()
    return uri()


def wake() -> None:
    """Start the embedded server if need be; any other is not ours to start."""
    if is_embedded():
        start()


def stop() -> bool:
    """Stop the embedded server; False if it didn't run. WarehouseError if the server isn't ours."""
    if not is_embedded():
        raise WarehouseError(f"The warehouse is {where()}: not our server, so not ours to stop.")
    return server.stop(home())


def status() -> tuple[str | None, str | None]:
    """The server's version, None when it doesn't answer; and what is wrong, None if nothing is.
    SettingError when a setting keeps every session out."""
    try:
        with connect(application_name="daybook status") as conn:
            return conn.info.parameter_status("server_version"), _behind(conn)
    except SettingError:
        raise
    except WarehouseError as error:
        return None, str(error)


def migrate() -> list[str]:
    """Bring schemas, control tables, landed tables and grants up to date, in one transaction.

    Two at once wait for each other. Returns the server's warnings. WarehouseError for a warehouse
    of another edition, for an unsupported PostgreSQL, and when the server refuses.
    """
    import psycopg
    from alembic import command
    from alembic.config import Config
    from sqlalchemy.exc import SQLAlchemyError

    notes: list[str] = []
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with engine("daybook migrate").begin() as connection:
            conn = cast("Connection", connection.connection.driver_connection)
            conn.add_notice_handler(
                lambda d: notes.append(str(d.message_primary)) if d.severity == "WARNING" else None
            )
            session.refuse_older(conn)
            if (encoding := conn.info.parameter_status("server_encoding")) != "UTF8":
                raise WarehouseError(
                    f"{where()} can't hold every name: its encoding is {encoding}. Make another:"
                    " create database … encoding 'UTF8' template template0."
                )
            conn.execute("select pg_advisory_xact_lock(%s::bigint)", [MIGRATION_LOCK])
            if other := _other_edition(*_revisions(conn)):
                raise WarehouseError(other)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            ensure_tables(conn)
            for name in RUN_WHOLE:
                conn.execute((MIGRATIONS / name).read_bytes())
            conn.execute(f"comment on table bronze.alembic_version is '{RUN_WHOLE_VERSION}'")
            if is_embedded():  # only the owner and root can reach its socket
                conn.execute(f"alter role {LOADER} login; alter role {TRANSFORMER} login")
                conn.execute(f"grant create on database daybook to {TRANSFORMER}")  # dev's schemas
    except (psycopg.Error, SQLAlchemyError) as error:
        raise WarehouseError(f"Nothing was migrated at {where()}: {plain(error)}") from None
    return notes


def engine(application_name: str) -> Engine:
    """An SQLAlchemy engine for Alembic, on connections by `connect`, without a pool."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    return create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(application_name=application_name),
        poolclass=NullPool,
    )


def check_ready(conn: Connection) -> None:
    """WarehouseError that says what to run, unless control and landed tables are up to date."""
    if behind := _behind(conn):
        raise WarehouseError(behind)


def _behind(conn: Connection) -> str | None:
    """Why the warehouse isn't ready for this code, and what to run; None when it is."""
    (revision, whole), newest = _revisions(conn), newest_revision()
    if revision is None:
        return f"The warehouse has no control tables: {MIGRATE}."
    if other := _other_edition(revision, whole):
        return other
    if revision < newest:
        return f"The control tables are at {revision}, this code needs {newest}: {MIGRATE}."
    if whole < RUN_WHOLE_VERSION:
        return f"The warehouse's functions and rights are older than this code: {MIGRATE}."
    if gaps := missing(conn):
        return f"Declared and not in the warehouse: {', '.join(gaps[:5])}: {MIGRATE}."
    return None


def _other_edition(revision: str | None, whole: int) -> str | None:
    """Why this code can't work on a warehouse at these revisions; None when it can."""
    newest = newest_revision()
    if revision and revision > newest:
        return f"The control tables are at {revision}, newer than this code ({newest}): update it."
    if whole > RUN_WHOLE_VERSION:
        return "The warehouse's functions and rights are newer than this code: update it."
    if revision and revision < FIRST_REVISION:
        return (
            "This warehouse was built by the first edition of Daybook. What landed stays:"
            f" CHANGELOG.md says what to drop before you {MIGRATE}."
        )
    return None


def newest_revision() -> str:
    """The newest revision of the control tables that this code knows."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def _revisions(conn: Connection) -> tuple[str | None, int]:
    """The revision of the control tables, None when there are none; and RUN_WHOLE_VERSION of the
    code that migrated last."""
    from psycopg.errors import InsufficientPrivilege
    from psycopg.rows import scalar_row

    cursor = conn.cursor(row_factory=scalar_row)
    try:
        if cursor.execute("select to_regclass('bronze.alembic_version')").fetchone() is None:
            return None, 0
    except InsufficientPrivilege:
        raise WarehouseError(f"Not to be read at {where()}: {session.STRANGER}.") from None
    revision = cursor.execute("select max(version_num) from bronze.alembic_version").fetchone()
    kept = "select obj_description('bronze.alembic_version'::regclass, 'pg_class')"
    return revision, int(cursor.execute(kept).fetchone() or 0)


@command(
    "loaders.warehouse",
    "The warehouse: DATABASE_URL, else PGHOST …, else the embedded PostgreSQL.",
    "example: %(prog)s start",
    option("command", choices=COMMANDS, help="; ".join(f"{n}: {w}" for n, w in COMMANDS.items())),
)
def main(args: argparse.Namespace) -> None:
    print(_answer(args.command))


def _answer(command: str) -> str:
    if command == "uri":
        return uri()
    if command == "migrate":
        if is_embedded():
            server.start(home())
        return "\n".join([*migrate(), f"The warehouse at {where()} is up to date."])
    if command == "stop":
        if not is_embedded():
            return f"The warehouse is {where()}: not our server, so not ours to stop."
        return "Stopped." if stop() else "It wasn't running."
    if command == "start":
        start()
        return f"PostgreSQL {status()[0]} is ready at {where()}.\n{session.uri_without_password()}"
    version, problem = status()
    kind = "embedded" if is_embedded() else "external"
    answer = f"running ({kind}): PostgreSQL {version} at " if version else f"stopped ({kind}): "
    return answer + where() + (f"\n{problem}" if problem else "")


if __name__ == "__main__":
    sys.exit(main())
