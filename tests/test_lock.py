"""The run's lock: one run at a time changes a warehouse."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Event

import psycopg
import pytest

from flows.record import close_dead_runs
from loaders import warehouse
from loaders.errors import LockedError, WarehouseError
from loaders.lock import KEY, run_lock, sessions, under_parent
from loaders.lock import holder as holder_of
from loaders.process import until
from loaders.sources import PROJECT
from tests.watching import insert, value

HOLD = """
import sys, time
from loaders.lock import run_lock
with run_lock("daybook run other-run day2"):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def process_that_holds() -> Iterator[subprocess.Popen[str]]:
    """Another process that takes the lock, or waits for it."""
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def holder(warehouse):
    """Another process that holds the lock."""
    with process_that_holds() as process:
        assert process.stdout.readline() == "held\n"
        yield process


def test_two_runs_at_once_the_second_waits_and_is_told_who_holds_the_warehouse(holder):
    begun = time.monotonic()
    with pytest.raises(LockedError) as refused, run_lock("daybook run r2 day1", wait=0.5):
        pass
    assert 0.5 <= time.monotonic() - begun < 8
    assert refused.value.exit_code == 3
    assert "daybook run other-run day2" in str(refused.value)
    assert re.search(r"since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", str(refused.value))


def test_a_waiting_run_does_not_block_a_build_by_hand(warehouse):
    shared = "select pg_try_advisory_xact_lock_shared(%s::bigint)"
    with psycopg.connect(warehouse) as building, psycopg.connect(warehouse) as another:
        assert value(building, shared, [KEY])
        with ThreadPoolExecutor() as threads:
            waits = threads.submit(take_the_lock)
            assert until(lambda: "daybook run waits" in sessions(), 60)
            assert value(another, shared, [KEY])
            building.rollback(), another.rollback()
            waits.result(10)


def take_the_lock() -> None:
    with run_lock("daybook run waits", wait=10):
        pass


def test_the_lock_of_a_killed_run_is_free(holder):
    os.kill(holder.pid, signal.SIGKILL)
    with run_lock("daybook run r2 day1", wait=5) as lock:
        lock.check()


def test_a_run_that_waits_gets_the_lock_when_it_is_given_back(warehouse):
    with ExitStack() as stack:
        with run_lock("first"):
            waiter = stack.enter_context(process_that_holds())
            assert until(lambda: "other-run" in sessions(), 60)
        assert waiter.stdout.readline() == "held\n"


def test_the_lock_is_given_back_when_the_run_fails(warehouse):
    with pytest.raises(ZeroDivisionError), run_lock("first"):
        raise ZeroDivisionError
    with run_lock("second", wait=0) as lock:
        lock.check()


def test_a_run_whose_lock_connection_was_cut_is_told_before_it_commits(db):
    with run_lock("daybook run r1 day1") as lock:
        lock.check()
        session = "pg_stat_activity where application_name = 'daybook run r1 day1'"
        assert value(db, f"select pg_terminate_backend(pid, 5000) from {session}")
        with pytest.raises(LockedError, match="daybook run r1 day1 lost its lock"):
            lock.check()


def test_a_lock_is_not_closed_while_another_thread_asks_for_it(warehouse, monkeypatch):
    asks, answered = Event(), Event()

    def slow(conn: psycopg.Connection) -> tuple[str, int] | None:
        asks.set()
        answered.wait(10)
        return holder_of(conn)

    monkeypatch.setattr("loaders.lock.holder", slow)
    with ThreadPoolExecutor() as threads, run_lock("daybook run r1 day1") as lock:
        asked = threads.submit(lock.is_held)
        asks.wait(10)
        closed = threads.submit(lock.close)
        with pytest.raises(TimeoutError):
            closed.result(0.2)
        answered.set()
        assert asked.result(10)
        closed.result(10)


def test_a_run_on_the_pool_works_only_while_its_day_holds_the_warehouse(holder):
    with under_parent("other-run", "0123456789") as lock:
        lock.check()
        assert "daybook child other-run 23456789" in sessions()
        elsewhere = "no-run does not hold the warehouse at host .* has another warehouse"
        with pytest.raises(LockedError, match=elsewhere), under_parent("no-run", "0123456789"):
            pass
        holder.kill()
        holder.wait()
        with pytest.raises(LockedError, match="daybook run other-run lost its lock"):
            for _ in range(50):  # PostgreSQL hears of it within half a second
                time.sleep(0.1)
                lock.check()
    assert "other-run" not in sessions()


def test_what_a_dead_day_left_at_work_is_ended_by_the_next_run(db):
    row = {"flow_run_id": "dead-run", "task_name": "day-pipeline", "pipeline_name": "day"}
    insert(db, "metrics.pipeline_metrics", **row, status="running", started_at="now")
    with (
        warehouse.connect(application_name="daybook dbt dead-run") as orphan,
        warehouse.connect(application_name="daybook dbt live-run") as other,
        run_lock("daybook run live-run day2"),
    ):
        with warehouse.connect(autocommit=True) as connection:
            assert close_dead_runs(connection) == ["dead-run"]
        with pytest.raises(psycopg.OperationalError):
            orphan.execute("select 1")
        other.execute("select 1")
    assert value(db, "select status from metrics.pipeline_metrics") == "failure"


def test_the_lock_outlives_every_timeout_of_the_server(db, monkeypatch):
    db.execute("alter database daybook set idle_session_timeout = '200ms'")
    db.execute("alter database daybook set statement_timeout = '200ms'")
    with run_lock("daybook run r1 day1") as lock:
        time.sleep(0.6)
        lock.check()


def test_another_login_is_told_who_holds_the_warehouse_and_one_without_rights_why_not(
    db, monkeypatch, warehouse
):
    db.execute("create role plain login")
    try:
        with run_lock("daybook run r1 day1"):
            monkeypatch.setenv("DATABASE_URL", warehouse.replace("daybook@", "plain@"))
            with pytest.raises(WarehouseError, match="has to be in the roles daybook_loader"):
                run_lock("second", wait=0).__enter__()
            db.execute("grant daybook_loader to plain")
            with pytest.raises(LockedError, match="held by daybook run r1 day1"):
                run_lock("second", wait=0).__enter__()
    finally:
        db.execute("drop role plain")


def test_a_holder_of_any_length_and_script_can_be_named(warehouse):
    with (
        run_lock("daybook run " + "é" * 200),
        pytest.raises(LockedError, match=r"daybook run \?\?\?"),
        run_lock("second", wait=0),
    ):
        pass
