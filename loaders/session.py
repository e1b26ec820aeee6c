"""A session of the warehouse: time-outs and settings, the run's context, and as whom it works."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

from loaders.address import is_embedded, parameters, where
from loaders.days import Day
from loaders.errors import WarehouseError

if TYPE_CHECKING:
    from psycopg import Connection

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
    given = parameters()
    options = [given.get("options", ""), pgoptions(day, flow_run_id, timeouts=timeouts)]
    given |= {"user": role} if role and is_embedded() else {}
    ours: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT,
        "application_name": application_name,
        "options": " ".join(options),
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,  # else what it has sent into the void keeps it a quarter hour
        **kw,
    }
    conn = _shake_hands(given | ours)
    if role:
        _take_role(conn, role)
    # PGTZ and PGDATESTYLE beat `options`; the server reports both, so asking costs nothing.
    for setting, wanted in (("TimeZone", "UTC"), ("DateStyle", "ISO, YMD")):
        if conn.info.parameter_status(setting) not in (wanted, "ISO, MDY", "ISO, DMY"):
            conn.execute(f"set {setting} to {wanted}")
    conn.autocommit = autocommit
    return conn


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


def _shake_hands(given: dict[str, Any]) -> Connection:
    import psycopg

    # what it says of an error that it ignores quotes whole rows, and nobody else hears of it
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    said = ""
    for attempt in range(RETRIES + 1):
        try:
            return psycopg.connect(autocommit=True, **given)
        except psycopg.OperationalError as error:
            # What the server says comes before its DETAIL; libpq's own reason comes last, before
            # what it guesses, which is indented.
            lines = [one for one in str(error).strip().splitlines() if not one.startswith("\t")]
            lines = lines or ["no reason given"]
            said = next((line for line in lines if "FATAL:" in line), lines[-1])
            if attempt == RETRIES or not any(text in said for text in NOT_YET):
                break
            time.sleep(0.25)
    if "unsupported startup parameter" in said:
        said += f": {POOLER}"
    is_down = is_embedded() and "FATAL:" not in said
    hint = " Start it: python -m loaders.warehouse start." if is_down else ""
    raise WarehouseError(f"No connection to PostgreSQL at {where()}: {said}.{hint}") from None


def _options(settings: dict[str, str]) -> str:
    """`-c name=value …`, with what libpq's splitting of PGOPTIONS would break escaped."""

    def escaped(value: str) -> str:
        return "".join("\\" + c if c == "\\" or c.isspace() else c for c in value)

    return " ".join(f"-c {name}={escaped(value)}" for name, value in settings.items())
