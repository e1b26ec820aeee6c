"""One run of a day: its options, its stop switch, its sessions, and how it ended."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from flows.options import Options
from loaders import ledger, warehouse
from loaders.days import Day, parse_day
from loaders.errors import DaybookError, WarehouseError
from loaders.lock import Lock
from loaders.sql import statement

if TYPE_CHECKING:
    from psycopg import Connection


class Stopped(DaybookError):
    """The run was told to stop; the message says by whom."""

    can_retry = False


class Stop:
    """A run's stop switch, for a time-out, Ctrl-C or SIGTERM. Threads that wait for PostgreSQL
    can't be interrupted, so their sessions are ended on the server instead."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.flow_run_id = "no run yet"  # the day's flow says which: whose sessions to end
        self.over = threading.Event()  # set when the phases have ended: no more sessions are ended

    def request(self, reason: str) -> None:
        """Make `check` raise from now on, and end the run's sessions until it is over. It may be
        called from any thread and from a signal handler."""
        if self.reason is None:
            self.reason = reason
            threading.Thread(target=self._end_sessions, daemon=True, name="daybook-stop").start()

    def check(self) -> None:
        """Raise Stopped when a stop was requested."""
        if self.reason is not None:
            raise Stopped(self.reason)

    def _end_sessions(self) -> None:
        while not self.over.is_set():
            # When the server is away, or has no connection left, it is tried again.
            with (
                unless_away(),
                warehouse.connect(application_name="daybook flow", autocommit=True) as connection,
            ):
                while not self.over.is_set():
                    end_sessions(connection, self.flow_run_id)
                    self.over.wait(0.1)
            self.over.wait(0.5)


def end_sessions(connection: Connection, flow_run_id: str) -> None:
    """End a run's sessions in all processes. The sessions of its lock and of its record stay: a
    failure is still recorded under the lock."""
    connection.execute(statement("end_sessions").encode(), [flow_run_id])


def unless_away() -> contextlib.AbstractContextManager[None]:
    """Ignore that the warehouse is away or goes away: the run's own error says it too."""
    from psycopg import OperationalError

    return contextlib.suppress(WarehouseError, OperationalError)


def silent(*_said: object) -> None:
    """A progress callback that shows nothing."""


@dataclass
class Run:
    """One run of one day: what to land, under which id, and who may stop it."""

    flow_run_id: str
    day: Day
    options: Options
    lock: Lock | None = None
    stop: Stop = field(default_factory=Stop)
    progress: Callable[..., None] = silent
    message: dict[str, Any] | None = None  # how it ended; sent once its lock is free

    @classmethod
    def of(cls, day: str, data: str, *, flow_run_id: str | None = None, **options: Any) -> Run:
        """A run for calling a phase by hand, with a new id unless one is given."""
        return cls(flow_run_id or str(uuid4()), parse_day(day), Options(data, **options))

    def connect(self, who: str = "daybook") -> Connection:
        """A session of this run; those of `daybook flow` survive a stop."""
        return ledger.connect(self.day, self.flow_run_id, who, warehouse.TRANSFORMER)

    def check(self) -> None:
        """Raise Stopped or LockedError when this run may no longer change the warehouse."""
        self.stop.check()
        if self.lock and not (self.lock.is_held() or self.lock.is_taken_again(self._goes_on)):
            self.lock.check()

    def _goes_on(self) -> bool:
        """Whether no other run has closed this one meanwhile. Its sessions under the lost lock end:
        they begin anew, as after any lost connection."""
        with warehouse.connect(application_name="daybook flow", autocommit=True) as connection:
            end_sessions(connection, self.flow_run_id)
            row = connection.execute(
                "select status from metrics.pipeline_metrics"
                " where flow_run_id = %s and task_name = 'day-pipeline' order by id desc limit 1",
                [self.flow_run_id],
            ).fetchone()
        return row == ("running",)
