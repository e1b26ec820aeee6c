"""Marts that work out only the months that changed."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loaders.days import parse_day
from loaders.match import LONGEST_NAME, match_names
from tests.silver_world import World, transaction

MARTS = ("application_spend_monthly", "spend_by_group_monthly", "unused_access")
MONTHS = """
    select month, application, user_id, user_name, usd, transactions
    from intermediate.int_spend_monthly
"""
# The same, added up from the view of all transactions.
WHOLE = """
    select month, application, coalesce(user_id, '') as user_id,
        coalesce(user_name, '') as user_name,
        sum(usd) as usd,
        count(*) filter (where counts) as transactions
    from intermediate.int_spend
    group by 1, 2, 3, 4
"""


def check(world: World) -> None:
    """Fails unless the months hold what all transactions add up to."""
    for one, other in ((MONTHS, WHOLE), (WHOLE, MONTHS)):
        assert world.db.execute(f"({one}) except ({other})").fetchall() == []


def marts(world: World) -> list[list[dict[str, Any]]]:
    return [
        world.db.execute(f"select * from marts.{name} order by 1, 2").fetchall() for name in MARTS
    ]


def test_days_in_any_order_leave_marts_that_a_full_refresh_confirms(world: World) -> None:
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
            rows.append(
                row
                | {
                    "updated_time": updated.isoformat(),
                    "occurred_time": moved.isoformat(),
                    "transaction_type": roll.choice(["CLEARING", "DECLINE"]),
                    "amount_minor": str(roll.randint(1, 9999)),
                }
            )
        days[updated.date().isoformat()] = rows
    first, second, third, fourth = days
    for day, rows in [
        (first, days[first]),
        (second, days[second]),
        (fourth, days[fourth]),
        (third, days[third]),
        (second, days[second][:5]),
    ]:
        world.land(day, transactions=rows)
        if day != fourth:  # its names are looked up late
            match_names(parse_day(day), flow_run_id="months")
        world.build(day=day)
        check(world)
    match_names(None, flow_run_id="months")
    world.build()
    check(world)
    before = marts(world), world.rows("transactions", "transaction_id, occurred_time, amount_usd")
    world.build("--full-refresh")
    check(world)
    assert before == (
        marts(world),
        world.rows("transactions", "transaction_id, occurred_time, amount_usd"),
    )


@pytest.mark.builds("transactions")
def test_a_clearing_that_lands_later_takes_the_place_of_an_authorization_of_another_month(
    world: World,
) -> None:
    lists: list[list[Any]] = [["c"], [7], ["é" * 9000, None, "d"]]
    authorizations = [
        transaction(
            f"a{number}",
            transaction_type="AUTHORIZATION",
            occurred_time="2025-12-31T23:30:00Z",
            child_transaction_ids=names,
            currency="USD",
        )
        for number, names in enumerate(lists)
    ]
    world.day("2026-01-05", transactions=authorizations)
    clearings = [transaction(names[-1], currency="USD", amount_minor="1300") for names in lists]
    world.day("2026-01-06", transactions=clearings)
    spent = world.db.execute("select month, usd from marts.application_spend_monthly").fetchall()
    assert [(f"{row['month']:%Y-%m}", str(row["usd"])) for row in spent] == [("2026-01", "39.0000")]
    check(world)


@pytest.mark.builds("transactions")
@pytest.mark.parametrize(
    "part", ["--select=intermediate", "--exclude=silver", "--exclude=int_transactions_named"]
)
def test_a_part_built_by_hand_takes_in_no_spend_that_it_does_not_see(
    world: World, part: str
) -> None:
    world.day("2026-01-05", transactions=[transaction("a", currency="USD")])
    authorization = transaction(
        "b",
        transaction_type="AUTHORIZATION",
        occurred_time="2025-12-31T23:30:00Z",
        child_transaction_ids=["c"],
        currency="USD",
    )
    clearing = transaction("c", currency="USD")
    for day, landed in (("2026-01-06", authorization), ("2026-01-07", clearing)):
        world.land(day, transactions=[landed])
        refused = [one.message for one in world.dbt("run", part).result if one.status == "error"]
        assert len(refused) == 1
        assert "yet to take in stg_transactions of 2026-01-06" in refused[0]
    world.build()
    check(world)


@pytest.mark.builds("transactions")
def test_a_month_is_worked_out_again_until_its_names_were_looked_up(world: World) -> None:
    spent = [
        transaction(str(length), raw_merchant_name="x" * length)
        for length in (LONGEST_NAME, LONGEST_NAME + 1)
    ]
    looked_up = "select bool_and(is_looked_up) as all from intermediate.int_spend_monthly"
    world.day("2026-01-05", transactions=spent)
    assert world.db.execute(looked_up).fetchone() == {"all": False}
    match_names(None, flow_run_id="months")
    world.build()
    assert world.db.execute(looked_up).fetchone() == {"all": True}


@pytest.mark.builds("transactions")
def test_an_update_takes_its_spend_to_another_month(world: World) -> None:
    world.day("2026-01-05", transactions=[transaction("a"), transaction("b")])
    moved = transaction(
        "a", occurred_time="2026-03-01T00:00:00Z", updated_time="2026-01-06T00:00:00Z"
    )
    world.day("2026-01-06", transactions=[moved])
    assert world.ledger("2026-01-06", "transactions") == {"updated": 1}
    check(world)
    # an older record of another month moves nothing
    stale = transaction(
        "a", occurred_time="2026-02-01T00:00:00Z", updated_time="2026-01-01T00:00:00Z"
    )
    world.day("2026-01-07", transactions=[stale])
    assert world.ledger("2026-01-07", "transactions") == {"stale": 1}
    check(world)
    found = world.db.execute("select month::text, transactions from intermediate.int_spend_monthly")
    assert sorted(map(tuple, (row.values() for row in found))) == [
        ("2026-01-01", 1),
        ("2026-03-01", 1),
    ]
