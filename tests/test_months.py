"""Marts that compute only the months that changed."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loaders.days import parse_day
from loaders.match import LONGEST_NAME, match_names
from tests.silver_world import World, transaction
from tests.watching import tuples, value

MARTS = ("application_spend_monthly", "spend_by_group_monthly", "unused_access")
MONTHS = """
    select month, application, user_id, user_name, usd, transactions
    from intermediate.int_spend_monthly
"""
# The same, added up from the view of all transactions.
WHOLE = """
    select month, application, user_id, user_name,
        sum(usd) as usd,
        count(*) filter (where counts) as transactions
    from intermediate.int_spend
    group by 1, 2, 3, 4
"""
USERS = "select month, application, users from marts.application_spend_monthly"
WHOLE_USERS = """
    select month, application, count(distinct user_id)
    from intermediate.int_spend
    where counts
    group by 1, 2
"""


def check(world: World) -> None:
    """Fails unless the months hold what all transactions add up to."""
    pairs = ((MONTHS, WHOLE), (USERS, WHOLE_USERS))
    for one, other in (*pairs, *(pair[::-1] for pair in pairs)):
        assert world.db.execute(f"({one}) except all ({other})").fetchall() == []


def marts(world: World) -> list[list[tuple[Any, ...]]]:
    return [tuples(world.db, f"select * from marts.{name} order by 1, 2") for name in MARTS]


def test_days_in_any_order_leave_marts_that_a_full_refresh_confirms(world):
    roll = random.Random(11)
    start = datetime(2025, 11, 3, tzinfo=UTC)
    days: dict[str, list[dict[str, Any]]] = {}
    written: list[dict[str, Any]] = []
    for number in range(4):
        updated = start + timedelta(days=number)
        rows = []
        for _ in range(12):
            row = transaction(
                f"t{len(written)}",
                transaction_type=roll.choice(["AUTHORIZATION", "CLEARING", "REFUND", "DECLINE"]),
                occurred_time=(start - timedelta(days=roll.randint(0, 100))).isoformat(),
                updated_time=updated.isoformat(),
                user_id=f"u{roll.randint(1, 4)}",
                user_name=f"Agent {roll.randint(1, 4)}",
                raw_merchant_name=roll.choice(["NOTION LABS INC", "SLACK T0123", "CORNER 12"]),
                child_transaction_ids=[f"t{roll.randint(0, 48)}"],
            )
            written.append(row)
            rows.append(row)
        for row in roll.sample(written, 4):
            moved = start - timedelta(days=roll.randint(0, 100))
            changed = {
                "updated_time": updated.isoformat(),
                "occurred_time": moved.isoformat(),
                "transaction_type": roll.choice(["CLEARING", "DECLINE"]),
                "amount_minor": str(roll.randint(1, 9999)),
            }
            rows.append(row | changed)
        days[updated.date().isoformat()] = rows
    first, second, third, fourth = days
    for day in (first, second, fourth, third, second):
        world.land(day, transactions=days[day])
        days[second] = days[second][:5] if day == third else days[second]  # when it lands again
        if day != fourth:  # its names are looked up late
            match_names(parse_day(day), flow_run_id="months")
        world.build(day=day)
        check(world)
    match_names(None, flow_run_id="months")
    world.build()
    check(world)
    columns = "transaction_id, occurred_time, amount_usd"
    before = marts(world), world.rows("transactions", columns)
    world.build("--full-refresh")
    check(world)
    assert before == (marts(world), world.rows("transactions", columns))


def authorization(transaction_id: str, clearings: list[Any]) -> dict[str, Any]:
    """Of the last half hour of 2025."""
    values = {"transaction_type": "AUTHORIZATION", "occurred_time": "2025-12-31T23:30:00Z"}
    children = {"child_transaction_ids": clearings}
    return transaction(transaction_id, currency="USD", **values, **children)


@pytest.mark.builds("transactions")
def test_a_clearing_that_lands_later_takes_the_place_of_an_authorization_of_another_month(world):
    lists: list[list[Any]] = [["c"], [7], ["é" * 9000, None, "d"]]
    authorizations = [authorization(f"a{n}", names) for n, names in enumerate(lists)]
    world.day("2026-01-05", transactions=authorizations)
    clearings = [transaction(names[-1], currency="USD", amount_minor="1300") for names in lists]
    world.day("2026-01-06", transactions=clearings)
    spent = tuples(world.db, "select month, usd from marts.application_spend_monthly")
    assert [(f"{month:%Y-%m}", str(usd)) for month, usd in spent] == [("2026-01", "39.0000")]
    check(world)


@pytest.mark.builds("transactions")
@pytest.mark.parametrize(
    "part", ["--select=intermediate", "--exclude=silver", "--exclude=int_transactions_named"]
)
def test_a_part_built_by_hand_takes_in_no_spend_that_it_does_not_see(world, part):
    world.day("2026-01-05", transactions=[transaction("a", currency="USD")])
    clearing = transaction("c", currency="USD")
    for day, landed in (("2026-01-06", authorization("b", ["c"])), ("2026-01-07", clearing)):
        world.land(day, transactions=[landed])
        refused = [one.message for one in world.dbt("run", part).result if one.status == "error"]
        assert len(refused) == 1
        assert "yet to take in stg_transactions of 2026-01-06" in refused[0]
    world.build()
    check(world)


@pytest.mark.builds("transactions")
def test_a_month_is_worked_out_again_until_its_names_were_looked_up(world):
    spent = [
        transaction(str(length), raw_merchant_name="x" * length)
        for length in (LONGEST_NAME, LONGEST_NAME + 1)
    ]
    looked_up = "select bool_and(is_looked_up) from intermediate.int_spend_monthly"
    world.day("2026-01-05", transactions=spent)
    assert value(world.db, looked_up) is False
    match_names(None, flow_run_id="months")
    world.build()
    assert value(world.db, looked_up) is True


@pytest.mark.builds("transactions")
def test_an_update_takes_its_spend_to_another_month(world):
    world.day("2026-01-05", transactions=[transaction("a"), transaction("b")])
    for day, occurred, updated, outcome in (
        ("2026-01-06", "2026-03-01", "2026-01-06", "updated"),
        ("2026-01-07", "2026-02-01", "2026-01-01", "stale"),  # which moves nothing
    ):
        world.day(
            day, transactions=[transaction("a", occurred_time=occurred, updated_time=updated)]
        )
        assert world.ledger(day, "transactions") == {outcome: 1}
        check(world)
    found = tuples(world.db, "select month::text, transactions from intermediate.int_spend_monthly")
    assert sorted(found) == [("2026-01-01", 1), ("2026-03-01", 1)]
