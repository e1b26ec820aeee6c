"""Landing beside readers, when it is interrupted, in bounded memory, and of files that change."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pyarrow
import pytest
from pyarrow import parquet

from flows.run import end_sessions
from loaders import landing, partition, warehouse
from loaders.days import parse_day
from loaders.errors import DaybookError, LockedError
from loaders.landing import land_day, land_table, plan_day, reap_running
from loaders.readers import parquet_file
from loaders.sources import PROJECT
from tests.raw_days import land_one, statuses, write, write_day
from tests.watching import LostLock, run_python, tuples, until, value

DAY = parse_day("day1")
HEADER = "transaction_id,amount_minor,currency\n"
pytestmark = pytest.mark.usefixtures("warehouse")


def transactions(root: Path, count: int, prefix: str) -> None:
    body = "".join(f"{prefix}{n},{n},EUR\n" for n in range(count))
    write(root, "day1/transactions.csv", HEADER + body)


def is_someone_waiting(db: psycopg.Connection) -> bool:
    return db.execute("select from pg_locks where not granted").fetchone() is not None


def test_readers_never_see_a_part_or_nothing(tmp_path):
    transactions(tmp_path, 3000, "a")
    land_one(tmp_path)
    seen: set[tuple[int, int]] = set()
    stop = threading.Event()

    def read() -> None:
        with warehouse.connect(autocommit=True) as conn:
            while not stop.is_set():
                counts = "select count(*), count(distinct _batch_id) from bronze.stg_transactions"
                seen.update(conn.execute(counts))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for count in (4000, 3000, 4000, 3000, 4000):
            transactions(tmp_path, count, "b")
            land_one(tmp_path)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert seen == {(3000, 1), (4000, 1)}


def test_an_older_snapshot_does_not_see_nothing(tmp_path):
    transactions(tmp_path, 100, "a")
    land_one(tmp_path)
    with warehouse.connect() as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        conn.execute("select 1 from bronze.load_batches")  # takes the snapshot, not the table
        transactions(tmp_path, 80, "b")
        land_one(tmp_path)
        assert value(conn, "select count(*) from bronze.stg_transactions") == 80


def test_a_reader_that_stays_is_waited_for_and_then_told(tmp_path, db, monkeypatch):
    monkeypatch.setattr(partition, "SWAP_WAIT", "100ms")
    transactions(tmp_path, 10, "a")
    land_one(tmp_path)
    transactions(tmp_path, 20, "b")
    with warehouse.connect(application_name="ann's notebook") as reader:
        reader.execute("select * from bronze.stg_transactions")
        monkeypatch.setattr(partition, "SWAP_TURNS", 2)
        pid = reader.info.backend_pid
        held = rf"stg_transactions: ann's notebook \(pid {pid}, user daybook\) held it for more"
        with pytest.raises(DaybookError, match=held):
            land_one(tmp_path)
        monkeypatch.setattr(partition, "SWAP_TURNS", 50)
        threading.Timer(0.5, reader.rollback).start()
        assert land_one(tmp_path).rows_landed == 20
    assert statuses(db) == ["succeeded", "failed", "succeeded"]


def test_kill_9_in_a_landing_leaves_the_old_rows(tmp_path, db):
    transactions(tmp_path, 10, "a")
    land_one(tmp_path)
    transactions(tmp_path, 20, "b")
    code = (
        "import sys; from loaders.days import parse_day; from loaders.landing import land_day;"
        "land_day(sys.argv[1], parse_day('day1'), tables=['stg_transactions'])"
    )
    with warehouse.connect() as reader:
        reader.execute("select * from bronze.stg_transactions")
        child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=PROJECT)
        try:
            until(lambda: is_someone_waiting(db))
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
    until(lambda: not is_someone_waiting(db))
    assert value(db, "select count(*) from bronze.stg_transactions") == 10
    assert statuses(db) == ["succeeded", "running"]
    assert db.execute("select from pg_class where relname ~ '_p[0-9]{8}_'").fetchall() == []
    assert reap_running() == 1
    assert statuses(db) == ["succeeded", "failed"]
    assert land_one(tmp_path).rows_landed == 20


@pytest.mark.parametrize("is_stopped", [False, True])
def test_an_interrupted_landing_is_recorded(tmp_path, db, monkeypatch, is_stopped):
    """By a run's end, which terminates its sessions again and again; and by Ctrl-C, also where the
    driver cancels too late and gets the lock's time-out instead."""
    transactions(tmp_path, 10, "a")
    land_one(tmp_path)
    drop_leaves = landing.drop_leaves
    monkeypatch.setattr(partition, "SWAP_WAIT", "1s")
    monkeypatch.setattr(psycopg.Connection, "_try_cancel", lambda *_, **__: None)

    def stop_once_it_waits() -> None:
        until(lambda: is_someone_waiting(db))
        end_sessions(db, "r") if is_stopped else os.kill(os.getpid(), signal.SIGINT)

    def stop_again(*arguments: Any) -> None:
        if is_stopped:
            end_sessions(db, "r")
        drop_leaves(*arguments)

    monkeypatch.setattr(landing, "drop_leaves", stop_again)
    with warehouse.connect() as reader, ThreadPoolExecutor(1) as other:
        reader.execute("select * from bronze.stg_transactions")
        stopped = other.submit(stop_once_it_waits)
        with pytest.raises(DaybookError if is_stopped else KeyboardInterrupt):
            land_one(tmp_path, flow_run_id="r", force=True)
        stopped.result()
    assert statuses(db) == ["succeeded", "failed"]


def test_a_landing_that_is_told_to_end_is_recorded(tmp_path, db):
    transactions(tmp_path, 10, "a")
    land_one(tmp_path)
    command = [sys.executable, "-m", "loaders", "day1", "--data", str(tmp_path), "--force"]
    command += ["--table", "stg_transactions"]
    with warehouse.connect() as reader:
        reader.execute("select * from bronze.stg_transactions")
        with subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True) as child:
            until(lambda: is_someone_waiting(db))
            child.terminate()
            _, errors = child.communicate(timeout=60)
    assert (child.returncode, errors.splitlines()[-1]) == (1, "error: interrupted")
    assert statuses(db) == ["succeeded", "failed"]


def test_a_table_that_is_interrupted_after_its_commit_has_landed(tmp_path, db, monkeypatch):
    transactions(tmp_path, 10, "a")
    replace = landing._replace

    def interrupted(*arguments: Any) -> None:
        replace(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(landing, "_replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        land_one(tmp_path)
    assert statuses(db) == ["succeeded"]
    assert value(db, "select count(*) from metrics.pipeline_metrics") == 1


def test_a_file_that_changes_meanwhile_fails(tmp_path, db):
    transactions(tmp_path, 10, "a")
    (plan,) = plan_day(tmp_path, DAY, ["stg_transactions"])
    transactions(tmp_path, 11, "a")
    with pytest.raises(DaybookError, match="it changed while it was read"):
        land_table(plan, flow_run_id="r")
    (tmp_path / "day1/transactions.csv").unlink()
    with pytest.raises(DaybookError, match="no longer there"):
        land_table(plan, flow_run_id="r")
    assert statuses(db) == ["failed", "failed"]
    assert db.execute("select 1 from bronze.stg_transactions").fetchone() is None


def test_a_lost_lock_writes_nothing(tmp_path, db):
    transactions(tmp_path, 10, "a")
    with pytest.raises(LockedError):
        land_one(tmp_path, lock=LostLock())
    assert statuses(db) == ["failed"]
    assert db.execute("select 1 from bronze.stg_transactions").fetchone() is None


def test_a_count_that_differs_fails(tmp_path, db, monkeypatch):
    for kind in ("QuickCount", "Count"):
        monkeypatch.setattr(f"loaders.readers.csv_count.{kind}.records", lambda count: 7)
    transactions(tmp_path, 10, "a")
    with pytest.raises(DaybookError, match="7 records counted, 10 read"):
        land_one(tmp_path)
    assert statuses(db) == ["failed"]


def test_a_parquet_file_of_which_less_is_read_than_it_says_fails(tmp_path, db, monkeypatch):
    (tmp_path / "day1").mkdir()
    rows = pyarrow.table({"transaction_id": ["a", "b", "c"]})
    parquet.write_table(rows, tmp_path / "day1/transactions.parquet")
    read = parquet_file.read_parquet
    monkeypatch.setattr(parquet_file, "read_parquet", lambda *file: list(read(*file))[1:])
    with pytest.raises(DaybookError, match="3 records counted, 2 read"):
        land_one(tmp_path)
    assert statuses(db) == ["failed"]


def test_the_swap_is_tried_again_behind_a_deadlock(tmp_path, db):
    """With a reader that has read the old partition and then reads the whole table."""
    transactions(tmp_path, 10, "a")
    land_one(tmp_path)
    transactions(tmp_path, 20, "b")
    with warehouse.connect() as reader, ThreadPoolExecutor(1) as thread:
        reader.execute("set deadlock_timeout = '20s'")  # so that the landing is the one refused
        reader.execute("select from bronze.stg_transactions_p19700102")
        landed = thread.submit(land_one, tmp_path)
        waiting = "select 1 from pg_locks where mode = 'AccessExclusiveLock' and not granted"
        until(lambda: db.execute(waiting).fetchone())
        assert value(reader, "select count(*) from bronze.stg_transactions") == 10
        reader.rollback()
        assert landed.result().rows_landed == 20
    assert statuses(db) == ["succeeded", "succeeded"]


def test_failures_in_the_metrics_hold_no_data(tmp_path, db):
    write(tmp_path, "day1/transactions.csv", HEADER + "secret-value,1\n")
    with pytest.raises(DaybookError):
        land_one(tmp_path)
    (metric,) = db.execute("select * from metrics.pipeline_metrics").fetchall()
    assert metric["status"] == "failure"
    assert "secret-value" not in str(metric)
    assert "secret-value" in str(db.execute("select raw_text from bronze.load_rejects").fetchall())


def test_a_time_zone_of_the_machine_changes_nothing(tmp_path, db, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    monkeypatch.setenv("PGTZ", "Asia/Kolkata")
    monkeypatch.setenv("PGCLIENTENCODING", "latin1")
    write(tmp_path, "day1/transactions.csv", HEADER + "é,1,EUR\n")
    land_one(tmp_path)
    is_now = "abs(extract(epoch from clock_timestamp() - _loaded_at)) < 60"
    found = tuples(db, f"select transaction_id, {is_now} from bronze.stg_transactions")
    assert found == [("é", True)]


# By VmHWM: a process begins with the ru_maxrss of the one that started it.
PEAK = """
import re, sys
from pathlib import Path
from loaders.days import parse_day
from loaders.landing import land_day
(landed,) = land_day(sys.argv[1], parse_day("day1"), tables=["stg_transactions"])
(peak,) = re.findall(r"VmHWM:\\s+([0-9]+) kB", Path("/proc/self/status").read_text())
print(landed.rows_landed, int(peak) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "parsed.csv", "csv.gz", "json"])
def test_memory_stays_bounded(tmp_path, kind):
    rows = 400_000
    if kind == "json":
        lines = (f'{{"id": "t{n}", "userName": "{"x" * 250}"}}' for n in range(rows))
        content = '{"results": [' + ",".join(lines) + "]}"
    else:
        head = "transaction_id,user_name" + (",extra" if kind == "parsed.csv" else "")
        tail = ",e" if kind == "parsed.csv" else ""
        content = head + "\n" + "".join(f"t{n},{'x' * 250}{tail}\n" for n in range(rows))
    write(tmp_path, "day1/transactions." + kind.removeprefix("parsed."), content)
    landed, megabytes = map(int, run_python("-c", PEAK, tmp_path, check=True).stdout.split())
    assert landed == rows
    assert len(content) > 100_000_000
    assert megabytes < 80


def test_a_whole_day_stops_at_its_first_required_failure(tmp_path, db):
    write_day(tmp_path, **{"groups.json": "[7, 8, 9]"})
    with pytest.raises(DaybookError, match="stg_groups of day1 did not land"):
        land_day(tmp_path, DAY)
    assert statuses(db) == ["succeeded", "skipped", "failed"]
