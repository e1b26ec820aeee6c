"""kill -9 in each phase: the next run goes through by itself and ends as if nothing had been.

A phase is caught by a lock on a table that it needs and those before it don't.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.rows import dict_row

from loaders import server
from tests.conftest import copy_database
from tests.flow.conftest import SAMPLE
from tests.forks import Command
from tests.watching import Connection, holds, is_waited_for, left_open, prefect, runs, until

DAY2 = ("flows.day", "--day", "day2", "--data", SAMPLE)

NEEDS = {
    "prepare-day": ["bronze.fx_reference_state"],
    "land-day": ["bronze.stg_agents"],
    "match-names": ["bronze.match_state"],
    "transform-day": ["silver.transactions"],
    "check-day": ["metrics.check_results"],
    # What finish-day reads check-day has read too: the ledger is held once that is past it.
    "finish-day": ["metrics.check_results", "bronze.load_batches"],
}


# Who dies in which phase, one after the other.
CASES = [
    ("prepare-day", "flow"),
    ("land-day", "flow"),
    ("land-day", "postgres"),
    ("match-names", "flow"),
    ("transform-day", "flow"),
    ("transform-day", "postgres"),
    ("check-day", "flow"),
    ("finish-day", "flow"),
    ("finish-day", "postgres"),
]


def connect(home: Path) -> Connection:
    return psycopg.connect(**server.address(home), autocommit=True, row_factory=dict_row)


@contextlib.contextmanager
def caught_in(home: Path, phase: str) -> Iterator[Callable[[], None]]:
    """Gives what waits until the run is in that phase, and can't leave it."""
    with contextlib.ExitStack() as all_held:

        def hold(table: str) -> contextlib.ExitStack:
            one = contextlib.ExitStack()
            connection = psycopg.connect(**server.address(home))
            one.callback(connection.close)  # PostgreSQL itself may be killed meanwhile
            connection.execute(f"lock table {table} in access exclusive mode")
            return all_held.enter_context(one)

        def until_waited_for(table: str) -> None:
            with connect(home) as connection:
                until(lambda: is_waited_for(connection, table), 300)

        first, *others = NEEDS[phase]
        held = hold(first)

        def wait() -> None:
            until_waited_for(first)
            for table in others:
                hold(table)
                held.close()
                until_waited_for(table)

        yield wait


def kill_postgres(home: Path) -> None:
    pid = int((home / "pg" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid))


def made_good(db: Connection, undisturbed: dict[str, list[str]]) -> list[str]:
    """The warehouse is as if nothing had been; the ids of the runs that died."""
    assert holds(db) == undisturbed
    _, *dead, last = runs(db)
    assert {one["status"] for one in dead} == {"failure"}
    assert (last["status"], last["error_message"]) == ("success", None)
    assert left_open(db) == []
    return [one["flow_run_id"] for one in dead]


def test_a_run_killed_in_any_phase_or_left_by_postgres_is_made_good(
    after_day1: Command, flow_cli: Any, flow_started: Any, shared_home: Path
) -> None:
    """Each run goes through the phase in which the one before it died, and dies there or later."""
    assert flow_cli(*DAY2).returncode == 0
    with connect(shared_home) as db:
        undisturbed = holds(db)
    copy_database(shared_home, "after_day1")
    for phase, victim in CASES:
        with caught_in(shared_home, phase) as wait:
            run = flow_started(*DAY2)
            wait()
            if victim == "flow":
                run.kill()
            else:
                kill_postgres(shared_home)
            run.wait(120)
        # 3: the lock that went with PostgreSQL is what the run noticed first.
        ends = [-signal.SIGKILL] if victim == "flow" else [1, 3]
        assert run.returncode in ends, f"{phase} {victim} {run.stderr}"
        assert "Traceback" not in run.stdout + run.stderr
        if victim == "postgres":
            server.start(shared_home)
        else:
            with connect(shared_home) as db:
                assert runs(db)[-1]["status"] == "running", f"{phase} {run.stderr}"

    again = flow_cli(*DAY2)
    assert again.returncode == 0, again.stderr
    with connect(shared_home) as db:
        dead = made_good(db, undisturbed)
    # Who outlives PostgreSQL tells Prefect by itself.
    states = [
        prefect(os.environ["PREFECT_API_URL"], f"/flow_runs/{run_id}")["state_type"]
        for run_id in dead
    ]
    assert states == [{"flow": "CRASHED", "postgres": "FAILED"}[victim] for _, victim in CASES]
