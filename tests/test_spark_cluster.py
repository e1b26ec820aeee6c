"""A Spark standalone master and two workers as processes of their own, one of which dies."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from benchmarks.cluster import WAIT, Cluster, until
from benchmarks.raw_days import day_text, write_day
from loaders import slices
from loaders.days import parse_day
from loaders.landing import land_day
from loaders.spark import reading, session
from tests.test_spark import state

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.usefixtures("warehouse")]


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Iterator[Cluster]:
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    made = Cluster(tmp_path, "600m")
    monkeypatch.setenv("SPARK_MASTER", made.master)
    monkeypatch.setitem(session.SETTINGS, "spark.executor.memory", "500m")
    monkeypatch.setitem(session.SETTINGS, "spark.driver.host", "127.0.0.1")
    monkeypatch.setattr(slices, "SLICE", 1 << 20)
    monkeypatch.setattr(reading, "GROUP_BYTES", 1 << 20)
    yield made
    made.stop()


def test_a_worker_that_dies_in_the_middle_changes_nothing(cluster, db, tmp_path):
    day = parse_day(day_text(0))
    write_day(tmp_path / "raw", 0, transactions=range(50_000), groups=200, agents=200, flaws=True)
    land_day(tmp_path / "raw", day)
    by_python = state(db, day)
    out = tmp_path / "out"
    failures: list[BaseException] = []

    def read() -> None:
        try:
            reading.read_day(tmp_path / "raw", day, out)
        except BaseException as failure:
            failures.append(failure)

    reader = threading.Thread(target=read)
    reader.start()
    # some tasks have written what they will commit, others have not begun
    until(lambda: failures or any(out.glob("*/stg_transactions/*.csv.zst")))
    assert reader.is_alive()
    cluster.kill_a_worker()
    reader.join(WAIT)
    assert not reader.is_alive()
    assert failures == []
    assert "Removing worker" in cluster.log.read_text()
    assert {one.status for one in land_day(out, day)} == {"unchanged", "skipped"}
    land_day(out, day, force=True)
    assert state(db, day) == by_python
