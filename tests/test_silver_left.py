"""The build after a day that ended early, landed again in part, or whose landed rows expired."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from loaders import landing, retention
from loaders.days import parse_day
from loaders.errors import DaybookError
from loaders.match import match_names
from tests.silver_world import World, agent, group, transaction
from tests.test_silver_optional import detail, events, held
from tests.watching import column, tuples, value

OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


def amount(world: World, transaction_id: str) -> Any:
    one = world.one("transactions", "amount_minor", f"transaction_id = '{transaction_id}'")
    return one["amount_minor"]


def land_in_part(world: World, day: str, **tables: Any) -> None:
    """Land a day again, whose transactions fail."""
    world.write(day, **tables)
    (world.folder / day / "transactions.csv").write_bytes(b"transaction_id,amount_minor\nt1\n")
    with pytest.raises(DaybookError):
        landing.land_day(world.folder, parse_day(day), allow_empty=True, allow_shrink=True)


@pytest.mark.builds("agents", "transactions")
@pytest.mark.parametrize("rates", [False, True])
def test_an_expired_record_stands_until_a_newer_one_comes(world, monkeypatch, rates):
    won = transaction("a", amount_minor="1", updated_time=NEW)
    late = transaction("a", amount_minor="999", updated_time=OLD)
    world.day("day1", agents=[agent(1, name="newest", updated_at=NEW)], transactions=[won])
    for day in ("day2", "day3"):
        world.land(day, agents=[agent(2)])
    world.build()
    world.day("day4", agents=[agent(2)], transactions=[late] if rates else [])
    retention.expire_days(1, flow_run_id="r")
    if rates:
        monkeypatch.setenv("DAYBOOK_FX_PRIORITY", "payload,reference")
        world.build()
    else:
        again = agent(1, name="stale", updated_at=OLD)
        world.day("day4", agents=[agent(2), again], transactions=[late])
    assert amount(world, "a") == 1
    assert world.one("agents", "name", "agent_id = '1'")["name"] == "newest"
    world.day("day5", transactions=[late | {"updated_time": "2026-03-01T00:00:00Z"}])
    assert amount(world, "a") == 999


@pytest.mark.builds("transactions", "cards")
@pytest.mark.parametrize("order", [["day2", "day3"], ["day3", "day2"], []])
def test_a_value_that_came_back_and_went_leaves_the_one_between(world, order):
    def values(amount_minor: str, status: str) -> dict[str, Any]:
        card = {"card_id": 1, "status": status, "type": "physical", "created_time": OLD}
        return {"transactions": [transaction("a", amount_minor=amount_minor)], "cards": [card]}

    days = {"day2": values("2", "locked"), "day3": values("1", "active")}
    world.day("day1", **values("1", "active"))
    for day in order:
        world.day(day, **days[day])
    if not order:  # both in one build
        for day, tables in days.items():
            world.land(day, **tables)
        world.build()
    assert amount(world, "a") == 1
    world.day("day3")
    assert amount(world, "a") == 2
    assert value(world.db, "select status from silver.cards") == "locked"


@pytest.mark.builds("groups", "transactions")
def test_a_day_landed_again_in_part_leaves_silver_as_it_was(world):
    people, tree = [agent(1), agent(2)], [group(10, [1]), group(11, [])]
    members = [{"group_id": 11, "agent_id": 2}]
    tables = {"agents": people, "groups": tree}
    world.day("day1", **tables, group_memberships=[])
    newer = transaction("a", amount_minor="2", updated_time=NEW)
    world.day("day2", **tables, group_memberships=members, transactions=[newer])
    before = world.state()
    more = [*members, {"group_id": 10, "agent_id": 1}]
    land_in_part(world, "day2", agents=people, groups=[group(10, [2])], group_memberships=more)
    world.build()
    assert world.state() == before
    late = transaction("a", amount_minor="1", updated_time=OLD)
    world.day("day1", **tables, group_memberships=[], transactions=[late])
    assert amount(world, "a") == 2
    assert world.pairs() == [("10", "1"), ("11", "2")]


@pytest.mark.builds("agents")
def test_an_agent_missing_from_a_day_landed_again_was_last_seen_before_it(world):
    """Neither their status nor their winning record changes: they were off the list before, and the
    older day has the newer record."""
    listed, newer, older = [agent(1)], agent(2, updated_at=NEW), agent(2, updated_at=OLD)
    world.day("day1", agents=listed, agent_details=[agent(1), newer])
    world.day("day2", agents=listed, agent_details=[agent(1), older])
    world.day("day2", agents=listed, agent_details=[agent(1)])
    left = world.one("agents", "last_seen_day", "agent_id = '2'")
    assert left["last_seen_day"] == date(1970, 1, 2)


@pytest.mark.builds("agents", "roles")
def test_roles_of_a_day_that_was_built_for_agents_alone(world):
    world.day("day1", agent_details=[detail(1, [5]), detail(2, [5])])
    world.land("day2", agent_details=[detail(1, [6]), detail(2, [])])
    world.build("--select", "tag:agents", day="day2")
    world.build(day="day2")
    after = events(world), held(world)
    world.build("--full-refresh")
    assert after == (events(world), held(world))


@pytest.mark.builds("roles")
def test_roles_of_a_file_that_is_gone_from_its_day(world):
    world.day("day1", agent_details=[detail(1, [5])])
    world.day("day2", agent_details=[detail(1, [5, 6])])
    world.day("day2")
    assert events(world) == [("1", "5", 1, "assigned")]


def test_the_90_days_are_those_of_utc(world, monkeypatch):
    # Berlin's summer time begins in between
    times = ("2026-04-15T10:00:00Z", "2026-01-15T10:30:00Z")
    spent = [
        transaction(f"t{at}", occurred_time=at, currency="USD", user_name="Agent 1") for at in times
    ]
    world.land(
        "2026-04-15",
        agents=[agent(1, deactivated="true")],
        groups=[group(10, [1])],
        transactions=spent,
    )
    match_names(None, flow_run_id="left")
    monkeypatch.setenv("PGTZ", "Europe/Berlin")
    world.build()
    assert value(world.db, "select usd_last_90_days from marts.unused_access") == 25


@pytest.mark.builds("transactions")
def test_a_blank_raw_name_leaves_the_other_to_match(world):
    spent = transaction("a", raw_merchant_name="  ", merchant_name="NOTION LABS INC")
    world.land("2026-01-05", transactions=[spent])
    match_names(None, flow_run_id="left")
    world.build()
    found = "select application, is_looked_up from intermediate.int_spend_monthly"
    assert tuples(world.db, found) == [("Notion", True)]


@pytest.mark.builds("transactions", "budgets")
def test_no_number_is_too_large_for_a_build(world):
    world.day(
        "2026-01-05",
        transactions=[
            transaction("a", currency="AED", exchange_rate="1e131000", amount_minor="9" * 400),
            transaction("b", currency="USD", amount_minor="-" + "9" * 1001),
            transaction("c", currency="USD", amount_minor="9" * 1000),
        ],
        budgets=[
            {"budget_id": "b1", "name": "n", "limit_amount": "1e-16000", "spent_total": "1e999"},
            {"budget_id": "b2", "name": "n", "limit_amount": "1", "spent_total": "-1e131000"},
        ],
    )
    assert [row["transaction_id"] for row in world.rows("transactions")] == ["c"]
    assert world.reasons("transactions") == [("no_rate",), ("amount_minor_invalid",)]
    assert world.reasons("budgets") == [("spent_total_invalid",)]


@pytest.mark.builds("groups", "transactions")
def test_each_table_is_analysed_and_its_keys_are_in_the_collation_of_their_index(world):
    """Without either PostgreSQL reads the whole table for each row."""
    world.day("day1", groups=[group(10, [1])], transactions=[transaction("t")])
    tables = "relnamespace::regnamespace::text in ('intermediate', 'silver') and relkind = 'r'"
    rows = dict(tuples(world.db, f"select relname, reltuples from pg_class where {tables}"))
    for name in ("agents", "groups", "group_memberships", "transactions"):
        assert rows[name] > 0 and rows[f"int_{name}_records"] > 0
    other = (
        "select relname, attname from pg_attribute join pg_class on pg_class.oid = attrelid"
        " join pg_collation on pg_collation.oid = attcollation"
        f" where {tables} and collname <> 'C' and attname ~ '_id$'"
    )
    assert tuples(world.db, other) == []


@pytest.mark.builds("agents", "roles", "metrics")
def test_a_table_that_is_gone_from_a_day_has_no_line_in_its_ledger(world):
    world.day("day1", roles=[{"role_id": 1, "name": "Admin"}])
    assert world.ledger("day1", "roles") == {"inserted": 1}
    world.day("day1")
    tables = column(world.db, "select table_name from metrics.row_ledger")
    assert "stg_roles" not in tables and "stg_agents" in tables


@pytest.mark.builds("agents", "transactions")
def test_a_day_does_without_a_table_where_an_overlay_lets_it(world, monkeypatch):
    world.write("day1")
    (world.folder / "day1/transactions.csv").unlink()
    overlay = world.folder / "sources.yml"
    overlay.write_text("stg_transactions: {required: false}")
    monkeypatch.setenv("DAYBOOK_SOURCES", str(overlay))
    landing.land_day(world.folder, parse_day("day1"), allow_empty=True)
    world.build(day="day1")
    assert world.ledger("day1", "agents") == {"inserted": 1}
    world.day("day2", transactions=[transaction("t")])
    assert world.ledger("day2", "transactions") == {"inserted": 1}
