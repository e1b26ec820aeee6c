"""One run at a time changes a warehouse: an advisory lock on a connection of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from loaders import process, warehouse
from loaders.errors import DaybookError, LockedError, WarehouseError

if TYPE_CHECKING:
    from psycopg import Connection

KEY = 0x6461_7962  # "dayb"; the lock is per database, so one number will do
POLL = 0.2  # seconds
WAIT = 10.0  # seconds, for another run to end, or for PostgreSQL to come back


class Lock:
    """The held lock. `check()` before each commit: a lost connection is a lost lock."""

    def __init__(self, conn: Connection, holder: str) -> None:
        self._conn, self.holder = conn, holder
        self.again, self._is_lost = ExitStack(), False
        self._one_at_a_time = threading.Lock()

    def check(self) -> None:
        """LockedError unless this run holds the lock still."""
        if not self.is_held():
            raise LockedError(
                f"{self.holder} lost its lock on the warehouse (its connection ended): "
                "nothing more is written. Run it again."
            )

    def is_held(self) -> bool:
        import psycopg

        try:
            return self._is_held()
        except psycopg.Error:
            return False

    def _is_held(self) -> bool:
        self._conn.execute("select")  # the lock lives as long as its session
        return True

    def is_taken_again(self, is_safe: Callable[[], bool]) -> bool:
        """Take a lost lock again, once PostgreSQL is back; `is_safe` is asked under it. Tried once:
        whoever asks later is told what that came to."""
        with self._one_at_a_time, ExitStack() as taken:
            if self._is_lost or self.is_held():
                return not self._is_lost
            self._is_lost = True
            found: list[Lock] = []

            def is_back() -> bool:
                with suppress(WarehouseError):  # its own session may be a moment behind
                    found.append(taken.enter_context(run_lock(self.holder, wait=2)))
                return bool(found)

            with suppress(DaybookError):  # another has it, or the server is gone once more
                if process.until(is_back, WAIT) and is_safe():
                    self._conn, self._is_lost = found[0]._conn, False
                    self.again.enter_context(taken.pop_all())
            return not self._is_lost


class ParentLock(Lock):
    """The lock of the day that this process works for, which the day's own process holds."""

    def _is_held(self) -> bool:
        said, _ = holder(self._conn) or ("", 0)
        return said.startswith(self.holder)

    def is_taken_again(self, is_safe: Callable[[], bool]) -> bool:
        """That is for the day's own process."""
        return False


@contextmanager
def run_lock(holder: str, wait: float = WAIT) -> Iterator[Lock]:
    """Hold the warehouse for `holder`, such as "daybook run <flow_run_id> <day>".

    Waits up to `wait` seconds, then LockedError naming who holds it and since when. PostgreSQL
    frees the lock when the connection ends, so a run that is killed leaves none behind.
    """
    with _session(holder) as conn:
        deadline = time.monotonic() + wait
        while not _taken(conn):
            if time.monotonic() >= deadline:
                raise LockedError(_who_holds(conn, wait))
            time.sleep(min(POLL, max(0.01, deadline - time.monotonic())))
        lock = Lock(conn, holder)
        with lock.again:
            yield lock


@contextmanager
def under_parent(flow_run_id: str, child: str) -> Iterator[Lock]:
    """Work for the day `flow_run_id` as its run `child`, which this session shows to be alive.

    LockedError when that day doesn't hold the lock.
    """
    with _session(f"daybook child {flow_run_id} {child[:8]}") as conn:
        lock = ParentLock(conn, f"daybook run {flow_run_id}")
        lock.check()
        yield lock


def holder(conn: Connection[Any]) -> tuple[str, int] | None:
    """Who holds the run lock: its session's name with its start, and its pid."""
    from psycopg.rows import tuple_row

    # PostgreSQL doesn't tell another role's start to a login without pg_monitor.
    cursor = conn.cursor(row_factory=tuple_row).execute(
        """
        select
            coalesce(nullif(sessions.application_name, ''), 'an unnamed session')
            || coalesce(to_char(backend_start, '" since "YYYY-MM-DD HH24:MI:SS" UTC"'), ''),
            sessions.pid
        from pg_locks as locks
        join pg_stat_activity as sessions on sessions.pid = locks.pid
        where locks.locktype = 'advisory'
            and locks.database = (select oid from pg_database where datname = current_database())
            and locks.classid = 0
            and locks.objid = %s
            and locks.objsubid = 1
            and locks.granted
        """,
        [KEY],
    )
    return cursor.fetchone()


def sessions() -> str:
    """The names of the warehouse's open sessions. Days, their children and backfills have one for
    as long as they live, with the id of their run in its name."""
    with warehouse.connect(application_name="daybook watch", role=warehouse.LOADER) as conn:
        [(names,)] = conn.execute(
            "select string_agg(application_name, ' ') from pg_stat_activity"
            " where datname = current_database()"
        )
    return str(names)


@contextmanager
def _session(name: str) -> Iterator[Connection]:
    """A connection that only waits, with a name as PostgreSQL shows it: 63 bytes of ASCII."""
    fitted = "".join(c if " " <= c <= "~" else "?" for c in name)[:63]
    with closing(
        warehouse.connect(
            application_name=fitted, autocommit=True, timeouts=False, role=warehouse.LOADER
        )
    ) as conn:
        yield conn


def _taken(conn: Connection) -> bool:
    import psycopg

    try:
        return conn.execute("select pg_try_advisory_lock(%s::bigint)", [KEY]).fetchone() == (True,)
    except psycopg.errors.InsufficientPrivilege:
        raise WarehouseError(
            f"{warehouse.where()} may not run a day: its login has to be in the roles"
            f" {warehouse.LOADER} and, for the whole flow, {warehouse.TRANSFORMER}."
        ) from None


def _who_holds(conn: Connection, wait: float) -> str:
    conn.execute("reset role")  # a login sees more of its own other sessions than its role does
    found = holder(conn)
    if found is None:
        return (
            f"The warehouse was locked for {wait:g} s by a run that has just ended. Run it again."
        )
    said, pid = found
    return (
        f"The warehouse is held by {said} (waited {wait:g} s). "
        "Only one run at a time changes it: wait for it to end, or end it: "
        f"select pg_terminate_backend({pid});"
    )
