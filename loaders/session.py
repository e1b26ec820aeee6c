"""Where the warehouse is, and sessions of it: time-outs and settings, the run's context, as whom.

DATABASE_URL names it, else the libpq variables (PGHOST or PGSERVICE, with the rest), else it is the
embedded server under DAYBOOK_HOME.
"""

from __future__ import annotations

import logging
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from loaders.days import Day
from loaders.errors import WarehouseError
from loaders.sources import PROJECT

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
SHOWN = {"host": "host", "port": "port", "dbname": "database", "user": "user"}


def home() -> Path:
    """DAYBOOK_HOME (a relative one is below the project), else `.daybook` in the project."""
    return PROJECT / (os.environ.get("DAYBOOK_HOME") or ".daybook")


def is_embedded() -> bool:
    """Whether the warehouse is our own server: nothing in the environment names another."""
    return not any(os.environ.get(n) for n in ("DATABASE_URL", "PGHOST", "PGHOSTADDR", "PGSERVICE"))


def uri() -> str:
    """The owner's URI. A password from DATABASE_URL is in it, one from PGPASSWORD is not."""
    return _database_url() or uri_without_password()


def uri_without_password() -> str:
    named = target()
    parts = [f"{name}={quote(named[name], safe='/')}" for name in ("host", "port") if name in named]
    user = quote(named["user"], safe="") + "@" if named.get("user") else ""
    return f"postgresql://{user}/{quote(named.get('dbname', ''), safe='')}?{'&'.join(parts)}"


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
    """What libpq is given, by name: what DATABASE_URL says, or nothing, so that it reads its own
    variables; or the embedded server's address."""
    if is_embedded():
        from loaders import server

        return server.address(home())
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        given = conninfo_to_dict(_database_url())
    except psycopg.Error:
        raise WarehouseError("DATABASE_URL can't be read as a PostgreSQL URI.") from None
    return {name: str(value) for name, value in given.items() if value is not None}


def _database_url() -> str:
    """DATABASE_URL as libpq takes it; empty where there is none."""
    if not (url := os.environ.get("DATABASE_URL", "")):
        return ""
    named = re.match(r"postgres(?:ql)?(?:\+[^:]*)?://", url)
    if named is None:
        raise WarehouseError("DATABASE_URL must begin with postgresql:// (or postgres://).")
    return f"postgresql://{url[named.end() :]}"


def environment() -> dict[str, str]:
    """The environment in which PostgreSQL's programs find the warehouse: what is among a
    command's words, a password too, everybody sees."""
    from psycopg.pq import Conninfo

    names = {o.keyword.decode(): o.envvar.decode() for o in Conninfo.get_defaults() if o.envvar}
    given = {names[name]: value for name, value in parameters().items() if name in names}
    # They have no limit of their own: where nothing answers they would wait for ever.
    return {"PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT), **os.environ, **given}


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
    limits = _options(TIMEOUTS if timeouts else NO_TIMEOUTS)
    return f"{limits} {os.environ.get('PGOPTIONS', '')} {_options(context)}"


def _options(settings: dict[str, str]) -> str:
    """`-c name=value …`, with what libpq's splitting of PGOPTIONS would break escaped."""
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
    **kw: Any,
) -> Connection:
    """A psycopg connection to the warehouse, with timeouts, UTC and the run's context as settings.

    `role`: LOADER or TRANSFORMER, whose rights alone it has: as a login of its own on the embedded
    server, elsewhere by `set role` where the login is a member (a superuser stays one).
    `kw` goes to psycopg (row_factory, …). `timeouts=False` is for a connection that only waits.
    WarehouseError names host, port, database and user of a failed handshake, never the password;
    or says why the server can't be written.
    """
    given: dict[str, Any] = parameters()
    options = f"{given.get('options', '')} {pgoptions(day, flow_run_id, timeouts=timeouts)}"
    given |= {"user": role} if role and is_embedded() else {}
    given |= {
        "connect_timeout": CONNECT_TIMEOUT,
        "application_name": application_name,
        "options": options,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,  # else what it has sent into the void keeps it a quarter hour
    }
    conn = _shake_hands(given | kw)
    if role:
        _take_role(conn, role)
    # PGTZ and PGDATESTYLE beat `options`; the server reports both, so asking costs nothing.
    for setting, wanted in (("TimeZone", "UTC"), ("DateStyle", "ISO, YMD")):
        if conn.info.parameter_status(setting) not in (wanted, "ISO, MDY", "ISO, DMY"):
            conn.execute(f"set {setting} to {wanted}")
    conn.autocommit = autocommit
    return conn


def _shake_hands(given: dict[str, Any]) -> Connection:
    import psycopg

    # what it says of an error that it ignores quotes whole rows, and nobody else hears of it
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    reason = ""
    for attempt in range(RETRIES + 1):
        try:
            return psycopg.connect(autocommit=True, **given)
        except psycopg.OperationalError as error:
            # What the server says comes before its DETAIL; libpq's own reason comes last, before
            # what it guesses, which is indented.
            lines = [one for one in str(error).strip().splitlines() if not one.startswith("\t")]
            lines = lines or ["no reason given"]
            reason = next((line for line in lines if "FATAL:" in line), lines[-1])
            if attempt == RETRIES or not any(text in reason for text in NOT_YET):
                break
            time.sleep(0.25)
    if "unsupported startup parameter" in reason:
        reason += f": {POOLER}"
    said = f"No connection to PostgreSQL at {where()}: {reason}."
    if is_embedded() and "FATAL:" not in reason:
        said += " Start it: daybook warehouse start (or python -m loaders.warehouse start)."
    raise WarehouseError(said) from None


def _take_role(conn: Connection, role: str) -> None:
    """Go on as `role`; WarehouseError for a server that can't do a run's work."""
    from psycopg.rows import tuple_row

    [(problem, _)] = conn.cursor(row_factory=tuple_row).execute(
        """
        select
            case
                when current_setting('client_connection_check_interval') <> '500ms'
                    then 'it takes no settings of a session: ' || %s
                when pg_is_in_recovery() then 'it is a standby: name its primary'
                when current_setting('transaction_read_only')::boolean
                    then 'its sessions are read only (default_transaction_read_only)'
            end,
            (
                select set_config('role', rolname, false) from pg_roles
                where rolname = %s and pg_has_role(oid, 'SET')
                    and not (select rolsuper from pg_roles where rolname = session_user)
            )
        """,
        [POOLER, role],
    )
    if problem:
        conn.close()
        raise WarehouseError(f"Nothing can be built at {where()}: {problem}.")
