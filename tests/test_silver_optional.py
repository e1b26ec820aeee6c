"""The optional entities: roles and who held them, budgets, cards."""

from __future__ import annotations

from typing import Any

import pytest

from tests.silver_world import World, agent
from tests.watching import column, tuples, value

pytestmark = pytest.mark.builds("roles", "budgets", "cards")


def detail(agent_id: int, role_ids: Any) -> dict[str, Any]:
    return agent(agent_id, role_ids=role_ids)


def events(world: World) -> list[tuple[Any, ...]]:
    query = (
        "select agent_id, role_id, day - date '1970-01-01' as day, action"
        " from silver.agent_role_history order by 1, 3, 2, 4"
    )
    return tuples(world.db, query)


def held(world: World) -> list[tuple[Any, ...]]:
    query = (
        "select agent_id, role_id, status, assigned_on - date '1970-01-01' as assigned,"
        " removed_on - date '1970-01-01' as removed from silver.agent_roles order by 1, 2"
    )
    return tuples(world.db, query)


LISTS = {"day1": [5, 6], "day2": [5], "day3": None, "day4": ["6", 5], "day5": []}
EVENTS = [
    ("1", "5", 1, "assigned"),
    ("1", "6", 1, "assigned"),
    ("1", "6", 2, "removed"),
    ("1", "6", 4, "assigned"),
    ("1", "5", 5, "removed"),
    ("1", "6", 5, "removed"),
]
HELD = [("1", "5", "removed", 1, 5), ("1", "6", "removed", 4, 5)]


def test_roles_are_assigned_removed_and_assigned_again(world):
    for day, role_ids in LISTS.items():
        world.land(day, agent_details=[detail(1, role_ids)])
    world.build()
    assert events(world) == EVENTS
    assert held(world) == HELD


def test_role_history_does_not_depend_on_the_order_of_days(world):
    for day in ("day4", "day1", "day5", "day3", "day2", "day1"):
        world.day(day, agent_details=[detail(1, LISTS[day])])
    assert events(world) == EVENTS
    world.build("--full-refresh")
    assert events(world) == EVENTS
    assert held(world) == HELD


def test_a_list_with_what_is_no_id_is_quarantined_and_changes_no_roles(world):
    unreadable = [detail(1, [5, None]), detail(2, [{"id": 5}]), detail(3, 5), detail(4, "[5E+11]")]
    world.land("day1", agent_details=[detail(number, [5]) for number in (1, 2, 3, 4)])
    world.land("day2", agent_details=unreadable)
    world.land("day3", agent_details=[detail(1, []), detail(2, [5]), detail(3, [])])
    world.build()
    assert world.reasons("agents") == [("role_ids_invalid",)] * 4
    assert held(world) == [
        ("1", "5", "removed", 1, 3),
        ("2", "5", "assigned", 1, None),
        ("3", "5", "removed", 1, 3),
        ("4", "5", "assigned", 1, None),
    ]


def test_a_day_landed_again_takes_its_roles_back(world):
    world.day("day1", agent_details=[detail(1, [5]), detail(2, [5])])
    world.day("day2", agent_details=[detail(1, [5, 6]), detail(2, [7])])
    world.day("day2", agent_details=[detail(1, [5])])
    assert events(world) == [("1", "5", 1, "assigned"), ("2", "5", 1, "assigned")]


def test_what_is_said_of_a_role_leads_to_the_record_that_says_so(world):
    records = (
        "select role_id, roles._day - date '1970-01-01' as day, landed.role_ids"
        " from silver.agent_roles as roles join bronze.stg_agent_details as landed"
        " using (agent_id, _day, _batch_id, _source_file, _source_row) order by 1"
    )
    for day, role_ids in (("day1", [5, 6]), ("day2", [5]), ("day3", [5])):
        world.day(day, agent_details=[detail(1, role_ids)])
    assert tuples(world.db, records) == [("5", 1, "[5, 6]"), ("6", 2, "[5]")]
    # written again only where the record is another
    times = "select _updated_at from silver.agent_roles order by role_id"
    before = column(world.db, times)
    world.day("day2", agent_details=[detail(2, []), detail(1, [5])])
    assert tuples(world.db, records) == [("5", 1, "[5, 6]"), ("6", 2, "[5]")]
    after = column(world.db, times)
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False]


def test_budgets_and_cards_keep_their_newest_valid_record(world):
    card = {"status": "active", "type": "virtual", "created_time": "2026-01-01T00:00:00Z"}
    world.day(
        "day1",
        budgets=[
            {"budget_id": "b1", "name": "no limit"},
            {"budget_id": "b2", "name": "zero", "limit_amount": "0"},
            {"budget_id": "b3", "name": "below zero", "limit_amount": "-0.01"},
            {"budget_id": "b4", "name": "not a number", "limit_amount": "NaN"},
            {"budget_id": "b5"},
            {"budget_id": "b" * 2501, "name": "no key holds it"},
        ],
        cards=[
            {"card_id": "c1", "last_four": "0042"} | card,
            {"card_id": "c2"},
            {"card_id": "c" * 2501} | card,
        ],
        roles=[{"role_id": "7", "name": "Admin"}, {"role_id": "7e+1", "name": "Admin"}],
    )
    world.day("day2", budgets=[{"budget_id": "b1", "name": "renamed"}])
    names = column(world.db, "select name from silver.budgets order by budget_id")
    assert names == ["renamed", "zero"]
    reasons = ["limit_amount_invalid", "limit_amount_invalid", "name_missing", "budget_id_invalid"]
    assert world.reasons("budgets") == [(reason,) for reason in reasons]
    assert value(world.db, "select last_four from silver.cards") == "0042"
    assert world.reasons("cards") == [
        ("status_missing", "type_missing", "created_time_missing"),
        ("card_id_invalid",),
    ]
    assert world.ledger("day1", "roles") == {"inserted": 1, "quarantined": 1}
    assert world.ledger("day2", "budgets") == {"updated": 1}


def test_an_earlier_day_brings_a_column_that_the_table_lacks(world):
    """And one that no model has any more stays away."""
    first, second = ({"budget_id": "b1", "name": "Travel", "limit_amount": n} for n in "12")
    world.day("day1", budgets=[first])
    world.day("day2", budgets=[second])
    world.db.execute("alter table intermediate.int_budgets_records drop column timezone cascade")
    world.db.execute("alter table intermediate.int_budgets_records add column former text")
    world.day("day1", budgets=[first | {"timezone": "UTC"}])
    records = "select timezone, _outcome from intermediate.int_budgets_records order by _day"
    assert tuples(world.db, records) == [("UTC", "inserted"), (None, "updated")]
