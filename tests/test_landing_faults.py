"""Landing beside readers, interrupted, out of memory's reach, and with files that change."""

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
import pytest

from flows.run import end_sessions
from loaders import landing, partition, warehouse
from loaders.days import parse_day
from loaders.errors import DaybookError, LockedError
from loaders.landing import land_day, land_table, plan_day, reap_running
from loaders.readers import parquet_file
from loaders.sources import PROJECT
from tests.raw_days import write, write_day
from tests.watching import Lost, until

DAY = parse_day("day1")
HEADER = "transaction_id,amount_minor,currency\n"
pytestmark = pytest.mark.usefixtures("warehouse")


def transactions(root: Path, count: int, mark: str) -> None:
    body = "".join(f"{mark}{n},{n},EUR\n" for n in range(count))
    write(root, "day1/transactions.csv", HEADER + body)


def land(root: Path, **options: Any) -> landing.Landed:
    (landed,) = land_day(root, DAY, tables=["stg_transactions"], **options)
    return landed


def statuses(db: psycopg.Connection) -> list[str]:
    found = db.execute("select status from bronze.load_batches order by batch_id")
    return [row["status"] for row in found]


def test_readers_never_see_a_part_or_nothing(tmp_path: Path) -> None:
    transactions(tmp_path, 3000, "a")
    land(tmp_path)
    seen: set[tuple[int, int]] = set()
    stop = threading.Event()

    def read() -> None:
        with warehouse.connect(autocommit=True) as conn:
            while not stop.is_set():
                found = conn.execute(
                    "select count(*), count(distinct _batch_id) from bronze.stg_transactions"
                ).fetchone()
                seen.add(found)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for count in (4000, 3000, 4000, 3000, 4000):
            transactions(tmp_path, count, "b")
            land(tmp_path)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert seen == {(3000, 1), (4000, 1)}


def test_an_older_snapshot_does_not_see_nothing(tmp_path: Path) -> None:
    transactions(tmp_path, 100, "a")
    land(tmp_path)
    with warehouse.connect() as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        conn.execute("select 1 from bronze.load_batches")  # takes the snapshot, not the table
        transactions(tmp_path, 80, "b")
        land(tmp_path)
        (count,) = conn.execute("select count(*) from bronze.stg_transactions").fetchone()
    assert count == 80


def test_a_reader_that_stays_is_waited_for_and_then_told(
    tmp_path: Path, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition, "SWAP_WAIT", "100ms")
    transactions(tmp_path, 10, "a")
    land(tmp_path)
    transactions(tmp_path, 20, "b")
    with warehouse.connect(application_name="ann's notebook") as reader:
        reader.execute("select * from bronze.stg_transactions")
        monkeypatch.setattr(partition, "SWAP_TURNS", 2)
        pid = reader.info.backend_pid
        held = rf"stg_transactions: ann's notebook \(pid {pid}, user daybook\) held it for more"
        with pytest.raises(DaybookError, match=held):
            land(tmp_path)
        monkeypatch.setattr(partition, "SWAP_TURNS", 50)
        threading.Timer(0.5, reader.rollback).start()
        assert land(tmp_path).rows_landed == 20
    assert statuses(db) == ["succeeded", "failed", "succeeded"]


def test_kill_9_in_a_landing_leaves_the_old_rows(tmp_path: Path, db: psycopg.Connection) -> None:
    transactions(tmp_path, 10, "a")
    land(tmp_path)
    transactions(tmp_path, 20, "b")
    code = (
        "import sys; from loaders.days import parse_day; from loaders.landing import land_day;"
        "land_day(sys.argv[1], parse_day('day1'), tables=['stg_transactions'])"
    )
    waiting = "select 1 from pg_locks where not granted"
    with warehouse.connect() as reader:
        reader.execute("select * from bronze.stg_transactions")
        child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=PROJECT)
        try:
            until(lambda: db.execute(waiting).fetchone(), 20)
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
    until(lambda: not db.execute(waiting).fetchone(), 20)
    assert db.execute("select count(*) as n from bronze.stg_transactions").fetchone() == {"n": 10}
    assert statuses(db) == ["succeeded", "running"]
    left = db.execute("select count(*) as n from pg_class where relname ~ '_p[0-9]{8}_'")
    assert left.fetchone() == {"n": 0}
    assert reap_running() == 1
    assert statuses(db) == ["succeeded", "failed"]
    assert land(tmp_path).rows_landed == 20


@pytest.mark.parametrize("is_stopped", [False, True])
def test_an_interrupted_landing_is_recorded(
    tmp_path: Path, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, is_stopped: bool
) -> None:
    """By a run's stop, which ends sessions again and again; and by Ctrl-C, also where the driver's
    cancel comes too late and it hears of the lock's time-out instead."""
    transactions(tmp_path, 10, "a")
    land(tmp_path)
    drop_leaves = landing.drop_leaves
    monkeypatch.setattr(partition, "SWAP_WAIT", "1s")
    monkeypatch.setattr(psycopg.Connection, "_try_cancel", lambda *_, **__: None)

    def stop() -> None:
        end_sessions(db, "r") if is_stopped else os.kill(os.getpid(), signal.SIGINT)

    def stop_once_it_waits() -> None:
        until(lambda: db.execute("select 1 from pg_locks where not granted").fetchone(), 20)
        stop()

    def record(*arguments: Any) -> None:
        if is_stopped:
            stop()
        drop_leaves(*arguments)

    monkeypatch.setattr(landing, "drop_leaves", record)
    with warehouse.connect() as reader, ThreadPoolExecutor(1) as other:
        reader.execute("select * from bronze.stg_transactions")
        stopped = other.submit(stop_once_it_waits)
        with pytest.raises(DaybookError if is_stopped else KeyboardInterrupt):
            land(tmp_path, flow_run_id="r", force=True)
        stopped.result()
    assert statuses(db) == ["succeeded", "failed"]


def test_a_landing_that_is_told_to_end_is_recorded(tmp_path: Path, db: psycopg.Connection) -> None:
    transactions(tmp_path, 10, "a")
    land(tmp_path)
    command = [sys.executable, "-m", "loaders", "day1", "--data", str(tmp_path), "--force"]
    with warehouse.connect() as reader:
        reader.execute("select * from bronze.stg_transactions")
        with subprocess.Popen(
            [*command, "--table", "stg_transactions"],
            cwd=PROJECT,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            until(lambda: db.execute("select 1 from pg_locks where not granted").fetchone(), 20)
            child.terminate()
            _, said = child.communicate(timeout=20)
    assert (child.returncode, said.splitlines()[-1]) == (1, "error: interrupted")
    assert statuses(db) == ["succeeded", "failed"]


def test_what_is_interrupted_after_its_commit_has_landed(
    tmp_path: Path, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    transactions(tmp_path, 10, "a")
    replace = landing._replace

    def interrupted(*arguments: Any) -> None:
        replace(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(landing, "_replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        land(tmp_path)
    assert statuses(db) == ["succeeded"]
    assert len(db.execute("select from metrics.pipeline_metrics").fetchall()) == 1


def test_a_file_that_changes_meanwhile_fails(tmp_path: Path, db: psycopg.Connection) -> None:
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


def test_a_lost_lock_writes_nothing(tmp_path: Path, db: psycopg.Connection) -> None:
    transactions(tmp_path, 10, "a")
    with pytest.raises(LockedError):
        land(tmp_path, lock=Lost())
    assert statuses(db) == ["failed"]
    assert db.execute("select 1 from bronze.stg_transactions").fetchone() is None


def test_a_count_that_differs_fails(
    tmp_path: Path, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("QuickCount", "Count"):
        monkeypatch.setattr(f"loaders.readers.csv_count.{kind}.records", lambda count: 7)
    transactions(tmp_path, 10, "a")
    with pytest.raises(DaybookError, match="7 records counted, 10 read"):
        land(tmp_path)
    assert statuses(db) == ["failed"]


def test_a_parquet_file_of_which_less_is_read_than_it_says_fails(
    tmp_path: Path, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow
    from pyarrow import parquet

    (tmp_path / "day1").mkdir()
    rows = pyarrow.table({"transaction_id": ["a", "b", "c"]})
    parquet.write_table(rows, tmp_path / "day1/transactions.parquet")
    read = parquet_file.read_parquet
    monkeypatch.setattr(parquet_file, "read_parquet", lambda *file: list(read(*file))[1:])
    with pytest.raises(DaybookError, match="3 records counted, 2 read"):
        land(tmp_path)
    assert statuses(db) == ["failed"]


def test_the_swap_is_tried_again_behind_a_deadlock(tmp_path: Path, db: psycopg.Connection) -> None:
    """With a reader that has the old partition and asks for the whole table."""
    transactions(tmp_path, 10, "a")
    land(tmp_path)
    transactions(tmp_path, 20, "b")
    with warehouse.connect() as reader, ThreadPoolExecutor(1) as thread:
        reader.execute("set deadlock_timeout = '20s'")  # the landing finds it
        reader.execute("select from bronze.stg_transactions_p19700102")
        landed = thread.submit(land, tmp_path)
        waiting = "select 1 from pg_locks where mode = 'AccessExclusiveLock' and not granted"
        until(lambda: db.execute(waiting).fetchone())
        assert len(reader.execute("select from bronze.stg_transactions").fetchall()) == 10
        reader.rollback()
        assert landed.result().rows_landed == 20
    assert statuses(db) == ["succeeded", "succeeded"]


def test_failures_in_the_metrics_hold_no_data(tmp_path: Path, db: psycopg.Connection) -> None:
    write(tmp_path, "day1/transactions.csv", HEADER + "secret-value,1\n")
    with pytest.raises(DaybookError):
        land(tmp_path)
    metrics = db.execute("select * from metrics.pipeline_metrics").fetchall()
    assert [row["status"] for row in metrics] == ["failure"]
    assert "secret-value" not in str(metrics)
    assert "secret-value" in str(db.execute("select raw_text from bronze.load_rejects").fetchall())


def test_a_time_zone_of_the_machine_changes_nothing(
    tmp_path: Path, db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    monkeypatch.setenv("PGTZ", "Asia/Kolkata")
    monkeypatch.setenv("PGCLIENTENCODING", "latin1")
    write(tmp_path, "day1/transactions.csv", HEADER + "é,1,EUR\n")
    land(tmp_path)
    row = db.execute(
        "select transaction_id, abs(extract(epoch from clock_timestamp() - _loaded_at)) < 60 as now"
        " from bronze.stg_transactions"
    ).fetchone()
    assert row == {"transaction_id": "é", "now": True}


# VmHWM, since a process begins with the ru_maxrss of the one that started it.
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
def test_memory_stays_bounded(tmp_path: Path, kind: str) -> None:
    rows = 400_000
    if kind == "json":
        lines = (f'{{"id": "t{n}", "userName": "{"x" * 250}"}}' for n in range(rows))
        content = '{"results": [' + ",".join(lines) + "]}"
    else:
        head = "transaction_id,user_name" + (",extra" if kind == "parsed.csv" else "")
        tail = ",e" if kind == "parsed.csv" else ""
        content = head + "\n" + "".join(f"t{n},{'x' * 250}{tail}\n" for n in range(rows))
    write(tmp_path, "day1/transactions." + kind.removeprefix("parsed."), content)
    child = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    landed, megabytes = map(int, child.stdout.split())
    assert landed == rows
    assert len(content) > 100_000_000
    assert megabytes < 80


def test_a_whole_day_stops_at_its_first_required_failure(
    tmp_path: Path, db: psycopg.Connection
) -> None:
    write_day(tmp_path, **{"groups.json": "[7, 8, 9]"})
    with pytest.raises(DaybookError, match="stg_groups of day1 did not land"):
        land_day(tmp_path, DAY)
    assert statuses(db) == ["succeeded", "skipped", "failed"]
