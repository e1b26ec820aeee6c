"""One run at a time changes a warehouse: an advisory lock on a connection of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from loaders import process, warehouse
from loaders.errors import DaybookError, LockedError, WarehouseError

if TYPE_CHECKING:
    from psycopg import Connection

KEY = 0x6461_7962  # "dayb"; the lock is per database, so one number will do
POLL = 0.2  # seconds
WAIT = 10.0  # seconds, for another run to end, or for PostgreSQL to come back
CHILD = "daybook child"


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


@contextmanager
def run_lock(holder: str, wait: float = WAIT) -> Iterator[Lock]:
    """Hold the warehouse for `holder`, such as "daybook run <flow_run_id> <day>".

    Waits up to `wait` seconds, then LockedError naming who holds it and since when. PostgreSQL
    frees the lock when the connection ends, so a run that is killed leaves none behind.
    """
    conn = warehouse.connect(
        application_name=_fitted(holder), autocommit=True, timeouts=False, role=warehouse.LOADER
    )
    try:
        deadline = time.monotonic() + wait
        while not _taken(conn):
            if time.monotonic() >= deadline:
                raise LockedError(_who_holds(conn, wait))
            time.sleep(min(POLL, max(0.01, deadline - time.monotonic())))
        lock = Lock(conn, holder)
        with lock.again:
            yield lock
    finally:
        conn.close()


class ParentLock(Lock):
    """The lock of the day that this process works for, which the day's own process holds."""

    def __init__(self, conn: Connection, flow_run_id: str) -> None:
        super().__init__(conn, f"daybook run {flow_run_id}")
        self.flow_run_id = flow_run_id

    def _is_held(self) -> bool:
        return parent_holds(self._conn, self.flow_run_id)

    def is_taken_again(self, is_safe: Callable[[], bool]) -> bool:
        """That is for the day's own process."""
        return False


@contextmanager
def under_parent(flow_run_id: str, child: str) -> Iterator[ParentLock]:
    """Work for the day `flow_run_id` as its `child`; the session shows the day that it lives.

    LockedError when that day doesn't hold the lock.
    """
    name = f"{CHILD} {flow_run_id} {child[:8]}"
    with warehouse.connect(
        application_name=name, autocommit=True, timeouts=False, role=warehouse.LOADER
    ) as conn:
        lock = ParentLock(conn, flow_run_id)
        lock.check()
        yield lock


def parent_holds(conn: Connection, flow_run_id: str) -> bool:
    """Whether the run lock is held, and by that day's run."""
    return bool(
        conn.execute(
            """
            select 1
            from pg_locks as locks
            join pg_stat_activity as sessions on sessions.pid = locks.pid
            where locks.locktype = 'advisory'
                and locks.database = (
                    select oid from pg_database where datname = current_database()
                )
                and locks.classid = 0
                and locks.objid = %s
                and locks.objsubid = 1
                and locks.granted
                and starts_with(sessions.application_name, %s)
            """,
            [KEY, f"daybook run {flow_run_id}"],
        ).fetchone()
    )


def children_alive(flow_run_id: str) -> set[str]:
    """The first eight characters of the ids of the children whose sessions are open."""
    prefix = f"{CHILD} {flow_run_id} "
    with warehouse.connect(
        application_name="daybook watch", autocommit=True, role=warehouse.LOADER
    ) as conn:
        found = conn.execute(
            "select application_name from pg_stat_activity"
            " where datname = current_database() and starts_with(application_name, %s)",
            [prefix],
        ).fetchall()
    return {name.removeprefix(prefix) for (name,) in found}


def runs_alive() -> set[str]:
    """The ids of the days and backfills whose sessions are open."""
    with warehouse.connect(
        application_name="daybook watch", autocommit=True, role=warehouse.LOADER
    ) as conn:
        found = conn.execute(
            "select split_part(application_name, ' ', 3) from pg_stat_activity"
            " where datname = current_database()"
            " and application_name similar to 'daybook (run|backfill) %'"
        ).fetchall()
    return {run for (run,) in found}


def _taken(conn: Connection) -> bool:
    import psycopg

    try:
        return conn.execute("select pg_try_advisory_lock(%s::bigint)", [KEY]).fetchone() == (True,)
    except psycopg.errors.InsufficientPrivilege:
        raise WarehouseError(
            f"{warehouse.where()} may not run a day: its login has to be in the roles"
            f" {warehouse.LOADER} and, for the whole flow, {warehouse.TRANSFORMER}."
        ) from None


def _fitted(holder: str) -> str:
    """PostgreSQL cuts an application_name at 63 bytes and shows only printable ASCII."""
    return "".join(c if " " <= c <= "~" else "?" for c in holder)[:63]


def _who_holds(conn: Connection, wait: float) -> str:
    conn.execute("reset role")  # a login sees more of its own other sessions than its role does
    found = conn.execute(
        """
        select sessions.application_name, sessions.backend_start, sessions.pid
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
    ).fetchone()
    if found is None:
        return (
            f"The warehouse was locked for {wait:g} s by a run that has just ended. Run it again."
        )
    name, since, pid = found
    # PostgreSQL doesn't tell another role's start to a login without pg_monitor.
    when = f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since else ""
    return (
        f"The warehouse is held by {name or 'an unnamed session'}{when} (waited {wait:g} s). "
        "Only one run at a time changes it: wait for it to end, or end it: "
        f"select pg_terminate_backend({pid});"
    )
