"""Ending a run from outside: a time-out, Ctrl-C or SIGTERM. Threads that wait for Postgres
cannot be interrupted, so their sessions are ended on the server instead."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from loaders import warehouse
from loaders.errors import DaybookError

if TYPE_CHECKING:
    from psycopg import Connection


class Stopped(DaybookError):
    """The run was told to stop; the message says by whom."""


class Stop:
    """One run's stop switch. `request` may be called from any thread, or a signal handler."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.flow_run_id: str | None = None
        self._over = threading.Event()

    def request(self, reason: str) -> None:
        """Make `check` raise from now on, and end the run's sessions until it is over."""
        if self.reason is None:
            self.reason = reason
            threading.Thread(target=self._end_sessions, daemon=True, name="daybook-stop").start()

    def check(self) -> None:
        """Stopped, when a stop was requested."""
        if self.reason is not None:
            raise Stopped(self.reason)

    def begin(self, flow_run_id: str) -> None:
        """A run is at work: a request ends its sessions. Days in a row have one switch."""
        self.flow_run_id = flow_run_id
        self._over.clear()

    def over(self) -> None:
        """The phases have ended: leave the sessions alone."""
        self._over.set()

    def _end_sessions(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(Exception), warehouse.connect(autocommit=True) as connection:
                while not self._over.is_set():
                    end_sessions(connection, self.flow_run_id or "no run yet")
                    self._over.wait(0.1)
            self._over.wait(0.5)


def end_sessions(connection: Connection, flow_run_id: str) -> None:
    """End a run's sessions, wherever its phases are at work. The lock's own and the one that
    records the run stay: a failure is still recorded under the lock."""
    connection.execute(
        """
        select pg_terminate_backend(pid)
        from pg_stat_activity
        where pid <> pg_backend_pid()
            and datname = current_database()
            and application_name like '%%' || %s || '%%'
            and application_name not like 'daybook run %%'
            and application_name not like 'daybook flow %%'
        """,
        [flow_run_id],
    )
