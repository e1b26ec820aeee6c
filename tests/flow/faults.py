"""Faults by name: processes that are killed, connections that are cut, disks that are full.

A lock on a table that a phase needs, and no phase before it, holds a run in that phase: a fault
strikes there, or up to a second after the lock is released.
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

NEEDS = {
    "prepare-day": ["bronze.fx_reference_state"],
    "land-day": ["bronze.stg_agents"],
    "match-names": ["bronze.match_state"],
    "transform-day": ["silver.transactions"],
    "check-day": ["metrics.check_results"],
    # What finish-day reads check-day has read too: the ledger is held once that is past it.
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
def caught_in(home: Path, phase: str) -> Iterator[Callable[..., None]]:
    """Yields a function that waits until the run is held in that phase, or is over."""
    with contextlib.ExitStack() as all_held:

        def hold(table: str) -> contextlib.ExitStack:
            one = contextlib.ExitStack()
            connection = psycopg.connect(**server.address(home))
            one.callback(connection.close)  # PostgreSQL itself may be killed meanwhile
            connection.execute(f"lock table {table} in access exclusive mode")
            return all_held.enter_context(one)

        first, *others = NEEDS[phase]
        held = hold(first)

        def wait(is_over: Callable[[], bool] = lambda: False) -> None:
            def until_waited_for(table: str) -> None:
                with connect(home) as connection:
                    until(lambda: is_waited_for(connection, table) or is_over(), 300)

            until_waited_for(first)
            for table in others:
                hold(table)
                held.close()
                until_waited_for(table)

        yield wait


@dataclass
class Scene:
    """Where a fault strikes: in the phase or, if `later`, that many seconds after it begins. With
    `force` each command lands the day again, else it goes on where the one before it ended."""

    home: Path
    start: Callable[..., Command]
    chance: Random
    phase: str
    later: float
    force: bool
    commands: list[Command] = field(default_factory=list)

    def run(self, what: str = "the flow", **environment: str) -> Command:
        options = ["--force"] if self.force and what != "dbt" else []
        self.commands.append(self.start(*COMMANDS[what], *options, **environment))
        return self.commands[-1]

    @contextlib.contextmanager
    def moment(self, what: str = "the flow", **environment: str) -> Iterator[Command]:
        """A command at work, to be struck."""
        self.phase = ONLY_PHASE.get(what, self.phase)
        with caught_in(self.home, self.phase) as wait:
            run = self.run(what, **environment)
            wait(lambda: run.returncode is not None)
            if not self.later:
                self.phase = self.phase if run.returncode is None else "all"
                yield run
                return
        time.sleep(self.later)
        if what not in ONLY_PHASE:
            self.phase = self.reached()
        yield run

    def reached(self) -> str:
        """The phase that the newest run has not left, or "all"."""
        phases = (
            "select phase from metrics.phase_runs where flow_run_id = ("
            " select flow_run_id from metrics.pipeline_metrics"
            " where task_name = 'day-pipeline' order by id desc limit 1)"
        )
        with connect(self.home) as connection:
            left = column(connection, phases)
        return next((each for each in (*BESIDE_EACH_OTHER, *IN_ORDER) if each not in left), "all")

    def backends(self) -> list[int]:
        """Sessions of commands, the lock's among them."""
        sessions = "pg_stat_activity where datname = 'daybook' and application_name like 'daybook%'"
        with connect(self.home) as connection:
            return column(connection, f"select pid from {sessions} order by pid")


def signal_to(what: str, number: int, scene: Scene) -> None:
    with scene.moment(what) as run:
        run.send_signal(number)


def signal_to_all(number: int, scene: Scene) -> None:
    """The flow and the Prefect server that it has started for itself: none is left."""
    with scene.moment(PREFECT_API_URL="") as run, contextlib.suppress(psutil.NoSuchProcess):
        flow = psutil.Process(run.pid)
        those = [flow, *flow.children(recursive=True)]
        for each in those:
            each.send_signal(number)
        until(lambda: not any(each.is_running() for each in those), 150)


def signal_to_postgres(number: int, scene: Scene) -> None:
    """It stays away for longer than the run waits for it."""
    with scene.moment(TEST_LOCK_WAIT="1") as run:
        pid = _postmaster(scene)
        os.kill(pid, number)
        if number != SIGTERM:  # which waits for all sessions
            until(lambda: is_gone(pid))
    run.wait()
    until(lambda: is_gone(pid))


def _postmaster(scene: Scene) -> int:
    return int((scene.home / "pg" / "postmaster.pid").read_text().split()[0])


def end_backend(how: str, what: str, scene: Scene) -> None:
    with scene.moment(what), connect(scene.home) as connection:
        for pid in scene.chance.sample(found := scene.backends(), min(1, len(found))):
            if how == "kill -9":
                os.kill(pid, SIGKILL)
            else:
                connection.execute(f"select {how}({pid})")


def stopped(scene: Scene) -> None:
    """Like a laptop that is closed, or a machine that is migrated."""
    with scene.moment() as run:
        run.send_signal(SIGSTOP)
    time.sleep(scene.chance.uniform(0, 5))
    run.send_signal(SIGCONT)


def postgres_stopped(scene: Scene) -> None:
    with scene.moment():
        postmaster = psutil.Process(_postmaster(scene))
        those = [postmaster, *postmaster.children()]
        for each in those:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.suspend()
        time.sleep(scene.chance.uniform(0, 5))
        for each in those:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.resume()


def network(how: str, seconds: float, scene: Scene) -> None:
    chance = scene.chance
    proxy = Proxy(scene.home, how, 10 ** chance.uniform(2, 6.5), chance.uniform(0, seconds))
    scene.run(DATABASE_URL=proxy.url).wait()
    proxy.close()
    scene.phase = scene.reached()


def no_growth(scene: Scene) -> None:
    """Like a quota: files of the run's sessions can't grow beyond some kilobytes, WAL neither."""
    most = scene.chance.choice([8, 64, 512]) * 1024
    with scene.moment():
        for pid in scene.backends():
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).rlimit(resource.RLIMIT_FSIZE, (most, most))


def no_file_left(scene: Scene) -> None:
    """The flow has all the files and connections open that it may."""
    with scene.moment() as run, contextlib.suppress(psutil.Error):
        flow = psutil.Process(run.pid)
        most = flow.num_fds() + scene.chance.choice([0, 1, 5])
        flow.rlimit(resource.RLIMIT_NOFILE, (most, most))


def no_connection(scene: Scene) -> None:
    with contextlib.ExitStack() as taken:
        with scene.moment() as run, contextlib.suppress(psycopg.OperationalError):
            while True:
                taken.enter_context(psycopg.connect(**server.address(scene.home)))
        run.wait()


def reader(scene: Scene) -> None:
    limit, tables = scene.chance.choice(["1s", "60s"]), ("bronze.stg_agents", "silver.transactions")
    with psycopg.connect(**server.address(scene.home)) as connection:
        connection.execute(f"lock table {', '.join(tables)} in access share mode")
        run = scene.run(PGOPTIONS=f"-c lock_timeout={limit}")
        until(lambda: run.returncode is not None or scene.backends())
        time.sleep(scene.chance.uniform(2, 6))
        scene.phase = scene.reached()


def deadlock(scene: Scene) -> None:
    """A session holds what the run waits for, then waits for the run, with the longer timeout."""
    scene.phase = scene.chance.choice(["land-day", "transform-day"])
    [table] = NEEDS[scene.phase]
    with psycopg.connect(**server.address(scene.home)) as mine, connect(scene.home) as watching:
        mine.execute("set deadlock_timeout = '10s'")
        mine.execute(f"lock table {table} in access exclusive mode")
        run = scene.run()
        until(lambda: run.returncode is not None or is_waited_for(watching, table))
        locked = (
            "select distinct relation::regclass::text from pg_locks where granted"
            " and mode = 'RowExclusiveLock' and relation > 16384 and pid in ("
            " select pid from pg_locks where relation = to_regclass(%s) and not granted)"
        )
        if held := column(watching, locked, [table]):
            with contextlib.suppress(psycopg.errors.DeadlockDetected):
                mine.execute(f"lock table {scene.chance.choice(held)} in share mode")
        mine.rollback()


def other_zone(scene: Scene) -> None:
    with connect(scene.home) as connection:
        connection.execute("alter database daybook set timezone = 'Pacific/Kiritimati'")
        connection.execute("alter database daybook set datestyle = 'German'")
        there = scene.chance.choice(["Pacific/Pago_Pago", "Asia/Tehran"])
        run = scene.run(TZ=there, PGTZ=there, PGDATESTYLE="SQL")
        assert run.wait() == 0, run.stderr
        connection.execute("alter database daybook reset all")  # for who reads it next
    scene.phase = scene.reached()


def clock_jumped(scene: Scene) -> None:
    """Back by a day: the ledgers have times of tomorrow."""
    with connect(scene.home) as connection:
        for table in ("bronze.load_batches", "metrics.pipeline_metrics"):
            connection.execute(
                f"update {table} set started_at = started_at + interval '1 day',"
                " finished_at = finished_at + interval '1 day'"
            )
    run = scene.run()
    assert run.wait() == 0, run.stderr
    scene.phase = scene.reached()


def at_once(scene: Scene) -> None:
    for what in scene.chance.choices(list(COMMANDS), k=3):
        scene.run(what)
    for command in scene.commands:
        command.wait()
    scene.phase = scene.reached()


FAULTS: dict[str, Callable[[Scene], None]] = {
    f"{number.name} to {whom}": partial(fault, number)
    for number in Signals
    if number in (SIGINT, SIGTERM, SIGKILL)
    for whom, fault in {
        **{what: partial(signal_to, what) for what in COMMANDS},
        "the flow and its Prefect server": signal_to_all,
        "PostgreSQL": signal_to_postgres,
    }.items()
} | {
    "a backend ended": partial(end_backend, "pg_terminate_backend", "the flow"),
    "a backend of a loader ended": partial(end_backend, "pg_terminate_backend", "a loader"),
    "a statement cancelled": partial(end_backend, "pg_cancel_backend", "the flow"),
    "SIGKILL to a backend": partial(end_backend, "kill -9", "the flow"),
    "the flow stopped for up to 5 s": stopped,
    "PostgreSQL stopped for up to 5 s": postgres_stopped,
    "connections cut at any byte, for up to 3 s": partial(network, "cut", 3),
    "connections half-open from any byte on, for up to 6 s": partial(network, "half-open", 6),
    "a network that stands still at any byte, for up to 6 s": partial(network, "still", 6),
    "no file may grow": no_growth,
    "no file left to open": no_file_left,
    "no connection left": no_connection,
    "a reader in an open transaction": reader,
    "a deadlock": deadlock,
    "another time zone and date style, each its own": other_zone,
    "a clock that jumped back by a day": clock_jumped,
    "three of flow, loader and dbt at once": at_once,
}
