"""Transactions by month: partitions of silver, and marts that work out only what changed."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loaders.days import parse_day
from loaders.match import LONGEST_NAME, match_names
from tests.silver_world import World, transaction

MARTS = ("application_spend_monthly", "spend_by_group_monthly", "unused_access")
# The view reads all transactions: what it adds up to is what the marts must say.
WHOLE = """
    select month, application, user_id, user_name, sum(usd) as usd,
        count(*) filter (where counts) as transactions
    from intermediate.int_spend
    group by month, application, user_id, user_name
"""
KEPT = "select month, application, user_id, user_name, usd, transactions"


def months(world: World) -> list[str]:
    found = world.db.execute(
        "select relid::regclass::text as name from pg_partition_tree('silver.transactions')"
        " where isleaf order by 1"
    )
    return [row["name"].removeprefix("silver.transactions") for row in found]


def check(world: World) -> None:
    kept, whole = f"{KEPT} from intermediate.int_spend_monthly", WHOLE
    for one, other in ((kept, whole), (whole, kept)):
        assert world.db.execute(f"({one}) except ({other})").fetchall() == []
    places = world.db.execute("select count(*) as n from intermediate.int_transaction_keys")
    assert (
        places.fetchone()
        == world.db.execute(
            "select count(*) as n from silver.transactions join intermediate.int_transaction_keys"
            " using (transaction_id, occurred_time)"
        ).fetchone()
    )


def marts(world: World) -> list[list[dict[str, Any]]]:
    return [
        world.db.execute(f"select * from marts.{name} order by 1, 2").fetchall() for name in MARTS
    ]


@pytest.fixture(params=["", "month"])
def partitions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DAYBOOK_PARTITION_TRANSACTIONS", request.param)
    return request.param


def test_days_in_any_order_leave_marts_that_a_full_refresh_confirms(
    world: World, partitions: str
) -> None:
    roll = random.Random(11)
    start = datetime(2025, 11, 3, tzinfo=UTC)
    days: dict[str, list[dict[str, Any]]] = {}
    known: list[dict[str, Any]] = []
    for number in range(4):
        updated = start + timedelta(days=number)
        rows = []
        for _ in range(12):
            row = transaction(
                f"t{len(known)}",
                transaction_type=roll.choice(["AUTHORIZATION", "CLEARING", "REFUND", "DECLINE"]),
                occurred_time=(start - timedelta(days=roll.randint(0, 100))).isoformat(),
                updated_time=updated.isoformat(),
                user_id=f"u{roll.randint(1, 4)}",
                user_name=f"Agent {roll.randint(1, 4)}",
                raw_merchant_name=roll.choice(["NOTION LABS INC", "SLACK T0123", "CORNER 12"]),
                child_transaction_ids=[f"t{roll.randint(0, 48)}"],
            )
            known.append(row)
            rows.append(row)
        for row in roll.sample(known, 4):
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
    assert (len(months(world)) > 3) == bool(partitions)


@pytest.mark.parametrize("names", [["c"], [7], ["é" * 9000, None, "c"]])
def test_a_clearing_that_lands_later_takes_the_place_of_an_authorization_of_another_month(
    world: World, partitions: str, names: list[Any]
) -> None:
    held = transaction(
        "a",
        transaction_type="AUTHORIZATION",
        occurred_time="2025-12-31T23:30:00Z",
        child_transaction_ids=names,
        currency="USD",
    )
    world.day("2026-01-05", transactions=[held])
    clearing = transaction(names[-1], currency="USD", amount_minor="1300")
    world.day("2026-01-06", transactions=[clearing])
    spent = world.db.execute("select month, usd from marts.application_spend_monthly").fetchall()
    assert [(f"{row['month']:%Y-%m}", str(row["usd"])) for row in spent] == [("2026-01", "13.0000")]
    check(world)


def test_a_warehouse_that_has_not_kept_what_authorizations_name_learns_it(world: World) -> None:
    held = transaction("a", transaction_type="AUTHORIZATION", child_transaction_ids=["c"])
    world.day("2026-01-05", transactions=[held])
    kept = "select transaction_id, month::text from intermediate.named_in_authorizations"
    before = world.db.execute(kept).fetchall()
    world.db.execute("drop table intermediate.named_in_authorizations")
    world.day("2026-01-06", transactions=[transaction("b")])
    assert world.db.execute(kept).fetchall() == before != []
    check(world)


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


def test_an_update_takes_its_row_to_another_month(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBOOK_PARTITION_TRANSACTIONS", "month")
    world.day("2026-01-05", transactions=[transaction("a"), transaction("b")])
    moved = transaction(
        "a", occurred_time="2026-03-01T00:00:00Z", updated_time="2026-01-06T00:00:00Z"
    )
    world.day("2026-01-06", transactions=[moved])
    assert world.ledger("2026-01-06", "transactions") == {"updated": 1}
    # an older record of another month moves nothing
    stale = transaction(
        "a", occurred_time="2026-02-01T00:00:00Z", updated_time="2026-01-01T00:00:00Z"
    )
    world.day("2026-01-07", transactions=[stale])
    assert world.ledger("2026-01-07", "transactions") == {"stale": 1}
    found = world.db.execute(
        "select tableoid::regclass::text as at, transaction_id from silver.transactions order by 2"
    ).fetchall()
    assert [(row["at"].rpartition("_p")[2], row["transaction_id"]) for row in found] == [
        ("202603", "a"),
        ("202601", "b"),
    ]


def test_a_day_reads_only_the_months_that_it_needs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBOOK_PARTITION_TRANSACTIONS", "month")
    history = [
        transaction(f"h{month}-{n}", occurred_time=f"2025-{month:02}-10T00:00:00Z")
        for month in range(1, 13)
        for n in range(500)
    ]
    world.day("2026-01-05", transactions=history)
    # of so few rows Postgres would read them all
    for way in ("seqscan", "hashjoin", "mergejoin"):
        world.db.execute(f"alter database {world.db.info.dbname} set enable_{way} = off")
    world.db.execute("select pg_stat_reset()")
    world.day("2026-01-06", transactions=[transaction("n"), history[-1] | {"amount_minor": "9"}])
    world.db.execute("select pg_stat_force_next_flush()")
    read = world.db.execute(
        "select right(relname, 6) as month, seq_tup_read + coalesce(idx_tup_fetch, 0) as rows"
        " from pg_stat_user_tables"
        " where schemaname = 'silver' and relname like 'transactions_p2025%' order by 1"
    ).fetchall()
    # the 90 days begin in October, and December is added up again for what changed in it
    assert [row["rows"] for row in read if row["month"] not in ("202510", "202512")] == [0] * 10, (
        read
    )


def test_changing_over_to_months_and_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.day("2026-01-05", transactions=[transaction("a"), transaction("b")])
    before = world.state()
    for setting in ("month", "month", ""):
        monkeypatch.setenv("DAYBOOK_PARTITION_TRANSACTIONS", setting)
        world.db.execute("drop table silver.transactions cascade")
        world.build("--full-refresh")
        check(world)
        assert world.state() == before
        assert bool(months(world)) == bool(setting)


def test_the_setting_takes_no_other_word(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBOOK_PARTITION_TRANSACTIONS", "week")
    with pytest.raises(AssertionError, match="DAYBOOK_PARTITION_TRANSACTIONS is month, or not set"):
        world.day("day1", transactions=[transaction("a")])
