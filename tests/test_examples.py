"""Each export in examples/ comes from landing to the marts by its overlay alone."""

from __future__ import annotations

import pytest

from loaders.days import parse_day
from loaders.landing import land_day
from loaders.sources import PROJECT
from tests.watching import column, value

EXAMPLES = {
    "okta-ramp": (
        ["2026-01-05", "2026-01-06"],
        {"agents": 4, "groups": 2, "transactions": 5, "group_memberships": 3},
        "15 + 875 + 9.99 + 33",  # 42 was declined
    ),
    "google-brex": (
        ["day1", "day2"],
        {"agents": 3, "groups": 2, "transactions": 4, "group_memberships": 2},
        "21 + 149 - 21 + 59",
    ),
    "spreadsheet": (
        ["day1", "day2"],
        {"agents": 3, "groups": 2, "transactions": 3, "budgets": 2, "group_memberships": 3},
        "162.5666 + 108.45 - 54.1465",
    ),
}


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_comes_from_its_files_to_the_marts(name, db, dbt):
    days, expected, usd = EXAMPLES[name]
    folder = PROJECT / "examples" / name
    for day in days:
        landed = land_day(folder, parse_day(day), sources=folder / "sources.yml")
        assert {one.status for one in landed} <= {"succeeded", "skipped"}
        assert sum(one.rows_rejected or 0 for one in landed) == 0
    done = dbt("build", "--exclude-resource-type", "unit_test")
    assert done.success, [one.message for one in done.result if one.status != "success"]
    for table, count in expected.items():
        assert value(db, f"select count(*) from silver.{table}") == count, table
        assert value(db, f"select count(*) from quarantine.{table}") == 0, table
    assert value(db, f"select sum(usd) = {usd} from marts.application_spend_monthly")
    users = "select user_name from silver.transactions except select name from silver.agents"
    assert column(db, users) in ([], [None])  # Brex names nobody
