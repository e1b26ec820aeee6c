"""Where the warehouse is, and its sessions: their role, time-outs, settings and run's context.

DATABASE_URL names the warehouse; else libpq's variables (PGHOST, PGHOSTADDR or PGSERVICE, with the
rest) do; else it is the embedded server in DAYBOOK_HOME.
"""

from __future__ import annotations

import logging
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from loaders.days import Day
from loaders.errors import SettingError, WarehouseError
from loaders.sources import PROJECT
from loaders.sql import statement

if TYPE_CHECKING:
    from psycopg import Connection

CONNECT_TIMEOUT = 10  # seconds, for each attempt
RETRIES = 20  # of 0.25 s, and only while the server says that it is starting or recovering
NOT_YET = ("starting up", "not yet accepting", "recovery mode", "shutting down")
TIMEOUTS = {
    "statement_timeout": "1h",
    "lock_timeout": "60s",
    "idle_in_transaction_session_timeout": "10min",
}
# By tcp_ and the connection's check, any server soon ends the session, and its locks, of a client
# that has vanished, and none that waits for another. By the others SQL and texts of values mean the
# same on every server.
SESSION = {
    "TimeZone": "UTC",
    "idle_session_timeout": "0",
    "client_connection_check_interval": "500ms",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60s",
    "default_transaction_isolation": "read committed",
    "array_nulls": "on",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "extra_float_digits": "1",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
}
# With @ or / in a password, a part of it would be taken for the host or database, and shown.
_DATABASE_URL = re.compile(r"(postgresql://([^@/?]*@)?[^@/?]*(/[^@?]*)?(\?.*)?)?")
LOADER, TRANSFORMER = "daybook_loader", "daybook_transformer"
of_run = ""  # in a run's own process its id, which the name of each session then has
_SIGNS = re.compile(r'["$`\\,\n]')  # pg_ctl's shell, its configuration, or libpq's list of hosts
POOLER = (
    "a pooler such as PgBouncer stands before it, which hands sessions and their locks around:"
    " name PostgreSQL's own address"
)
STRANGER = f"its login has to be in the roles {LOADER} and, for all but landing, {TRANSFORMER}"
SHOWN = {"host": "host", "port": "port", "dbname": "database", "user": "user"}


def home() -> Path:
    """DAYBOOK_HOME, relative to the project's folder; by default `.daybook` in it. SettingError
    where it can't be a folder."""
    folder = PROJECT / (os.environ.get("DAYBOOK_HOME") or ".daybook")
    if any(each.exists() and not each.is_dir() for each in (folder, *folder.parents)):
        raise SettingError(f"DAYBOOK_HOME is no folder, or below a file: {folder}.")
    if sign := _SIGNS.search(str(folder)):
        raise SettingError(f"DAYBOOK_HOME can't have {sign[0]} in its path: {folder}.")
    return folder


def is_embedded() -> bool:
    """Whether the warehouse is the embedded server: the environment names no other."""
    return not any(os.environ.get(n) for n in ("DATABASE_URL", "PGHOST", "PGHOSTADDR", "PGSERVICE"))


def uri() -> str:
    """The owner's URI. A password from DATABASE_URL is in it, one from PGPASSWORD is not."""
    return _database_url() or uri_without_password()


def uri_without_password() -> str:
    to = target()
    parts = [f"{name}={quote(to[name], safe='/')}" for name in ("host", "port") if name in to]
    user = quote(to["user"], safe="") + "@" if to.get("user") else ""
    return f"postgresql://{user}/{quote(to.get('dbname', ''), safe='')}?{'&'.join(parts)}"


def where() -> str:
    """The warehouse in words: host, port, database and user."""
    words = [f"{SHOWN[name]} {value}" for name, value in target().items()]
    return ", ".join(words) or "the local default server"


def target() -> dict[str, str]:
    """Host, port, dbname and user as libpq resolves them, its service file included."""
    from psycopg.pq import Conninfo

    defaults = {o.keyword.decode(): o.val.decode() for o in Conninfo.get_defaults() if o.val}
    resolved = defaults | {name: value for name, value in parameters().items() if value}
    resolved.setdefault("host", resolved.get("hostaddr", ""))
    resolved.setdefault("dbname", resolved.get("user", ""))
    return {name: resolved[name] for name in SHOWN if resolved.get(name)}


def parameters() -> dict[str, str]:
    """The parameters for libpq, by name: the embedded server's address, or those in DATABASE_URL.
    Without that there are none, and libpq reads its own variables."""
    if is_embedded():
        from loaders import server

        return server.address(home())
    from psycopg.conninfo import conninfo_to_dict

    from_url = conninfo_to_dict(_database_url())
    return {name: str(value) for name, value in from_url.items() if value is not None}


def _database_url() -> str:
    """DATABASE_URL as libpq takes it, without SQLAlchemy's driver; empty when it is not set.
    SettingError, which quotes nothing: any part of it may be one of the password."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    url = os.environ.get("DATABASE_URL", "")
    url = re.sub(r"^postgres(ql)?(\+[^:]*)?://", "postgresql://", url)
    with suppress(psycopg.Error):
        port = str(conninfo_to_dict(url).get("port", ""))
        if _DATABASE_URL.fullmatch(url) and re.fullmatch("[0-9,]*", port):
            return url
    raise SettingError(
        "DATABASE_URL can't be read as postgresql://USER:PASSWORD@HOST:PORT/DATABASE. The port is a"
        " number, and in a password @ is written %40, : %3A, / %2F and % %25."
    )


def environment() -> dict[str, str]:
    """The environment in which PostgreSQL's programs find the warehouse. It holds the password,
    since everybody can see the arguments of a command."""
    from psycopg.pq import Conninfo

    names = {o.keyword.decode(): o.envvar.decode() for o in Conninfo.get_defaults() if o.envvar}
    ours = {names[name]: value for name, value in parameters().items() if name in names}
    # The programs have no limit of their own: without an answer they would wait for ever.
    return {"PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT), **os.environ, **ours}


def pgoptions(
    day: Day | None = None, flow_run_id: str | None = None, *, timeouts: bool = True
) -> str:
    """The PGOPTIONS value that carries the run's context: app.day (ISO), app.flow_run_id, UTC.

    The environment's own PGOPTIONS are part of it: they override the timeouts, but not the context.
    PGTZ overrides the time zone, so whoever exports this value must unset PGTZ.
    """
    context = dict(SESSION)
    if day is not None:
        context["app.day"] = day.date.isoformat()
    if flow_run_id is not None:
        context["app.flow_run_id"] = flow_run_id
    limits = _options(TIMEOUTS if timeouts else dict.fromkeys(TIMEOUTS, "0"))
    return f"{limits} {os.environ.get('PGOPTIONS', '')} {_options(context)}"


def _options(settings: dict[str, str]) -> str:
    """`-c name=value …`; blanks and backslashes are escaped, since libpq splits at blanks."""
    escaped = {name: re.sub(r"([\\\s])", r"\\\1", value) for name, value in settings.items()}
    return " ".join(f"-c {name}={value}" for name, value in escaped.items())


def connect(
    *,
    application_name: str = "daybook",
    flow_run_id: str | None = None,
    day: Day | None = None,
    autocommit: bool = False,
    timeouts: bool = True,
    role: str | None = None,
    instead: str = "",
    **kw: Any,
) -> Connection:
    """A psycopg connection to the warehouse, with timeouts, UTC and the run's context as settings.

    `role`: LOADER or TRANSFORMER; the connection then has only that role's rights. On the embedded
    server the role logs in; elsewhere it is set when the login is a member and no superuser. A
    login that is in `instead` alone keeps the rights that it has.
    `kw` goes to psycopg (row_factory, …). `timeouts=False` is for a connection that only waits.
    WarehouseError when the handshake fails, with host, port, database and user but never the
    password; with `role` also when the server can't be written to.
    """
    conninfo: dict[str, Any] = parameters()
    options = f"{conninfo.get('options', '')} {pgoptions(day, flow_run_id, timeouts=timeouts)}"
    conninfo |= {"user": role} if role and is_embedded() else {}
    if of_run not in application_name:
        application_name += f" {of_run}"
    conninfo |= {
        "connect_timeout": CONNECT_TIMEOUT,
        "application_name": application_name,
        "options": options,
        "client_encoding": "UTF8",  # before PGCLIENTENCODING, which beats options
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,  # else it waits a quarter hour for a lost answer
    }
    conn = _shake_hands(conninfo | kw)
    if role:
        _take_role(conn, role, instead)
    # PGTZ and PGDATESTYLE override `options`; the server has reported both, so no query is needed.
    for setting, wanted in (("TimeZone", "UTC"), ("DateStyle", "ISO, YMD")):
        if conn.info.parameter_status(setting) not in (wanted, "ISO, MDY", "ISO, DMY"):
            conn.execute(f"set {setting} to {wanted}")
    conn.autocommit = autocommit
    return conn


def _shake_hands(conninfo: dict[str, Any]) -> Connection:
    import psycopg

    from loaders.server import setting_error

    # its log of errors that it ignores would quote whole rows
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    reason = ""
    for attempt in range(RETRIES + 1):
        try:
            return psycopg.connect(autocommit=True, **conninfo)
        except psycopg.OperationalError as error:
            # The server's reason is the line with FATAL, before its DETAIL. libpq's own is the last
            # line, after which it may guess in indented ones.
            lines = [each for each in str(error).strip().splitlines() if each[:1] != "\t"]
            lines = lines or ["no reason given"]
            reason = next((line for line in lines if "FATAL:" in line), lines[-1])
            if attempt == RETRIES or not any(text in reason for text in NOT_YET):
                break
            time.sleep(0.25)
    if "unsupported startup parameter" in reason:
        reason += f": {POOLER}"
    message = f"No connection to PostgreSQL at {where()}: {reason}."
    if unusable := setting_error(message, reason):
        raise unusable from None
    if is_embedded() and "FATAL:" not in reason:
        message += " Start it: daybook warehouse start (or python -m loaders.warehouse start)."
    raise WarehouseError(message) from None


def refuse_older(conn: Connection) -> None:
    """WarehouseError for a server that is older than what the statements need."""
    if conn.info.server_version < 160000:
        version = conn.info.parameter_status("server_version")
        conn.close()
        raise WarehouseError(f"PostgreSQL 16 to 18 are supported; {where()} is {version}.")


def _take_role(conn: Connection, role: str, instead: str = "") -> None:
    """Set the session's role; WarehouseError for a server that can't do a run's work."""
    from psycopg.rows import tuple_row

    refuse_older(conn)
    cursor = conn.cursor(row_factory=tuple_row)
    needed = [POOLER, role, instead, STRANGER, role]
    [(problem, _)] = cursor.execute(statement("take_role").encode(), needed)
    if problem:
        conn.close()
        raise WarehouseError(f"Nothing can be built at {where()}: {problem}.")
