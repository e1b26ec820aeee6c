"""kill -9 of whatever is at work: the next run goes through by itself, to the same state."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import psutil
import pytest

from loaders.sources import PROJECT
from tests.flow.test_stack import DAY, built

SAMPLE = PROJECT / "tests" / "sample"
pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]


def wait_for(what: Any, seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
    return found


def started(stack: Any, day: str) -> str:
    """A run of the day's deployment that holds the warehouse; its id."""
    stack.run(
        "prefect", "deployment", "run", DAY, "-p", f"day={day}", "-p", f"data={SAMPLE}",
        "-p", "force=true", PREFECT_API_URL=stack.url,
    )  # fmt: skip

    def holder() -> str | None:
        with stack.connect() as connection:
            row = connection.execute(
                "select application_name as name from pg_stat_activity"
                " where datname = 'daybook' and application_name like 'daybook run %'"
            ).fetchone()
        return row["name"].split()[2] if row else None

    return wait_for(holder)


def flow_processes(stack: Any) -> list[psutil.Process]:
    return psutil.Process(stack.pid("worker")).children(recursive=True)


def state(stack: Any, run: str) -> str:
    return stack.prefect("GET", f"/flow_runs/{run}")["state_type"]


def run_day(stack: Any, day: str) -> None:
    done = stack.run("flows.day", "--day", day, "--data", SAMPLE)
    assert done.returncode == 0, done.stderr


def test_killed_flow_worker_server_and_postgres_need_no_cleaning_by_hand(stack):
    run_day(stack, "day1")
    with stack.connect() as connection:
        before = built(connection)

    # The flow's process: its worker sees it, and the next run closes its row.
    run = started(stack, "day1")
    for process in flow_processes(stack):
        process.kill()
    wait_for(lambda: state(stack, run) == "CRASHED")

    # Worker and flow: Prefect would show the run as Running for ever, its slot taken.
    run = started(stack, "day1")
    children = flow_processes(stack)
    os.kill(stack.pid("worker"), signal.SIGKILL)
    for process in children:
        process.kill()
    assert state(stack, run) == "RUNNING"
    stack.up()
    assert state(stack, run) == "CRASHED"

    # Prefect's server: what is at work ends, one way or the other; up brings the server back.
    run = started(stack, "day1")
    os.kill(stack.pid("server"), signal.SIGKILL)
    stack.up()
    wait_for(lambda: not flow_processes(stack))

    # PostgreSQL, and Prefect's database with it.
    started(stack, "day1")
    postmaster = int((stack.home / "pg" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGKILL)
    wait_for(lambda: not flow_processes(stack), 180)
    stack.up()

    run_day(stack, "day1")
    with stack.connect() as connection:
        assert built(connection) == before
        rows = connection.execute(
            "select status from metrics.pipeline_metrics"
            " where task_name = 'day-pipeline' order by id"
        ).fetchall()
        assert "running" not in {row["status"] for row in rows}
        assert rows[-1]["status"] == "success"


def test_down_leaves_no_process_and_up_begins_again(stack):
    pids = [stack.pid("server"), stack.pid("worker")]
    run = started(stack, "day1")
    pids += [process.pid for process in flow_processes(stack)]
    done = stack.run("flows.stack", "down")
    assert done.returncode == 0, done.stderr
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert stack.run("flows.stack", "status").returncode == 1
    assert stack.run("flows.stack", "down").returncode == 0
    stack.up()
    assert state(stack, run) not in {"RUNNING", "PENDING", "CANCELLING"}
