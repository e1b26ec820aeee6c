"""kill -9 of whatever is at work: the next run goes through by itself, to the same state."""

from __future__ import annotations

import os
import signal
from typing import Any

import psutil
import pytest

from tests.conftest import MIGRATED, copy_database
from tests.flow.conftest import SAMPLE, Stack
from tests.flow.faults import caught_in
from tests.flow.test_stack import DAY
from tests.watching import holds, made_good, runs, until

pytestmark = pytest.mark.stack


def started(stack: Any, day: str) -> str:
    """A run of the day's deployment that holds the warehouse; its id."""
    stack.deployment(DAY, f"day={day}", "force=true", watch=False)

    def holder() -> str | None:
        with stack.connect() as connection:
            row = connection.execute(
                "select application_name as name from pg_stat_activity"
                " where datname = 'daybook' and application_name like 'daybook run %'"
            ).fetchone()
        return row["name"].split()[2] if row else None

    return until(holder)


def state(stack: Any, run: str) -> str:
    return stack.prefect(f"/flow_runs/{run}")["state_type"]


def test_a_killed_flow_and_postgres_need_no_cleaning_by_hand(stack):
    stack.day("day1")
    with stack.connect() as connection:
        before = holds(connection)

    # The flow's process: its worker sees it, and the next run closes its row.
    run = started(stack, "day1")
    for process in stack.flow_processes():
        process.kill()
    until(lambda: state(stack, run) == "CRASHED")

    # PostgreSQL.
    started(stack, "day1")
    os.kill(stack.postmaster(), signal.SIGKILL)
    until(lambda: not stack.flow_processes(), 180)
    stack.up()

    stack.day("day1")
    with stack.connect() as connection:
        assert holds(connection) == before
        ended = [run["status"] for run in runs(connection)]
        assert "running" not in ended
        assert ended[-1] == "success"


def test_down_leaves_no_process_and_up_begins_again(stack):
    pids = [stack.pid("server"), stack.pid("worker")]
    run = started(stack, "day1")
    pids += [process.pid for process in stack.flow_processes()]
    done = stack.cold("flows.stack", "down")
    assert done.returncode == 0, done.stderr
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert stack.cold("flows.stack", "status").returncode == 1
    assert stack.cold("flows.stack", "down").returncode == 0
    stack.up()
    assert state(stack, run) not in {"RUNNING", "PENDING", "CANCELLING"}


@pytest.fixture(scope="module")
def undisturbed_stack(stack: Stack) -> dict[str, list[str]]:
    """Keeps the warehouse as it is after day1; what it holds after day2."""
    copy_database(stack.home, MIGRATED)  # without the runs of the tests before
    stack.day("day1")
    copy_database(stack.home, "daybook", "after_day1")
    stack.day("day2")
    with stack.connect() as connection:
        return holds(connection)


def go_back(stack: Stack) -> None:
    assert stack.cold("loaders.warehouse", "start").returncode == 0
    copy_database(stack.home, "after_day1")


def ends_the_same(stack: Stack, undisturbed: dict[str, list[str]]) -> list[str]:
    """Run the day again; the ids of the runs before, which died."""
    stack.day("day2")
    with stack.connect() as connection:
        assert holds(connection) == undisturbed
        return made_good(connection)


@pytest.mark.parametrize(("victim", "phase"), [("worker", "transform-day"), ("server", "land-day")])
def test_a_killed_worker_or_prefect_server_is_made_good_by_up(
    stack, undisturbed_stack, victim, phase
):
    go_back(stack)
    with caught_in(stack.home, phase) as wait:
        stack.deployment(DAY, "day=day2", watch=False)
        wait()
        children = stack.flow_processes() if victim == "worker" else []
        os.kill(stack.pid(victim), signal.SIGKILL)
        for process in children:
            process.kill()
        stack.up()
    # What is left of the run goes on, or ends, before the next one gets the warehouse.
    until(lambda: not stack.flow_processes())
    with stack.connect() as connection:
        _, dead = runs(connection)
    if victim == "worker":
        assert dead["status"] == "running"
    if dead["status"] == "success":  # Prefect's server is not needed to end well
        with stack.connect() as connection:
            assert holds(connection) == undisturbed_stack
    else:
        assert ends_the_same(stack, undisturbed_stack) == [dead["flow_run_id"]]
    states = {"worker": {"CRASHED"}, "server": {"COMPLETED", "FAILED", "CRASHED"}}
    of_run = f"/flow_runs/{dead['flow_run_id']}"
    until(lambda: stack.prefect(of_run)["state_type"] in states[victim], 60)


@pytest.mark.parametrize(
    ("number", "code", "left"), [(signal.SIGTERM, 1, "FAILED"), (signal.SIGKILL, -9, "CRASHED")]
)
def test_a_distributed_day_that_ends_takes_its_runs_on_the_pool_with_it(
    stack, undisturbed_stack, number, code, left
):
    go_back(stack)
    with caught_in(stack.home, "transform-day") as wait:
        day = stack.start("flows.day", "--day", "day2", "--data", SAMPLE, "--mode", "distributed")
        wait()
        day.send_signal(number)
        assert day.wait(60) == code, day.stderr
        if number == signal.SIGTERM:  # while what it waits for is still held
            until(lambda: not stack.flow_processes(), 60)
    [dead] = ends_the_same(stack, undisturbed_stack)
    until(lambda: not stack.flow_processes(), 60)
    assert state(stack, dead) == left
