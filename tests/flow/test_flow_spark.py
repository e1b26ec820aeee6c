"""A day whose files Spark reads, through the whole flow."""

from __future__ import annotations

import pytest

from loaders import warehouse
from tests.raw_days import SAMPLE
from tests.watching import column, tuples, value


@pytest.mark.spark
def test_a_day_read_by_spark_is_the_day_that_python_reads(flow_cli, db, monkeypatch):
    monkeypatch.setenv("SPARK_MASTER", "local[2]")
    done = flow_cli("flows.day", "--day", "day1", "--data", SAMPLE, "--engine", "spark")
    assert done.returncode == 0, done.stderr
    assert not (warehouse.home() / "spark" / "flow").exists(), "records of the day would stay there"
    assert value(db, "select count(*) from silver.transactions") > 0
    assert {*column(db, "select balanced from metrics.row_ledger")} == {True}
    done = flow_cli("flows.day", "--day", "day1", "--data", SAMPLE)
    assert done.returncode == 0, done.stderr
    batches = "select table_name, status from bronze.load_batches order by batch_id"
    statuses = dict(tuples(db, batches))  # the last of each table
    assert statuses["stg_transactions"] == "unchanged"
    assert set(statuses.values()) <= {"unchanged", "skipped"}
