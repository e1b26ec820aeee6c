"""Where the warehouse is, how to connect to it, and how it is made ready.

DATABASE_URL, else the libpq variables (PGHOST or PGSERVICE, with the rest), else the embedded
server under DAYBOOK_HOME.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from loaders import edition
from loaders.days import Day
from loaders.errors import DaybookError, WarehouseError, plain
from loaders.sources import PROJECT

if TYPE_CHECKING:
    from psycopg import Connection
    from sqlalchemy import Engine

MIGRATION_LOCK = 0x6461_796D  # "daym": two migrations of one database wait for each other
CONNECT_TIMEOUT = 10  # seconds, for each attempt
RETRIES = 20  # of 0.25 s, and only while the server says that it is starting or recovering
TIMEOUTS = {
    "statement_timeout": "1h",
    "lock_timeout": "60s",
    "idle_in_transaction_session_timeout": "10min",
}
NO_TIMEOUTS = dict.fromkeys([*TIMEOUTS, "idle_session_timeout"], "0")
# A client that vanishes without a word holds its locks no longer than this, on any server.
SESSION = {
    "TimeZone": "UTC",
    "client_connection_check_interval": "500ms",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60s",
    "default_transaction_isolation": "read committed",
    "array_nulls": "on",
}
LOADER, TRANSFORMER = "daybook_loader", "daybook_transformer"
POOLER = (
    "a pooler such as PgBouncer stands before it, which hands sessions and their locks around:"
    " name PostgreSQL's own address"
)
NOT_YET = ("starting up", "not yet accepting", "recovery mode", "shutting down")


@dataclass(frozen=True)
class Status:
    """The warehouse as `status()` found it; `where` never holds a password."""

    running: bool
    embedded: bool
    where: str
    version: str | None = None
    problem: str | None = None


def home() -> Path:
    """DAYBOOK_HOME (a relative one is below the project), else `.daybook` in the project."""
    return PROJECT / (os.environ.get("DAYBOOK_HOME") or ".daybook")


def is_embedded() -> bool:
    """Whether the warehouse is our own server: nothing in the environment names another."""
    return not any(os.environ.get(n) for n in ("DATABASE_URL", "PGHOST", "PGHOSTADDR", "PGSERVICE"))


def uri() -> str:
    """The owner's URI. A password from DATABASE_URL is in it, one from PGPASSWORD is not."""
    if os.environ.get("DATABASE_URL"):
        return _database_url()
    return _uri_without_password()


def pgoptions(
    day: Day | None = None, flow_run_id: str | None = None, *, timeouts: bool = True
) -> str:
    """The PGOPTIONS value that carries the run's context: app.day (ISO), app.flow_run_id, UTC.

    The environment's own PGOPTIONS stay in it and beat the timeouts, not the context. PGTZ would
    beat it: whoever exports this value takes PGTZ out of the environment.
    """
    context = dict(SESSION)
    if day is not None:
        context["app.day"] = day.date.isoformat()
    if flow_run_id is not None:
        context["app.flow_run_id"] = flow_run_id
    given = os.environ.get("PGOPTIONS", "")
    return " ".join(
        part
        for part in (_options(TIMEOUTS if timeouts else NO_TIMEOUTS), given, _options(context))
        if part
    )


def connect(
    *,
    application_name: str = "daybook",
    flow_run_id: str | None = None,
    day: Day | None = None,
    autocommit: bool = False,
    timeouts: bool = True,
    role: str | None = None,
    **kw: Any,
) -> Connection:
    """A psycopg connection to the warehouse, with timeouts, UTC and the run's context as settings.

    `role`: LOADER or TRANSFORMER, whose rights alone it has: as a login of its own on the embedded
    server, elsewhere by `set role` where the login is a member (a superuser stays one).
    `kw` goes to psycopg (row_factory, …). `timeouts=False` is for a connection that only waits.
    WarehouseError names host, port, database and user of a failed handshake, never the password;
    or says why the server can't be written.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    base = "" if is_embedded() else _conninfo()
    try:
        given = conninfo_to_dict(base).get("options", "")
    except psycopg.Error:
        raise WarehouseError("DATABASE_URL can't be read as a PostgreSQL URI.") from None
    options = pgoptions(day, flow_run_id, timeouts=timeouts)
    parameters: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT,
        "application_name": application_name,
        "options": f"{given} {options}",
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        **(_embedded() if is_embedded() else {}),
        **({"user": role} if role and is_embedded() else {}),
        **kw,
    }
    conn = _shake_hands(base, parameters)
    if role:
        _take_role(conn, role)
    # PGTZ and PGDATESTYLE beat `options`; the server reports both, so asking costs nothing.
    for setting, wanted in (("TimeZone", "UTC"), ("DateStyle", "ISO, YMD")):
        if conn.info.parameter_status(setting) not in (wanted, "ISO, MDY", "ISO, DMY"):
            conn.execute(f"set {setting} to {wanted}")
    conn.autocommit = autocommit
    return conn


def start() -> str:
    """Start the embedded server if need be and leave the warehouse ready; returns its URI.

    Idempotent, and safe to call twice at once. An external server is only connected to.
    """
    if is_embedded():
        from loaders import server

        server.start(home())
    with connect(application_name="daybook start") as conn:
        behind = _behind(conn)
    if behind:
        migrate()
    return uri()


def stop() -> bool:
    """Stop the embedded server; False if it didn't run. WarehouseError if the server isn't ours."""
    if not is_embedded():
        raise WarehouseError(f"The warehouse is {where()}: not our server, so not ours to stop.")
    from loaders import server

    return server.stop(home())


def reset() -> None:
    """Stop the embedded server and delete all that it holds. An external server is left alone."""
    if not is_embedded():
        raise WarehouseError(f"The warehouse is {where()}: not our server, so not ours to delete.")
    from loaders import server

    server.reset(home())


def status() -> Status:
    """Whether the warehouse answers, where it is and its version."""
    try:
        with connect(application_name="daybook status") as conn:
            version = conn.info.parameter_status("server_version")
            return Status(True, is_embedded(), where(), version, _behind(conn))
    except WarehouseError as error:
        return Status(False, is_embedded(), where(), problem=str(error))


def migrate(*, drop_built: bool = False) -> list[str]:
    """Bring schemas, control tables, landed tables and grants up to date, in one transaction.

    `drop_built` first drops all that dbt built and the runs' records, of a warehouse that the first
    edition made: landed tables stay, and dbt build makes the rest anew. Two at once wait for each
    other. Returns what there is to say about it (warnings of the server).
    """
    import psycopg
    from alembic import command
    from alembic.config import Config
    from sqlalchemy.exc import SQLAlchemyError

    from loaders.tables import ensure_tables

    said: list[str] = []
    config = Config()
    config.set_main_option("script_location", str(edition.MIGRATIONS).replace("%", "%%"))
    try:
        with engine("daybook migrate").begin() as connection:
            conn = cast("Connection", connection.connection.driver_connection)
            conn.add_notice_handler(
                lambda d: said.append(str(d.message_primary)) if d.severity == "WARNING" else None
            )
            _check_version(conn)
            conn.execute("select pg_advisory_xact_lock(%s::bigint)", [MIGRATION_LOCK])
            if drop_built:
                conn.execute(edition.DROP_BUILT)
            elif behind := edition.other(edition.revision(conn)):
                raise WarehouseError(behind)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            ensure_tables(conn)
            conn.execute((edition.MIGRATIONS / "roles.sql").read_text(encoding="utf-8"))
            if is_embedded():  # where the socket alone lets nobody else in
                conn.execute(f"alter role {LOADER} login; alter role {TRANSFORMER} login")
                conn.execute(f"grant create on database daybook to {TRANSFORMER}")  # dev's schemas
    except (psycopg.Error, SQLAlchemyError) as error:
        raise WarehouseError(f"Nothing was migrated at {where()}: {plain(error)}") from None
    return said


def engine(application_name: str) -> Engine:
    """SQLAlchemy's way in, for Alembic: our own connections, one at a time."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    return create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(application_name=application_name),
        poolclass=NullPool,
    )


def check_ready(conn: Connection) -> None:
    """WarehouseError, saying what to run, unless control and landed tables are up to date."""
    if behind := _behind(conn):
        raise WarehouseError(behind)


def where() -> str:
    """The warehouse in words: host, port, database and user."""
    found = _target()
    said = [f"{label} {found[name]}" for name, label in _SHOWN.items() if found.get(name)]
    return ", ".join(said) or "the local default server"


_SHOWN = {"host": "host", "port": "port", "dbname": "database", "user": "user"}


def _behind(conn: Connection) -> str | None:
    from loaders.tables import missing

    found = edition.revision(conn)
    if found is None:
        return f"The warehouse has no control tables: {edition.MIGRATE}."
    if other := edition.other(found):
        return other
    if found < edition.head():
        needed = edition.head()
        return f"The control tables are at {found}, this code needs {needed}: {edition.MIGRATE}."
    if is_embedded() and not _may_log_in(conn):
        return f"The warehouse lacks the logins of its roles: {edition.MIGRATE}."
    if gaps := missing(conn):
        return f"Declared and not in the warehouse: {', '.join(gaps[:5])}: {edition.MIGRATE}."
    return None


def _may_log_in(conn: Connection) -> bool:
    from psycopg.rows import tuple_row

    found = conn.cursor(row_factory=tuple_row).execute(
        "select count(*) from pg_roles where rolname = any(%s) and rolcanlogin",
        [[LOADER, TRANSFORMER]],
    )
    return found.fetchone() == (2,)


def _check_version(conn: Connection) -> None:
    if conn.info.server_version < 160000:
        found = conn.info.parameter_status("server_version")
        raise WarehouseError(f"PostgreSQL 16 to 18 are supported; {where()} is {found}.")


def _embedded() -> dict[str, str]:
    from loaders import server

    return server.address(home())


def _conninfo() -> str:
    """What libpq is given: DATABASE_URL, or nothing, so that it reads its own variables."""
    return _database_url() if os.environ.get("DATABASE_URL") else ""


def _database_url() -> str:
    scheme, separator, rest = os.environ["DATABASE_URL"].partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise WarehouseError("DATABASE_URL must begin with postgresql:// (or postgres://).")
    return f"postgresql://{rest}"


def _target() -> dict[str, str]:
    """Host, port, dbname and user as libpq resolves them, its service file included."""
    if is_embedded():
        return _embedded()
    import psycopg
    from psycopg.conninfo import conninfo_to_dict
    from psycopg.pq import Conninfo

    found = {
        option.keyword.decode(): option.val.decode()
        for option in Conninfo.get_defaults()
        if option.val
    }
    try:
        found |= {k: str(v) for k, v in conninfo_to_dict(_conninfo()).items() if v}
    except psycopg.Error:
        raise WarehouseError("DATABASE_URL can't be read as a PostgreSQL URI.") from None
    found.setdefault("host", found.get("hostaddr", ""))
    found.setdefault("dbname", found.get("user", ""))
    return {name: found[name] for name in _SHOWN if found.get(name)}


def _uri_without_password() -> str:
    found = _target()
    parts = [f"{name}={quote(found[name], safe='/')}" for name in ("host", "port") if name in found]
    user = quote(found["user"], safe="") + "@" if found.get("user") else ""
    return f"postgresql://{user}/{quote(found.get('dbname', ''), safe='')}?{'&'.join(parts)}"


def _options(settings: dict[str, str]) -> str:
    """`-c name=value …`, with what libpq's splitting of PGOPTIONS would break escaped."""

    def escaped(value: str) -> str:
        return "".join("\\" + c if c == "\\" or c.isspace() else c for c in value)

    return " ".join(f"-c {name}={escaped(value)}" for name, value in settings.items())


def _take_role(conn: Connection, role: str) -> None:
    """Go on as `role`; WarehouseError for a server that can't do a run's work."""
    from psycopg.rows import tuple_row

    found = conn.cursor(row_factory=tuple_row).execute(
        """
        select
            current_setting('client_connection_check_interval') = '500ms',
            pg_is_in_recovery(),
            current_setting('transaction_read_only')::boolean,
            (
                select set_config('role', rolname, false) from pg_roles
                where rolname = %s and pg_has_role(oid, 'SET')
                    and not (select rolsuper from pg_roles where rolname = session_user)
            )
        """,
        [role],
    )
    heard, standby, read_only, _ = found.fetchone() or (False, False, False, None)
    problem = (
        f"it takes no settings of a session: {POOLER}"
        if not heard
        else "it is a standby: name its primary"
        if standby
        else "its sessions are read only (default_transaction_read_only)"
        if read_only
        else None
    )
    if problem:
        conn.close()
        raise WarehouseError(f"Nothing can be built at {where()}: {problem}.")


def _shake_hands(base: str, parameters: dict[str, Any]) -> Connection:
    import psycopg

    said = ""
    for attempt in range(RETRIES + 1):
        try:
            return psycopg.connect(base, autocommit=True, **parameters)
        except psycopg.OperationalError as error:
            lines = str(error).strip().splitlines() or ["no reason given"]
            # What the server says comes before its DETAIL; libpq's own reason comes last.
            said = next((line for line in lines if "FATAL:" in line), lines[-1])
            if attempt == RETRIES or not any(text in said for text in NOT_YET):
                break
            time.sleep(0.25)
    if "unsupported startup parameter" in said:
        said += f": {POOLER}"
    hint = " Start it: python -m loaders.warehouse start." if is_embedded() else ""
    raise WarehouseError(f"No connection to PostgreSQL at {where()}: {said}.{hint}") from None


def main(arguments: list[str] | None = None, prog: str = "python -m loaders.warehouse") -> int:
    """`python -m loaders.warehouse …`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="The warehouse: DATABASE_URL, else PGHOST …, else the embedded PostgreSQL.",
        epilog='Example: psql "$(%(prog)s uri)"',
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in {
        "start": "start it if need be and make it ready",
        "stop": "stop the embedded server",
        "status": "say whether it runs, where, and its version",
        "uri": "print its owner's URI and nothing else",
        "migrate": "bring its control tables and landed tables up to date",
    }.items():
        added = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        if name == "migrate":
            added.add_argument(
                "--drop-built",
                action="store_true",
                help="first drop all but bronze: for a warehouse that the first edition made",
            )
    given = parser.parse_args(arguments)
    try:
        print(_answer(given.command, drop_built=getattr(given, "drop_built", False)))
    except DaybookError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _answer(command: str, *, drop_built: bool = False) -> str:
    if command == "start":
        start()
        found = status()
        return f"PostgreSQL {found.version} is ready at {where()}.\n{_uri_without_password()}"
    if command == "stop":
        if not is_embedded():
            return f"The warehouse is {where()}: not our server, so not ours to stop."
        return "Stopped." if stop() else "It wasn't running."
    if command == "status":
        found = status()
        kind = "embedded" if found.embedded else "external"
        if not found.running:
            return f"stopped ({kind}): {found.where}\n{found.problem}"
        note = f"\n{found.problem}" if found.problem else ""
        return f"running ({kind}): PostgreSQL {found.version} at {found.where}{note}"
    if command == "uri":
        return uri()
    said = migrate(drop_built=drop_built)
    return "\n".join([*said, f"The warehouse at {where()} is up to date."])


if __name__ == "__main__":
    sys.exit(main())
