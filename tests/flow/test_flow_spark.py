"""A day whose files Spark reads, through the whole flow."""

from __future__ import annotations

from typing import Any

import pytest

from loaders import warehouse
from tests.flow.conftest import SAMPLE

STATUSES = """
    select distinct on (table_name) table_name, status
    from bronze.load_batches
    order by table_name, batch_id desc
"""


@pytest.mark.spark
def test_a_day_read_by_spark_is_the_day_that_python_reads(
    flow_cli: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARK_MASTER", "local[2]")
    done = flow_cli("flows.day", "--day", "day1", "--data", SAMPLE, "--engine", "spark")
    assert done.returncode == 0, done.stderr
    assert not (warehouse.home() / "spark" / "flow").exists(), "records of the day would stay there"
    assert db.execute("select count(*) > 0 as some from silver.transactions").fetchone()["some"]
    ledger = db.execute("select balanced from metrics.row_ledger").fetchall()
    assert ledger and all(line["balanced"] for line in ledger)
    done = flow_cli("flows.day", "--day", "day1", "--data", SAMPLE)
    assert done.returncode == 0, done.stderr
    statuses = {row["table_name"]: row["status"] for row in db.execute(STATUSES)}
    assert statuses["stg_transactions"] == "unchanged"
    assert set(statuses.values()) <= {"unchanged", "skipped"}
