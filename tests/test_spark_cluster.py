"""A Spark standalone master and two workers as processes of their own, one of which dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from benchmarks.raw_days import day_text, write_day
from loaders.days import parse_day
from loaders.landing import land_day
from loaders.spark import reading, session
from tests.test_spark import state

pytestmark = [
    pytest.mark.spark,
    pytest.mark.slow,
    pytest.mark.xdist_group("spark"),
    pytest.mark.usefixtures("warehouse"),
]
WAIT = 240.0


class Cluster:
    """The processes of a cluster; each is the leader of a group that its executors are in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.master = f"spark://127.0.0.1:{port}"
        self.log = folder / "master.log"
        arguments = ["--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"]
        self.processes = [self._start("master.Master", self.log, arguments)]
        _until(lambda: "I have been elected leader" in self.log.read_text())
        for number in (1, 2):
            work = ["--cores", "1", "--memory", "600m", "--webui-port", "0"]
            work += ["--host", "127.0.0.1", "-d", str(folder / f"work{number}"), self.master]
            log = folder / f"worker{number}.log"
            self.processes.append(self._start("worker.Worker", log, work))
        _until(lambda: self.log.read_text().count("Registering worker") == 2)

    @staticmethod
    def _start(what: str, log: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
        import pyspark

        command = Path(pyspark.__file__).parent / "bin" / "spark-class"
        with log.open("wb") as said:
            return subprocess.Popen(
                [command, f"org.apache.spark.deploy.{what}", *arguments],
                stdout=said,
                stderr=said,
                start_new_session=True,
                env={**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"},
            )

    def kill_a_worker(self) -> None:
        """As a machine that is gone: the worker and its executor, without a word."""
        os.killpg(self.processes[1].pid, signal.SIGKILL)
        self.processes[1].wait()

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _until(done: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT
    while not done():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    made = Cluster(tmp_path)
    monkeypatch.setenv("SPARK_MASTER", made.master)
    monkeypatch.setitem(session.SETTINGS, "spark.executor.memory", "500m")
    monkeypatch.setitem(session.SETTINGS, "spark.driver.host", "127.0.0.1")
    monkeypatch.setitem(session.SETTINGS, "spark.sql.files.maxPartitionBytes", "1m")
    monkeypatch.setitem(session.SETTINGS, "spark.sql.files.openCostInBytes", "1k")
    yield made
    made.stop()


def test_a_worker_that_dies_in_the_middle_changes_nothing(
    cluster: Cluster, db: psycopg.Connection, tmp_path: Path
) -> None:
    day = parse_day(day_text(0))
    write_day(tmp_path / "raw", 0, transactions=range(50_000), groups=200, agents=200, flaws=True)
    land_day(tmp_path / "raw", day)
    by_python = state(db, day)
    out = tmp_path / "out"
    failures: list[BaseException] = []

    def read() -> None:
        try:
            reading.read_day(tmp_path / "raw", day, out, split_from=1)
        except BaseException as failure:
            failures.append(failure)

    reader = threading.Thread(target=read)
    reader.start()
    # some tasks have written what they will commit, others have not begun
    _until(lambda: failures or any(out.glob(".*/stg_transactions/_temporary/**/*.parquet")))
    assert reader.is_alive()
    cluster.kill_a_worker()
    reader.join(WAIT)
    assert not reader.is_alive()
    assert failures == []
    assert "Removing worker" in cluster.log.read_text()
    assert {one.status for one in land_day(out, day)} == {"unchanged", "skipped"}
    land_day(out, day, force=True)
    assert state(db, day) == by_python
