"""One run at a time changes a warehouse: an advisory lock on a connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from loaders import process, warehouse
from loaders.errors import DaybookError, LockedError, WarehouseError
from loaders.sql import statement

if TYPE_CHECKING:
    from psycopg import Connection

KEY = 0x6461_7962  # "dayb"; the lock is per database, so one number will do
WAIT = 10.0  # seconds, for another run to end, or for PostgreSQL to come back


class Lock:
    """The run lock, held by a session of its own, which PostgreSQL shows under the holder's name.
    A lost connection is a lost lock: `transaction` checks it before it commits. A run on the pool
    is a `child`: it takes no lock, and its session, under its name, shows that it is alive."""

    def __init__(self, holder: str, child: str = "") -> None:
        self._holder, self._child = holder, child
        self._conn = living_session(child or holder)
        self._is_lost = False
        # What closes a connection frees what another thread's query still reads.
        self._one_at_a_time = threading.RLock()

    def take(self, wait: float) -> None:
        """Take the lock within `wait` seconds; LockedError says who holds it, and since when."""

        # Not in PostgreSQL's queue: builds by hand, which share the lock, would wait behind this.
        query = "select pg_try_advisory_lock(%s::bigint)"
        if not process.until(lambda: self._conn.execute(query, [KEY]).fetchone() == (True,), wait):
            raise LockedError(_who_holds(self._conn, wait))

    def check(self) -> None:
        """LockedError unless this run still holds the lock."""
        if not self.is_held():
            raise LockedError(
                f"{self._holder} lost its lock on the warehouse (its connection ended): "
                "nothing more is written. Run it again."
            )

    def is_held(self) -> bool:
        import psycopg

        with self._one_at_a_time, suppress(psycopg.Error):
            name, _ = holder(self._conn) or ("", 0)  # it lives as long as the session that took it
            return not self._is_lost and name.startswith(_as_shown(self._holder))
        return False

    def is_taken_again(self, is_safe: Callable[[], bool]) -> bool:
        """Take a lost lock again when PostgreSQL is back, and call `is_safe` under it. It is tried
        once: later calls return its result. A child leaves it to its day."""
        if self._child:
            return False
        with self._one_at_a_time:
            if self._is_lost or self.is_held():
                return not self._is_lost
            self._is_lost = True
            with suppress(DaybookError):  # another run has it, or the server is gone again
                self._is_lost = not (process.until(self._reconnected, WAIT) and is_safe())
            if self._is_lost:
                self.close()
            return not self._is_lost

    def _reconnected(self) -> bool:
        self.close()
        with suppress(WarehouseError):  # PostgreSQL is still away
            self._conn = living_session(self._holder)
            self.take(2)  # the server may keep the lost session for a moment
            return True
        return False

    def close(self) -> None:
        """Release the lock: it ends with its session, so a killed run leaves none behind. Waits
        for another thread's query on it."""
        with self._one_at_a_time:
            self._conn.close()


@contextmanager
def run_lock(holder: str, wait: float | None = None) -> Iterator[Lock]:
    """Hold the warehouse for `holder`, such as "daybook run <flow_run_id> <day>". Raises as
    Lock.take does."""
    with closing(Lock(holder)) as lock:
        lock.take(WAIT if wait is None else wait)
        yield lock


@contextmanager
def transaction(conn: Connection[Any], lock: Lock | None) -> Iterator[None]:
    """A transaction that commits only while the run holds `lock`; LockedError rolls it back. None:
    the caller answers for that."""
    with conn.transaction():
        yield
        if lock is not None:
            lock.check()


@contextmanager
def under_parent(flow_run_id: str, child: str) -> Iterator[Lock]:
    """Work as the run `child` of the day's run `flow_run_id`; LockedError when that does not hold
    the lock."""
    name = f"daybook child {flow_run_id} {child[-8:]}"
    with closing(Lock(f"daybook run {flow_run_id}", name)) as lock:
        if not lock.is_held():
            raise LockedError(
                f"daybook run {flow_run_id} does not hold the warehouse at {warehouse.where()}: it "
                "has ended, or its worker has another warehouse (DATABASE_URL, DAYBOOK_HOME)."
            )
        yield lock


def holder(conn: Connection[Any]) -> tuple[str, int] | None:
    """Who holds the run lock: the session's name with its start, and its pid; None: nobody."""
    from psycopg.rows import tuple_row

    cursor = conn.cursor(row_factory=tuple_row)
    return cursor.execute(statement("lock_holder").encode(), [KEY]).fetchone()


def sessions() -> str:
    """The names of the warehouse's open sessions, in one text. A day, its children and a backfill
    each have one while they live, with the id of their run in its name."""
    with warehouse.connect(application_name="daybook flow watch", role=warehouse.LOADER) as conn:
        [(names,)] = conn.execute(
            "select string_agg(application_name, ' ') from pg_stat_activity"
            " where datname = current_database()"
        )
    return str(names)


def living_session(name: str) -> Connection:
    """A session that shows by its name that a run is alive, and holds what lock it takes. Who may
    only build has one too."""
    return warehouse.connect(
        application_name=_as_shown(name),
        autocommit=True,
        timeouts=False,
        role=warehouse.LOADER,
        instead=warehouse.TRANSFORMER,
    )


def _as_shown(name: str) -> str:
    """A name as PostgreSQL shows it: ASCII, cut at 63 bytes."""
    return "".join(c if " " <= c <= "~" else "?" for c in name)[:63]


def _who_holds(conn: Connection, wait: float) -> str:
    conn.execute("reset role")  # a login sees more of its own other sessions than its role does
    name, pid = holder(conn) or (None, 0)
    if name is None:
        return (
            f"The warehouse was locked for {wait:g} s by a run that has just ended. Run it again."
        )
    return (
        f"The warehouse is held by {name} (waited {wait:g} s). "
        "Only one run at a time changes it: wait for it to end, or end it: "
        f"select pg_terminate_backend({pid});"
    )
