"""A warehouse of the first edition is refused, and migrates as CHANGELOG.md says."""

from __future__ import annotations

import gzip
from pathlib import Path

import psycopg
import pytest

from loaders import warehouse
from loaders.errors import WarehouseError
from loaders.sources import PROJECT
from tests.watching import column, tuples, value

# Three sample days, landed and built by the first edition's code, without the reference rates.
DUMP = Path(__file__).with_name("first_edition.sql.gz")


def test_it_is_refused_and_comes_over_with_all_that_landed(warehouse_url, dbt):
    with psycopg.connect(warehouse_url, autocommit=True) as conn:
        conn.execute("drop schema bronze, intermediate, silver, quarantine, metrics, marts cascade")
        conn.execute(gzip.decompress(DUMP.read_bytes()).decode())
    with pytest.raises(WarehouseError, match=r"built by the first edition.*CHANGELOG.md.*migrate"):
        warehouse.migrate()
    with warehouse.connect() as conn:
        landed = value(conn, "select count(*) from bronze.stg_transactions")
        with pytest.raises(WarehouseError, match="What landed stays"):
            warehouse.check_ready(conn)
        changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
        conn.execute(changelog.partition("```sql\n")[2].partition("```")[0])
    warehouse.migrate()
    assert dbt("build", "--exclude-resource-type", "unit_test").success
    with warehouse.connect() as conn:
        warehouse.check_ready(conn)
        assert value(conn, "select count(*) from bronze.stg_transactions") == landed
        days = "select count(distinct day), bool_and(balanced) from metrics.row_ledger"
        assert tuples(conn, days) == [(3, True)]
        types = column(conn, "select pg_typeof(agent_id)::text from silver.agents")
        assert {*types} == {"text"}
