"""Fault injection: processes that are killed, connections that are cut, disks that are full.

A fault hits a run in a chosen phase. A lock on a table that this phase is the first to need holds
the run there; the fault is injected while it waits, or up to a second after the lock is released.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from signal import SIGCONT, SIGINT, SIGKILL, SIGSTOP, SIGTERM, Signals
from typing import Any

import psutil
import psycopg
from psycopg.rows import dict_row

from flows.phases import BESIDE_EACH_OTHER, IN_ORDER
from loaders import server
from tests.flow.proxy import Proxy
from tests.forks import Command
from tests.raw_days import SAMPLE
from tests.watching import Connection, column, is_gone, is_waited_for, until

# The tables whose lock holds a run in a phase.
PHASE_LOCKS = {
    "prepare-day": ["bronze.fx_reference_state"],
    "land-day": ["bronze.stg_agents"],
    "match-names": ["bronze.match_state"],
    "transform-day": ["silver.transactions"],
    "check-day": ["metrics.check_results"],
    # check-day reads what finish-day reads: the second table is locked once check-day has read it.
    "finish-day": ["metrics.check_results", "bronze.load_batches"],
}
COMMANDS: dict[str, tuple[Any, ...]] = {
    "the flow": ("flows.day", "--day", "day2", "--data", SAMPLE),
    "a loader": ("loaders", "--day", "day2", "--data", SAMPLE),
    "dbt": ("dbt.cli.main", "--quiet", "build", "--exclude-resource-type", "unit_test"),
}
ONLY_PHASE = {"a loader": "land-day", "dbt": "transform-day"}


def connect(home: Path) -> Connection:
    return psycopg.connect(**server.address(home), autocommit=True, row_factory=dict_row)


@contextlib.contextmanager
def held_in_phase(home: Path, phase: str) -> Iterator[Callable[..., None]]:
    """Holds a run in the phase until the block ends. Yields a function that waits until the run has
    got there, or is over."""
    with contextlib.ExitStack() as all_locks:

        def lock(table: str) -> contextlib.ExitStack:
            one = contextlib.ExitStack()
            connection = psycopg.connect(**server.address(home))
            one.callback(connection.close)  # PostgreSQL itself may be killed meanwhile
            connection.execute(f"lock table {table} in access exclusive mode")
            return all_locks.enter_context(one)

        first, *others = PHASE_LOCKS[phase]
        first_lock = lock(first)

        def wait(is_over: Callable[[], bool] = lambda: False) -> None:
            def until_blocked_on(table: str) -> None:
                with connect(home) as connection:
                    until(lambda: is_waited_for(connection, table) or is_over(), 300)

            until_blocked_on(first)
            for table in others:
                lock(table)
                first_lock.close()
                until_blocked_on(table)

        yield wait


@dataclass
class Injection:
    """Where one fault is injected: in the phase, `delay` seconds after it begins. With `force` each
    command lands the day again, else it goes on where the one before it ended."""

    home: Path
    start: Callable[..., Command]
    random: Random
    phase: str
    delay: float
    force: bool
    commands: list[Command] = field(default_factory=list)

    def run(self, what: str = "the flow", **environment: str) -> Command:
        """Start that one of COMMANDS."""
        options = ["--force"] if self.force and what != "dbt" else []
        self.commands.append(self.start(*COMMANDS[what], *options, **environment))
        return self.commands[-1]

    @contextlib.contextmanager
    def run_in_phase(self, what: str = "the flow", **environment: str) -> Iterator[Command]:
        """A command that has got to the phase, and to the delay: the block injects the fault."""
        self.phase = ONLY_PHASE.get(what, self.phase)
        with held_in_phase(self.home, self.phase) as wait:
            run = self.run(what, **environment)
            wait(lambda: run.returncode is not None)
            if not self.delay:
                self.phase = self.phase if run.returncode is None else "all"
                yield run
                return
        time.sleep(self.delay)
        if what not in ONLY_PHASE:
            self.phase = self.phase_reached()
        yield run

    def phase_reached(self) -> str:
        """The first phase that the newest run has not finished; "all" when it has finished all."""
        phases = (
            "select phase from metrics.phase_runs where flow_run_id = ("
            " select flow_run_id from metrics.pipeline_metrics"
            " where task_name = 'day-pipeline' order by id desc limit 1)"
        )
        with connect(self.home) as connection:
            done = column(connection, phases)
        return next((each for each in (*BESIDE_EACH_OTHER, *IN_ORDER) if each not in done), "all")

    def backends(self) -> list[int]:
        """PostgreSQL's processes for the commands' sessions, that of the run's lock among them."""
        sessions = "pg_stat_activity where datname = 'daybook' and application_name like 'daybook%'"
        with connect(self.home) as connection:
            return column(connection, f"select pid from {sessions} order by pid")


def signal_to(what: str, number: int, injection: Injection) -> None:
    with injection.run_in_phase(what) as run:
        run.send_signal(number)


def signal_to_all(number: int, injection: Injection) -> None:
    """To the flow and to the Prefect server that it has started for itself; all must end."""
    with (
        injection.run_in_phase(PREFECT_API_URL="") as run,
        contextlib.suppress(psutil.NoSuchProcess),
    ):
        flow = psutil.Process(run.pid)
        processes = [flow, *flow.children(recursive=True)]
        for process in processes:
            process.send_signal(number)
        until(lambda: not any(process.is_running() for process in processes), 150)


def signal_to_postgres(number: int, injection: Injection) -> None:
    """PostgreSQL stays down for longer than the run waits for it."""
    with injection.run_in_phase(TEST_LOCK_WAIT="1") as run:
        pid = _postmaster_pid(injection)
        os.kill(pid, number)
        if number != SIGTERM:  # at SIGTERM PostgreSQL waits for all sessions to end
            until(lambda: is_gone(pid))
    run.wait()
    until(lambda: is_gone(pid))


def _postmaster_pid(injection: Injection) -> int:
    return int((injection.home / "pg" / "postmaster.pid").read_text().split()[0])


def end_session(how: str, what: str, injection: Injection) -> None:
    with injection.run_in_phase(what), connect(injection.home) as connection:
        pids = injection.backends()
        for pid in injection.random.sample(pids, min(1, len(pids))):
            if how == "kill -9":
                os.kill(pid, SIGKILL)
            else:
                connection.execute(f"select {how}({pid})")


def pause_flow(injection: Injection) -> None:
    """As when a laptop is closed, or a virtual machine migrated."""
    with injection.run_in_phase() as run:
        run.send_signal(SIGSTOP)
    time.sleep(injection.random.uniform(0, 5))
    run.send_signal(SIGCONT)


def pause_postgres(injection: Injection) -> None:
    with injection.run_in_phase():
        postmaster = psutil.Process(_postmaster_pid(injection))
        processes = [postmaster, *postmaster.children()]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        time.sleep(injection.random.uniform(0, 5))
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def break_network(how: str, seconds: float, injection: Injection) -> None:
    """Between the flow and PostgreSQL, after a random number of bytes."""
    uniform = injection.random.uniform
    proxy = Proxy(injection.home, how, 10 ** uniform(2, 6.5), uniform(0, seconds))
    injection.run(DATABASE_URL=proxy.url).wait()
    proxy.close()
    injection.phase = injection.phase_reached()


def limit_file_size(injection: Injection) -> None:
    """As a quota does: files that the run's sessions write, the WAL too, can't grow beyond this."""
    limit = injection.random.choice([8, 64, 512]) * 1024
    with injection.run_in_phase():
        for pid in injection.backends():
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).rlimit(resource.RLIMIT_FSIZE, (limit, limit))


def use_up_open_files(injection: Injection) -> None:
    """The flow may open a few more files or connections, or none."""
    with injection.run_in_phase() as run, contextlib.suppress(psutil.Error):
        flow = psutil.Process(run.pid)
        limit = flow.num_fds() + injection.random.choice([0, 1, 5])
        flow.rlimit(resource.RLIMIT_NOFILE, (limit, limit))


def use_up_connections(injection: Injection) -> None:
    with contextlib.ExitStack() as connections:
        with injection.run_in_phase() as run, contextlib.suppress(psycopg.OperationalError):
            while True:
                connections.enter_context(psycopg.connect(**server.address(injection.home)))
        run.wait()


def read_in_open_transaction(injection: Injection) -> None:
    """A reader's transaction stays open on tables that the run wants to replace or write."""
    limit = injection.random.choice(["1s", "60s"])
    with psycopg.connect(**server.address(injection.home)) as connection:
        connection.execute("lock table bronze.stg_agents, silver.transactions in access share mode")
        run = injection.run(PGOPTIONS=f"-c lock_timeout={limit}")
        until(lambda: run.returncode is not None or injection.backends())
        time.sleep(injection.random.uniform(2, 6))
        injection.phase = injection.phase_reached()


def cause_deadlock(injection: Injection) -> None:
    """A session locks a table that the run needs, then wants one that the run has locked. Its
    deadlock timeout is the longer one, so that PostgreSQL rather ends the run's statement."""
    injection.phase = injection.random.choice(["land-day", "transform-day"])
    [table] = PHASE_LOCKS[injection.phase]
    with psycopg.connect(**server.address(injection.home)) as other, connect(injection.home) as db:
        other.execute("set deadlock_timeout = '10s'")
        other.execute(f"lock table {table} in access exclusive mode")
        run = injection.run()
        until(lambda: run.returncode is not None or is_waited_for(db, table))
        locked_by_run = (
            "select distinct relation::regclass::text from pg_locks where granted"
            " and mode = 'RowExclusiveLock' and relation > 16384 and pid in ("
            " select pid from pg_locks where relation = to_regclass(%s) and not granted)"
        )
        if tables := column(db, locked_by_run, [table]):
            with contextlib.suppress(psycopg.errors.DeadlockDetected):
                other.execute(f"lock table {injection.random.choice(tables)} in share mode")
        other.rollback()


def change_time_zones(injection: Injection) -> None:
    """One for the database and another for the run, with date styles."""
    with connect(injection.home) as connection:
        connection.execute("alter database daybook set timezone = 'Pacific/Kiritimati'")
        connection.execute("alter database daybook set datestyle = 'German'")
        zone = injection.random.choice(["Pacific/Pago_Pago", "Asia/Tehran"])
        run = injection.run(TZ=zone, PGTZ=zone, PGDATESTYLE="SQL")
        assert run.wait() == 0, run.stderr
        connection.execute("alter database daybook reset all")  # for the next reader
    injection.phase = injection.phase_reached()


def turn_clock_back(injection: Injection) -> None:
    """By a day: the same as if the ledgers had tomorrow's times."""
    with connect(injection.home) as connection:
        for table in ("bronze.load_batches", "metrics.pipeline_metrics"):
            connection.execute(
                f"update {table} set started_at = started_at + interval '1 day',"
                " finished_at = finished_at + interval '1 day'"
            )
    run = injection.run()
    assert run.wait() == 0, run.stderr
    injection.phase = injection.phase_reached()


def run_three_at_once(injection: Injection) -> None:
    for what in injection.random.choices(list(COMMANDS), k=3):
        injection.run(what)
    for command in injection.commands:
        command.wait()
    injection.phase = injection.phase_reached()


FAULTS: dict[str, Callable[[Injection], None]] = {
    f"{number.name} to {receiver}": partial(fault, number)
    for number in Signals
    if number in (SIGINT, SIGTERM, SIGKILL)
    for receiver, fault in {
        **{what: partial(signal_to, what) for what in COMMANDS},
        "the flow and its Prefect server": signal_to_all,
        "PostgreSQL": signal_to_postgres,
    }.items()
} | {
    "a backend ended": partial(end_session, "pg_terminate_backend", "the flow"),
    "a backend of a loader ended": partial(end_session, "pg_terminate_backend", "a loader"),
    "a statement cancelled": partial(end_session, "pg_cancel_backend", "the flow"),
    "SIGKILL to a backend": partial(end_session, "kill -9", "the flow"),
    "the flow stopped for up to 5 s": pause_flow,
    "PostgreSQL stopped for up to 5 s": pause_postgres,
    "connections cut at any byte, for up to 3 s": partial(break_network, "cut", 3),
    "connections half-open from any byte on, for up to 6 s": partial(break_network, "half-open", 6),
    "a network that stands still at any byte, for up to 6 s": partial(break_network, "still", 6),
    "no file may grow": limit_file_size,
    "no file left to open": use_up_open_files,
    "no connection left": use_up_connections,
    "a reader in an open transaction": read_in_open_transaction,
    "a deadlock": cause_deadlock,
    "another time zone and date style, each its own": change_time_zones,
    "a clock that jumped back by a day": turn_clock_back,
    "three of flow, loader and dbt at once": run_three_at_once,
}
