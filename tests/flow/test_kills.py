"""kill -9 in each phase: the next run goes through by itself and ends as if nothing had been.

A phase is caught by a lock on a table that it needs and those before it don't.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from loaders import server as pg
from loaders.sources import PROJECT
from tests.flow.conftest import Stack
from tests.flow.test_stack import DAY, built

SAMPLE = PROJECT / "tests" / "sample"
NEEDS = {
    "prepare-day": ["bronze.fx_reference_state"],
    "land-day": ["bronze.stg_agents"],
    "match-names": ["bronze.match_state"],
    "transform-day": ["silver.transactions"],
    "check-day": ["metrics.check_results"],
    # What finish-day reads check-day has read too: the ledger is held once that is past it.
    "finish-day": ["metrics.check_results", "bronze.load_batches"],
}


def until(found: Callable[[], Any], seconds: float = 180) -> Any:
    deadline = time.monotonic() + seconds
    while not (it := found()):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return it


def admin(home: Stack, *statements: str) -> None:
    with psycopg.connect(**{**pg.address(home.home), "dbname": "postgres"}, autocommit=True) as c:
        for statement in statements:
            c.execute(statement)


def after_day1(home: Stack) -> dict[str, list[Any]]:
    """Keep the warehouse as it is after day1; what it holds after an undisturbed day2."""
    run_day(home, "day1")
    admin(home, "create database after_day1 template daybook")
    run_day(home, "day2")
    with home.connect() as connection:
        return built(connection)


def run_day(home: Stack, day: str) -> None:
    done = home.run("flows.day", "--day", day, "--data", SAMPLE)
    assert done.returncode == 0, done.stderr


def go_back(home: Stack) -> None:
    assert home.run("loaders.warehouse", "start").returncode == 0
    admin(
        home,
        "drop database daybook with (force)",
        # by file, with a checkpoint: after a crash sequences of a logged copy fall back
        "create database daybook template after_day1 strategy file_copy",
    )


def is_waited_for(home: Stack, table: str) -> bool:
    with home.connect() as connection:
        found = connection.execute(
            "select 1 from pg_locks where relation = to_regclass(%s) and not granted", [table]
        )
        return found.fetchone() is not None


@contextlib.contextmanager
def caught_in(home: Stack, phase: str) -> Iterator[Callable[[], None]]:
    """Gives what waits until the run is in that phase, and can't leave it."""
    with contextlib.ExitStack() as all_held:

        def hold(table: str) -> contextlib.ExitStack:
            one = contextlib.ExitStack()
            connection = psycopg.connect(**pg.address(home.home))
            one.callback(connection.close)  # PostgreSQL itself may be killed meanwhile
            connection.execute(f"lock table {table} in access exclusive mode")
            return all_held.enter_context(one)

        first, *others = NEEDS[phase]
        held = hold(first)

        def wait() -> None:
            until(lambda: is_waited_for(home, first))
            for table in others:
                hold(table)
                held.close()
                until(lambda table=table: is_waited_for(home, table))

        yield wait


def kill_postgres(home: Stack) -> None:
    pid = int((home.home / "pg" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid))


def ends_the_same(home: Stack, undisturbed: dict[str, list[Any]]) -> str:
    """Run the day again; the id of the run before, which died."""
    run_day(home, "day2")
    with home.connect() as connection:
        assert built(connection) == undisturbed
        dead, again = connection.execute(
            "select flow_run_id, status from metrics.pipeline_metrics"
            " where task_name = 'day-pipeline' and day = '1970-01-03' order by id"
        ).fetchall()
        assert (dead["status"], again["status"]) == ("failure", "success")
        open_rows = connection.execute(
            "select 1 from bronze.load_batches where status = 'running'"
            " union all select 1 from metrics.row_ledger where not balanced"
        ).fetchall()
        assert open_rows == []
    return dead["flow_run_id"]


@pytest.fixture(scope="module")
def alone(dbt_folder: Path, prefect_url: str) -> Iterator[tuple[Stack, dict[str, list[Any]]]]:
    """A warehouse of its own, without worker, and what an undisturbed day leaves there."""
    home = Path(tempfile.mkdtemp(prefix="db-", dir="/tmp"))
    home.chmod(0o755)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("DATABASE_URL")},
        "DAYBOOK_HOME": str(home),
        "PREFECT_API_URL": prefect_url,
        "PREFECT_HOME": str(dbt_folder / "prefect"),
        "PREFECT_SERVER_API_PORT": str(urlsplit(prefect_url).port),
        "DBT_PROFILES_DIR": str(dbt_folder),
        "DBT_TARGET_PATH": str(dbt_folder / "target"),
        "DBT_LOG_PATH": str(dbt_folder / "logs"),
    }
    made = Stack(home, environment)
    yield made, after_day1(made)
    pg.reset(home)
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.xdist_group("kills")
@pytest.mark.parametrize("phase", NEEDS)
@pytest.mark.parametrize("victim", ["flow", "postgres"])
def test_a_run_killed_in_any_phase_or_left_by_postgres_is_made_good(alone, phase, victim):
    home, undisturbed = alone
    go_back(home)
    with caught_in(home, phase) as wait:
        run = home.start("flows.day", "--day", "day2", "--data", SAMPLE)
        wait()
        if victim == "flow":
            run.kill()
        else:
            kill_postgres(home)
        said, _ = run.communicate(timeout=120)
    # 3: the lock that went with PostgreSQL is what the run noticed first.
    assert run.returncode in ([-signal.SIGKILL] if victim == "flow" else [1, 3]), said
    assert "Traceback" not in said
    dead = ends_the_same(home, undisturbed)
    # Who outlives PostgreSQL tells Prefect by itself.
    state = home.prefect("GET", f"/flow_runs/{dead}")["state_type"]
    assert state == ("CRASHED" if victim == "flow" else "FAILED")


@pytest.fixture(scope="module")
def undisturbed(stack: Stack) -> dict[str, list[Any]]:
    return after_day1(stack)


def flow_processes(stack: Stack) -> list[psutil.Process]:
    return psutil.Process(stack.pid("worker")).children(recursive=True)


@pytest.mark.stack
@pytest.mark.xdist_group("stack")
@pytest.mark.parametrize("phase", NEEDS)
@pytest.mark.parametrize("victim", ["worker", "server"])
def test_a_killed_worker_or_prefect_server_is_made_good_by_up(stack, undisturbed, phase, victim):
    go_back(stack)
    with caught_in(stack, phase) as wait:
        stack.run(
            "prefect", "deployment", "run", DAY, "-p", "day=day2", "-p", f"data={SAMPLE}",
            PREFECT_API_URL=stack.url,
        )  # fmt: skip
        wait()
        children = flow_processes(stack) if victim == "worker" else []
        os.kill(stack.pid(victim), signal.SIGKILL)
        for process in children:
            process.kill()
        stack.up()
    # What is left of the run goes on, or ends, before the next one gets the warehouse.
    until(lambda: not flow_processes(stack))
    with stack.connect() as connection:
        dead = connection.execute(
            "select flow_run_id, status from metrics.pipeline_metrics"
            " where task_name = 'day-pipeline' and day = '1970-01-03'"
        ).fetchone()
    if victim == "worker":
        assert dead["status"] == "running"
    if dead["status"] == "success":  # Prefect's server is not needed to end well
        with stack.connect() as connection:
            assert built(connection) == undisturbed
    else:
        assert ends_the_same(stack, undisturbed) == dead["flow_run_id"]
    states = {"worker": {"CRASHED"}, "server": {"COMPLETED", "FAILED", "CRASHED"}}
    of_run = f"/flow_runs/{dead['flow_run_id']}"
    until(lambda: stack.prefect("GET", of_run)["state_type"] in states[victim], 60)
