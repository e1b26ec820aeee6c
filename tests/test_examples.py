"""Other people's exports, as examples/ has them: from landing to marts by an overlay alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from loaders.days import parse_day
from loaders.landing import land_day
from loaders.sources import PROJECT

EXAMPLES = {
    "okta-ramp": (["2026-01-05", "2026-01-06"], {"agents": 4, "groups": 2, "transactions": 5}),
    "google-brex": (["day1", "day2"], {"agents": 3, "groups": 2, "transactions": 4}),
    "spreadsheet": (
        ["day1", "day2"],
        {"agents": 3, "groups": 2, "transactions": 3, "budgets": 2, "group_memberships": 3},
    ),
}


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_comes_from_its_files_to_the_marts(
    name: str, db: psycopg.Connection, dbt: Callable[..., Any]
) -> None:
    days, expected = EXAMPLES[name]
    folder = PROJECT / "examples" / name
    for day in days:
        landed = land_day(folder, parse_day(day), sources=folder / "sources.yml")
        assert {one.status for one in landed} <= {"succeeded", "skipped"}
        assert sum(one.rows_rejected or 0 for one in landed) == 0
    done = dbt("build", "--exclude-resource-type", "unit_test")
    assert done.success, [one.message for one in done.result if one.status != "success"]
    for table, count in expected.items():
        found = db.execute(f"select count(*) as n from silver.{table}").fetchone()
        assert found == {"n": count}, table
    for entity in expected:
        assert db.execute(f"select count(*) as n from quarantine.{entity}").fetchone() == {"n": 0}
    spent = db.execute("select sum(usd) as usd from marts.application_spend_monthly").fetchone()
    assert spent and spent["usd"] > 0
    users = "select user_name from silver.transactions except select name from silver.agents"
    assert db.execute(users).fetchall() in ([], [{"user_name": None}])  # Brex names nobody
