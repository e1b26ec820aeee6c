"""Which rate a transaction is converted with, and what happens when rates change."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.silver_world import World, transaction
from tests.watching import insert, tuples

pytestmark = pytest.mark.builds("transactions")


def set_reference(world: World, *rates: tuple[str, str, str]) -> None:
    """Makes these the whole reference history: (date, currency, US dollars for one unit)."""
    world.db.execute("truncate bronze.fx_reference, bronze.fx_reference_state")
    for row in rates:
        insert(world.db, "bronze.fx_reference", **rate(*row))
    state = {"version": "test", "newest_date": "2026-01-01", "rows": 1}
    insert(world.db, "bronze.fx_reference_state", **state)


def rate(day: str, currency: str, usd: str) -> dict[str, Any]:
    return {"rate_date": day, "currency": currency, "usd_per_unit": usd}


def used(world: World) -> dict[str, tuple[str, str, str]]:
    """Of each transaction: its rate, where that is from, and the date it is of."""
    columns = "transaction_id, exchange_rate::text, fx_source, fx_date::text"
    rows = tuples(world.db, f"select {columns} from silver.transactions")
    return {transaction_id: tuple(rate) for transaction_id, *rate in rows}


def test_the_newest_reference_of_seven_days_comes_first_then_the_payload(world):
    set_reference(world, ("2026-01-02", "EUR", "1.2"), ("2026-01-09", "EUR", "1.3"))
    world.day(
        "day1",
        transactions=[
            transaction("friday", occurred_time="2026-01-02T23:59:59Z"),
            transaction("weekend", occurred_time="2026-01-04T12:00:00Z"),
            transaction("seven", occurred_time="2026-01-16T00:00:00Z"),
            transaction("eight", occurred_time="2026-01-17T00:00:00Z"),
            transaction("before", occurred_time="2026-01-01T00:00:00Z"),
            transaction("offset", occurred_time="2026-01-02T00:30:00+02:00", exchange_rate="7"),
            transaction("unquoted", currency="AED", exchange_rate="0.27"),
            transaction("dollar", currency="USD", exchange_rate=""),
            transaction("none", occurred_time="2026-02-17T00:00:00Z", exchange_rate=""),
        ],
    )
    assert used(world) == {
        "friday": ("1.2", "reference", "2026-01-02"),
        "weekend": ("1.2", "reference", "2026-01-02"),
        "seven": ("1.3", "reference", "2026-01-09"),
        "eight": ("1.1", "payload", "2026-01-17"),
        "before": ("1.1", "payload", "2026-01-01"),
        "offset": ("7", "payload", "2026-01-01"),
        "unquoted": ("0.27", "payload", "2026-01-05"),
        "dollar": ("1", "usd", "2026-01-05"),
    }
    assert world.reasons("transactions") == [("no_rate",)]


def test_a_landed_rate_beats_the_reference_of_its_date_only(world):
    set_reference(world, ("2026-01-02", "EUR", "1.2"), ("2026-01-05", "EUR", "1.25"))
    world.day(
        "day1",
        transactions=[
            transaction("same", occurred_time="2026-01-02T12:00:00Z"),
            transaction("newer", occurred_time="2026-01-06T12:00:00Z"),
        ],
        fx_rates=[rate("2026-01-02", "EUR", "1.5"), rate("2026-01-03", "EUR", "0")],
    )
    assert used(world)["same"] == ("1.5", "reference", "2026-01-02")
    assert used(world)["newer"] == ("1.25", "reference", "2026-01-05")
    assert world.reasons("fx_rates") == [("usd_per_unit_invalid",)]


def test_a_corrected_rate_touches_only_the_rows_it_changes(world):
    set_reference(world, ("2026-01-02", "EUR", "1.2"), ("2026-01-12", "EUR", "1.3"))
    ids = {"first": "2026-01-02", "second": "2026-01-12"}
    world.day(
        "day1",
        transactions=[
            *(transaction(key, occurred_time=f"{day}T12:00:00Z") for key, day in ids.items()),
            transaction("dollar", currency="USD"),
            transaction("waiting", currency="GBP", exchange_rate=""),
        ],
    )
    before = {row["transaction_id"]: row for row in world.rows("transactions")}
    assert world.ledger("day1", "transactions") == {"inserted": 3, "quarantined": 1}
    rates = {"2026-01-02": ("EUR", "1.4"), "2026-01-12": ("EUR", "1.3")}
    rates["2026-01-05"] = ("GBP", "1.5")
    set_reference(world, *((day, *rate) for day, rate in rates.items()))
    world.build(flow_run_id="corrected")
    after = {row["transaction_id"]: row for row in world.rows("transactions")}
    assert used(world)["first"] == ("1.4", "reference", "2026-01-02")
    assert after["first"]["amount_usd"] == Decimal("17.5000")
    assert after["second"] == before["second"]
    assert after["dollar"] == before["dollar"]
    assert used(world)["waiting"] == ("1.5", "reference", "2026-01-05")
    assert world.reasons("transactions") == []
    counts = (
        "select sum(rows_rerated) as rerated, sum(rows_inserted + rows_updated) as written"
        " from metrics.pipeline_metrics"
        " where flow_run_id = 'corrected' and task_name = 'transactions'"
    )
    assert tuples(world.db, counts) == [(2, 0)]
    assert world.ledger("day1", "transactions") == {"inserted": 4}
    world.build(flow_run_id="again")
    again = {row["transaction_id"]: row for row in world.rows("transactions")}
    assert again == after


def test_a_rate_that_is_taken_back_sends_its_rows_to_quarantine(world):
    set_reference(world, ("2026-01-05", "EUR", "1.2"))
    world.day("day1", transactions=[transaction("t", exchange_rate=""), transaction("u")])
    set_reference(world)
    world.build()
    assert used(world) == {"u": ("1.1", "payload", "2026-01-05")}
    assert world.reasons("transactions") == [("no_rate",)]
    world.build()
    assert world.reasons("transactions") == [("no_rate",)]


def test_rates_and_days_in_any_order_end_in_one_state(world):
    set_reference(world, ("2026-01-05", "EUR", "1.2"))
    newer = transaction("t", updated_time="2026-01-07T00:00:00Z", exchange_rate="")
    world.day("day2", transactions=[newer], fx_rates=[rate("2026-01-05", "EUR", "1.7")])
    world.day("day1", transactions=[transaction("t"), transaction("u")])
    world.day("day3", fx_rates=[rate("2026-01-05", "EUR", "1.8")])
    state = world.state()
    assert set(used(world).values()) == {("1.8", "reference", "2026-01-05")}
    world.build("--full-refresh")
    assert world.state() == state


@pytest.mark.parametrize(
    ("priority", "source"), [("payload,reference", "payload"), ("reference,payload", "reference")]
)
def test_the_order_of_sources_is_a_setting(world, monkeypatch, priority, source):
    monkeypatch.setenv("DAYBOOK_FX_PRIORITY", priority)
    set_reference(world, ("2026-01-05", "EUR", "1.2"))
    world.day("day1", transactions=[transaction("t")])
    assert used(world)["t"][1] == source
    monkeypatch.delenv("DAYBOOK_FX_PRIORITY")
    # the rates change together with the declaration: the table of records lacks a column
    world.db.execute("alter table intermediate.int_transactions_records drop card_id cascade")
    world.build()
    assert used(world)["t"][1] == "reference"
