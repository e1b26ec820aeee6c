"""How landed texts are typed, seen in silver."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest

from tests.silver_world import agent, group, transaction
from tests.watching import column, tuples, value

pytestmark = pytest.mark.builds("transactions")


def test_only_whitespace_is_no_text(world):
    first = [chr(code) for code in (*range(1, 128), 0x85, 0xA0, 0xE9, 0x2007, 0x3000, 0x1F600)]
    names = [character + end for character in first for end in ("", "x", " ")]
    world.day(
        "day1",
        transactions=[
            transaction(f"t{number:03}", user_name=name) for number, name in enumerate(names)
        ],
    )
    blank = re.compile(r"[\t-\r \x85\xa0\u2007\u3000]*")
    assert [row["user_name"] for row in world.rows("transactions", "user_name")] == [
        None if blank.fullmatch(name) else name for name in names
    ]


def test_money_is_exact_and_rounds_half_away_from_zero(world):
    world.day(
        "day1",
        transactions=[
            transaction("a", amount_minor="5", exponent="4", exchange_rate="0.1"),
            transaction("b", amount_minor="-5", exponent="4", exchange_rate="0.1"),
            transaction("c", amount_minor="123456789012345678901234", exponent="0", currency="USD"),
            transaction("d", amount_minor="+5", exponent="+4", exchange_rate="+0.1"),
        ],
    )
    money = world.rows("transactions", "amount_usd::text, original_amount::text, fx_source")
    assert [tuple(row.values()) for row in money] == [
        ("0.0001", "0.0005", "payload"),
        ("-0.0001", "-0.0005", "payload"),
        ("123456789012345678901234.0000", "123456789012345678901234", "usd"),
        ("0.0001", "0.0005", "payload"),
    ]


@pytest.mark.builds("transactions", "budgets")
def test_whole_floats_and_midnights_are_integers_and_dates(world):
    exponents = {"2.0": 2, "3.00": 3, "2.5": None, "2.": None, "1e0": None}
    starts = {
        "2026-01-05": "2026-01-05",
        "2026-01-05T00:00:00Z": "2026-01-05",
        "2026-01-05 00:00:00.000": "2026-01-05",
        "2026-01-05T00:00:01": None,
        "2026-02-30 00:00": None,
    }
    world.day(
        "day1",
        transactions=[transaction(text, exponent=text) for text in exponents],
        budgets=[{"budget_id": text, "name": "B", "start_date": text} for text in starts],
    )
    read = world.rows("transactions", "transaction_id, exponent")
    # of an id too a whole number loses its .0
    assert {row["transaction_id"]: row["exponent"] for row in read} == {"2": 2, "3": 3}
    assert world.reasons("transactions") == [("exponent_invalid",)] * 3
    dates = dict(tuples(world.db, "select budget_id, start_date::text from silver.budgets"))
    assert dates == {text: date for text, date in starts.items() if date}


def test_ids_are_text_normalised_by_one_rule(world):
    landed = ["9001.0", " 9002", "+9003", "0007", "u-9", "12e5", "AB CD", "-5"]
    landed += ["9.00101E+11", "9.00101E8"]  # a spreadsheet's, and Java's
    world.day(
        "2026-01-05",
        transactions=[transaction("x") | {"transaction_id": landed_id} for landed_id in landed],
    )
    assert [row["transaction_id"] for row in world.rows("transactions", "transaction_id")] == [
        *("-5", "0007", "12e5", "9001", "9002", "9003", "AB CD", "u-9")
    ]
    assert world.reasons("transactions") == [("transaction_id_invalid",)] * 2


def test_moments_are_those_of_rfc_3339_in_years_1_to_9999(world):
    moments = {
        "2026-01-05t10:00:00z": "2026-01-05 10:00:00+00",
        "2026-01-05 10:00:00 UTC": "2026-01-05 10:00:00+00",
        "2026-01-05T10:00:00 +0530": "2026-01-05 04:30:00+00",
        "2026-01-05T10:00:00.1234569Z": "2026-01-05 10:00:00.123456+00",
        "9999-12-31T23:59:59Z": "9999-12-31 23:59:59+00",
        "9999-12-31T23:59:59-01:00": None,
        "0001-01-01T00:00:00+01:00": None,
        "2026-01-05T10:00:00 PST": None,
    }
    rows = [
        transaction(f"t{number}", occurred_time=moment, currency="USD")
        for number, moment in enumerate(moments)
    ]
    world.day("2026-01-05", transactions=rows)
    found = world.rows("transactions", "transaction_id, occurred_time::text as at")
    assert {row["transaction_id"]: row["at"] for row in found} == {
        f"t{number}": at for number, at in enumerate(moments.values()) if at
    }


def test_parallel_workers_type_what_a_build_runs(world):
    world.land("2026-01-05", transactions=[transaction(f"t{number}") for number in range(500)])
    compiled = world.dbt("compile", "--select", "int_transactions_records", day="2026-01-05")
    (records,) = (run.node for run in compiled.result if run.node.resource_type == "model")
    # so that a few rows are worth a worker
    world.db.execute("set parallel_setup_cost = 0; set parallel_tuple_cost = 0")
    world.db.execute("alter table bronze.stg_transactions_p20260105 set (parallel_workers = 2)")
    query = f"explain (format json) create temporary table typed as {records.compiled_code}"
    (plan,) = value(world.db, query)
    (gathered,) = (
        node
        for node in nodes(plan["Plan"])
        if node["Node Type"].startswith("Gather")
        and any(below.get("Relation Name", "").startswith("stg_") for below in nodes(node))
    )
    assert {"typed", "checked"} <= {node.get("Alias") for node in nodes(gathered)}


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """A node of a plan and all below it."""
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]


@pytest.mark.builds("groups", "transactions", "marts")
def test_no_value_is_too_much_for_a_later_build(world):
    random = "".join(hashlib.sha256(bytes([number])).hexdigest() for number in range(80))
    deep = "[" * 25_000 + "]" * 25_000
    many = json.dumps(['"[{'] * 2_000)
    transactions = [
        transaction("a", user_id=random[:900], user_name=random[:399], child_transaction_ids=many),
        transaction("b", user_id=random[:900], user_name=random, child_transaction_ids="[]"),
        transaction("c", user_id=random[:1001], child_transaction_ids=deep),
    ]
    groups = [group(random[:1000], ["1"]), group("g", deep)]
    world.day("day1", agents=[agent(1)], groups=groups, transactions=transactions)
    held = world.rows("transactions", "transaction_id")
    assert [row["transaction_id"] for row in held] == ["a", "b"]
    assert world.reasons("transactions") == [("user_id_invalid", "child_transaction_ids_invalid")]
    lengths = "select length(user_name) from intermediate.int_spend_monthly order by 1"
    assert column(world.db, lengths) == [399, None]
    assert [row["agent_ids"] for row in world.rows("groups", "agent_ids")].count(None) == 1
