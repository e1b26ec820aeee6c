"""The oracle that silver is compared with, against results worked out by hand."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal

import pytest

from tests.fold import expected_state
from tests.fold_records import Batch, Record
from tests.fold_types import PARSERS, list_of_ids

DAY1, DAY2 = date(1970, 1, 2), date(1970, 1, 3)
T1, T2 = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def agent(key, **more):
    return {"agent_id": key, "email": "a@example.com", "name": "A", **more}


def bought(key, **more):
    plain = {"transaction_uuid": "u", "occurred_time": T1, "amount_minor": "1050", "exponent": "2"}
    return {"transaction_id": key, "currency": "USD", **plain, **more}


def landed(**days):
    """`day1={"stg_agents": [...]}`: required tables are there, empty unless given."""
    batches = {}
    for name, tables in days.items():
        day = date(1970, 1, 1 + int(name[3:]))
        required = {"stg_agents": [], "stg_groups": [], "stg_transactions": []}
        for table, rows in (required | tables).items():
            batches[table, day] = Batch(table, day, {f"{table[4:]}.csv": rows})
    return batches


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("id", " 9007199254740993.0", "9007199254740993"),
        ("id", "+0012", "0012"),
        ("id", "u-9", "u-9"),
        ("integer_of_any_size", "1" * 40, Decimal("1" * 40)),
        ("integer_of_any_size", "+1250", Decimal(1250)),
        ("numeric", "1.10", Decimal("1.1")),
        ("numeric", "6.5e-3", Decimal("0.0065")),
        ("boolean", "TRUE", True),
        ("exponent", "8", 8),
    ],
)
def test_reads(kind, text, value):
    assert PARSERS[kind](text) == (value, True)


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("id", "9.00101E+11|9,00101E+11|9.00101E8|1e-3|-2E+5"),
        ("id", "#N/A| #REF! |#DIV/0!|#NAME?|#NV|#WERT!"),
        ("id", '[]|[7]| {"id": 7}|{}|\u00a0[7]'),
        ("children", '[{"id": 7}]|[true]|[[7]]|7'),
        ("integer_of_any_size", "1.5|1e3|NaN"),
        ("numeric", "NaN|Infinity|.5|5.|1,5|0x10|1_000"),
        ("boolean", "yes|1|t|true "),
        ("exponent", "9|-1|2.5"),
        (
            "timestamptz",
            "today|now|epoch|infinity|03/04/2024|2026-02-30|2026-01-05T24:00|2026-01-05T08:00:60Z"
            "|2026-01-05T08|2026-01-05T08:00+05:|20260105| 2026-01-05",
        ),
        ("array", "oops|{}|1|[1|NaN|[NaN]"),
    ],
)
def test_refuses(kind, texts):
    assert [text for text in texts.split("|") if PARSERS[kind](text)[1]] == []


def test_one_moment_has_many_spellings():
    spellings = "2026-01-05|2026-01-05T00:00|2026-01-05 00:00:00.000Z|2026-01-05T05:30+05:30"
    spellings += "|2026-01-05T05:30:00+0530|2026-01-04T23:00-01"
    assert len({PARSERS["timestamptz"](text) for text in spellings.split("|")}) == 1


def test_lists_of_ids():
    assert list_of_ids('[1, "2", 1.0, "x"]') == ["1", "2", "1", "x"]
    assert list_of_ids("[]") == []
    malformed = (None, " ", "null", "oops", '{"a": 1}', '[1, " "]', "[true]", "[null]")
    assert {list_of_ids(text) for text in malformed} == {None}


def test_every_reason():
    record = Record("stg_transactions", DAY1, "f", 1, bought(" ", exponent="9", currency="XQQ"))
    assert record.errors == {"transaction_id_missing", "exponent_invalid", "currency_invalid"}
    spent = [bought("a", currency="EUR", exchange_rate="0"), bought("b", currency=None)]
    quarantine = expected_state(landed(day1={"stg_transactions": spent})).quarantine("transactions")
    assert list(quarantine.values()) == [{"no_rate"}, {"currency_missing"}]


def test_money():
    spent = [
        bought("a"),
        bought("b", amount_minor="-1", currency="EUR", exchange_rate="0.005"),
        bought("c", amount_minor="12", exponent="0", currency="JPY", exchange_rate="6.5e-3"),
    ]
    rows = expected_state(landed(day1={"stg_transactions": spent})).transactions
    amounts = [row["amount_usd"] for row in rows.values()]
    assert amounts == [Decimal("10.5"), Decimal("-0.0001"), Decimal("0.078")]
    # sha256 of a, u, 2026-01-01T00:00:00.000000Z, 10.5 and USD, by sha256sum
    assert rows["a"]["idempotency_key"] == (
        "91c5fc91395227fac90058b43f67d658ab748960a36ed5cfcce9c37911b3e02a"
    )


def test_a_landed_rate_beats_the_payload_for_seven_days():
    rates = [{"rate_date": "2025-12-25", "currency": "EUR", "usd_per_unit": "1.25"}]
    euro = {"currency": "EUR", "exchange_rate": "1.5"}
    spent = [bought("a", **euro), bought("b", **euro, occurred_time=T2)]
    day = landed(day1={"stg_transactions": spent, "stg_fx_rates": rates})
    rows = expected_state(day).transactions.values()
    found = [(row["fx_source"], row["amount_usd"], row["fx_date"].day) for row in rows]
    assert found == [("reference", Decimal("13.125"), 25), ("payload", Decimal("15.75"), 2)]


def test_last_write_wins_whatever_arrives_first():
    newer = {"stg_agents": [agent("1", job_title="newer", updated_at=T2)]}
    older = {"stg_agents": [agent("1", job_title="older", updated_at=T1), agent("1")]}
    state = expected_state(landed(day1=newer, day2=older))
    assert state.agents["1"]["job_title"] == "newer"
    assert state.agents["1"]["last_seen_day"] == DAY2
    assert state.ledger[DAY1, "stg_agents", "agents"] == {"inserted": 1}
    assert state.ledger[DAY2, "stg_agents", "agents"] == {"stale": 1, "duplicate": 1}


def test_details_beat_the_list_and_a_malformed_agent_is_not_absent():
    listed = [agent("1", deactivated="true", updated_at=T2), agent("2", available="maybe")]
    details = [agent("1", updated_at=T1), agent("2"), agent("3")]
    state = expected_state(landed(day1={"stg_agents": listed, "stg_agent_details": details}))
    statuses = {key: row["status"] for key, row in state.agents.items()}
    assert statuses == {"1": "active", "2": "active", "3": "inactive"}
    assert state.history == {("1", DAY1): True, ("2", DAY1): True, ("3", DAY1): False}
    assert state.quarantine("agents") == {(DAY1, "agents.csv", 2): {"available_invalid"}}


def test_memberships_wait_for_their_agent_and_follow_the_newest_readable_list():
    def groups(lists: dict[str, str]) -> list[dict[str, str]]:
        return [{"group_id": key, "agent_ids": ids} for key, ids in lists.items()]

    lists = {"10": "[1, 1, 2]", "11": "[1]"}
    day1 = landed(day1={"stg_agents": [agent("1")], "stg_groups": groups(lists)})
    agents = [agent("1"), agent("2")]
    second = {"stg_agents": agents, "stg_groups": groups({"10": "oops"})}
    state = expected_state(day1)
    assert state.memberships == {("10", "1"), ("11", "1")}
    assert state.waiting == {("10", "2"): {"unknown_agent"}}
    ledger = state.ledger[DAY1, "stg_groups", "group_memberships"]
    assert ledger == {"inserted": 2, "duplicate": 1, "quarantined": 1}
    state = expected_state(day1 | landed(day2=second))
    assert state.memberships == {("10", "1"), ("10", "2")}
    assert state.waiting == {}
    assert [*state.quarantine("group_memberships").values()] == [{"agent_ids_invalid"}]


def test_a_cycle_has_no_depth_and_a_chain_is_active_through_its_end():
    tree = {"10": None, "11": "10", "12": "11", "20": "21", "21": "20", "22": "21", "30": "30"}
    groups = [{"group_id": group, "parent_group_id": up} for group, up in tree.items()]
    groups += [{"group_id": "40", "parent_group_id": "99"}]
    members = [{"group_id": "12", "agent_id": "1"}, {"group_id": "22", "agent_id": "1"}]
    tables = {"stg_groups": groups, "stg_group_memberships": members}
    activity = expected_state(landed(day1={"stg_agents": [agent("1")], **tables})).activity
    assert {group for group, row in activity.items() if row["inactive"]} == {"30", "40"}
    assert {group for group, row in activity.items() if row["in_cycle"]} == {"20", "21", "30"}
    depths = {group: row["depth"] for group, row in activity.items()}
    assert depths == dict.fromkeys(tree) | {"10": 0, "11": 1, "12": 2, "40": 0}
    assert activity["10"]["active_children"] == 1
    assert activity["12"]["root_group_id"] == "10"


def test_a_day_landed_again_takes_the_place_of_what_it_said():
    one = landed(day1={"stg_agents": [agent("1", job_title="was")]})
    again = one | landed(day1={"stg_agents": [agent("1", job_title="is"), agent("2")]})
    state = expected_state(again)
    assert state.agents["1"]["job_title"] == "is"
    assert state.ledger[DAY1, "stg_agents", "agents"] == Counter(inserted=2)


def test_a_day_without_a_required_table_is_not_applied():
    day = landed(day1={"stg_agents": [agent("1")]})
    del day["stg_groups", DAY1]
    assert expected_state(day).agents == {}
