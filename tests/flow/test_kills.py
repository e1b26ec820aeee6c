"""kill -9 in each phase: the next run goes through by itself and ends as if nothing had been.

A phase is caught by a lock on a table that it needs and those before it don't.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import psutil
import psycopg
import pytest

from loaders import server as pg
from tests.conftest import copy_database
from tests.flow.conftest import SAMPLE, Home
from tests.watching import holds, is_waited_for, left_open, runs, until

NEEDS = {
    "prepare-day": ["bronze.fx_reference_state"],
    "land-day": ["bronze.stg_agents"],
    "match-names": ["bronze.match_state"],
    "transform-day": ["silver.transactions"],
    "check-day": ["metrics.check_results"],
    # What finish-day reads check-day has read too: the ledger is held once that is past it.
    "finish-day": ["metrics.check_results", "bronze.load_batches"],
}


def after_day1(home: Home) -> dict[str, list[str]]:
    """Keep the warehouse as it is after day1; what it holds after an undisturbed day2."""
    home.day("day1")
    copy_database(home.home, "daybook", "after_day1")
    home.day("day2")
    with home.connect() as connection:
        return holds(connection)


def go_back(home: Home) -> None:
    assert home.cold("loaders.warehouse", "start").returncode == 0
    copy_database(home.home, "after_day1")


@contextlib.contextmanager
def caught_in(home: Home, phase: str) -> Iterator[Callable[[], None]]:
    """Gives what waits until the run is in that phase, and can't leave it."""
    with contextlib.ExitStack() as all_held:

        def hold(table: str) -> contextlib.ExitStack:
            one = contextlib.ExitStack()
            connection = psycopg.connect(**pg.address(home.home))
            one.callback(connection.close)  # PostgreSQL itself may be killed meanwhile
            connection.execute(f"lock table {table} in access exclusive mode")
            return all_held.enter_context(one)

        def until_waited_for(table: str) -> None:
            with home.connect() as connection:
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


def kill_postgres(home: Home) -> None:
    pid = home.postmaster()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid))


def ends_the_same(home: Home, undisturbed: dict[str, list[str]]) -> list[str]:
    """Run the day again; the ids of the runs before, which died."""
    home.day("day2")
    with home.connect() as connection:
        assert holds(connection) == undisturbed
        _, *dead, again = runs(connection)
        assert {one["status"] for one in dead} == {"failure"}
        assert (again["status"], again["error_message"]) == ("success", None)
        assert left_open(connection) == []
    return [one["flow_run_id"] for one in dead]


@pytest.fixture(scope="module")
def undisturbed(alone: Home) -> dict[str, list[str]]:
    assert alone.cold("loaders.warehouse", "start").returncode == 0
    return after_day1(alone)


CASES = {"flow": list(NEEDS), "postgres": ["land-day", "transform-day", "finish-day"]}


@pytest.mark.parametrize("victim", CASES)
def test_a_run_killed_in_any_phase_or_left_by_postgres_is_made_good(alone, undisturbed, victim):
    """Each run goes through the phase in which the one before it died, and dies in a later one."""
    go_back(alone)
    for phase in CASES[victim]:
        with caught_in(alone, phase) as wait:
            run = alone.start("flows.day", "--day", "day2", "--data", SAMPLE)
            wait()
            if victim == "flow":
                run.kill()
            else:
                kill_postgres(alone)
            run.wait(120)
        # 3: the lock that went with PostgreSQL is what the run noticed first.
        ends = [-signal.SIGKILL] if victim == "flow" else [1, 3]
        assert run.returncode in ends, phase + run.stderr
        assert "Traceback" not in run.stdout + run.stderr
        if victim == "flow":
            with alone.connect() as connection:
                assert runs(connection)[-1]["status"] == "running", phase + run.stderr
        assert alone.cold("loaders.warehouse", "start").returncode == 0
    dead = ends_the_same(alone, undisturbed)
    # Who outlives PostgreSQL tells Prefect by itself.
    states = [alone.prefect(f"/flow_runs/{run}")["state_type"] for run in dead]
    assert states == ["CRASHED" if victim == "flow" else "FAILED"] * len(CASES[victim])
