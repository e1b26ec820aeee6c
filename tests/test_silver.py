"""The rules of silver, each on the smallest days that show it."""

from __future__ import annotations

import pytest

from loaders import landing
from loaders.days import parse_day
from tests.silver_world import KEY_OF, World, agent, group, transaction
from tests.watching import tuples, value

pytestmark = pytest.mark.builds("agents", "groups", "transactions")
BUSY_DAY = {
    "agents": [agent(1), agent(2, updated_at="2026-01-01T00:00:00Z"), agent("1e+9")],
    "agent_details": [agent(2, name="Detailed", role_ids=[5])],
    "groups": [group(10, [1, 2]), group(11, "nonsense"), group(12, [1], parent_group_id=10)],
    "group_memberships": [{"group_id": 11, "agent_id": 2}, {"group_id": 11, "agent_id": 99}],
    "transactions": [transaction("t1"), transaction("t2", currency="USD"), transaction("")],
}


LEDGER = "select * from metrics.row_ledger order by 1, 2, 3"


def row_versions(world: World) -> dict[str, list]:
    """Silver's rows by key, with the transaction that wrote them."""
    return {
        table: world.rows(table, f"{key}, xmin::text as written")
        for table, key in KEY_OF.items()
        if table != "agent_status_history"
    }


def test_the_same_day_twice_changes_nothing(world):
    world.day("day1", **BUSY_DAY)
    state, versions = world.state(), row_versions(world)
    assert len(tuples(world.db, LEDGER)) == 6
    world.day("day1", **BUSY_DAY)
    assert row_versions(world) == versions
    landing.land_day(world.folder, parse_day("day1"), force=True, allow_shrink=True)
    world.build(day="day1", flow_run_id="again")
    assert world.state() == state
    rows_written = (
        "select coalesce(sum(rows_inserted + rows_updated + rows_deleted), 0)"
        " from metrics.pipeline_metrics where flow_run_id = 'again'"
        " and task_name in ('agents', 'groups', 'group_memberships', 'transactions')"
    )
    assert value(world.db, rows_written) == 0


NEWER, OLDER = "2026-01-06T00:00:00Z", "2026-01-01T00:00:00Z"
# A key → its record in each day, and that record's outcome: day2 comes first, then day1, then day3.
WRITES = {
    "a newer one replaces, a stale one nothing": {
        "day2": ({"user_name": "stale", "updated_time": OLDER}, "stale"),
        "day1": ({"user_name": "first"}, "inserted"),
        "day3": ({"user_name": "last", "updated_time": NEWER}, "updated"),
    },
    "a stale one that comes last": {
        "day2": ({"user_name": "last", "updated_time": NEWER}, "inserted"),
        "day3": ({"user_name": "stale"}, "stale"),
    },
    "of equal ones the later day wins": {
        "day1": ({"user_name": "first"}, "inserted"),
        "day3": ({"user_name": "last"}, "updated"),
    },
    "of equal ones the later day wins, whatever comes first": {
        "day2": ({"user_name": "last"}, "updated"),
        "day1": ({"user_name": "first"}, "inserted"),
    },
    "a newer one that is not valid displaces nothing": {
        "day2": ({"user_name": "last"}, "inserted"),
        "day3": ({"amount_minor": "NaN", "updated_time": NEWER}, "quarantined"),
    },
}


@pytest.mark.builds("transactions")
def test_the_last_write_of_a_key_wins(world):
    for day in ("day2", "day1", "day3"):
        records = [(key, days[day][0]) for key, days in WRITES.items() if day in days]
        world.day(day, transactions=[transaction(key, **values) for key, values in records])
    names = {row["transaction_id"]: row["user_name"] for row in world.rows("transactions")}
    assert names == dict.fromkeys(WRITES, "last")
    records = world.db.execute("select * from intermediate.int_transactions_records").fetchall()
    for key, days in WRITES.items():
        outcomes = {r["_day"]: r["_outcome"] for r in records if r["transaction_id"] == key}
        assert outcomes == {parse_day(day).date: end for day, (_, end) in days.items()}, key
    assert world.reasons("transactions") == [("amount_minor_invalid",)]
    assert world.ledger("day3", "transactions") == {"updated": 2, "stale": 1, "quarantined": 1}


def test_a_duplicate_within_a_day_loses_to_the_last_write(world):
    later = "2026-01-06T00:00:00Z"
    world.day(
        "day1",
        agents=[agent(1, name="last", updated_at=later), agent(1, name="first")],
        groups=[group(10, name="first"), group(10, name="last")],
        transactions=[transaction("t", user_name="last", updated_time=later), transaction("t")],
    )
    for table, name in (("agents", "name"), ("groups", "name"), ("transactions", "user_name")):
        assert world.one(table)[name] == "last"
        assert world.ledger("day1", table) == {"inserted": 1, "duplicate": 1}


def test_a_full_refresh_ends_where_the_days_did(world):
    world.day("day1", **BUSY_DAY)
    world.day("day3", agents=[agent(2), agent(3)], groups=[group(10, [3])])
    world.day("day2", agents=[agent(1)], transactions=[transaction("t1", user_name="late")])
    before = world.state(), tuples(world.db, LEDGER)
    world.build("--full-refresh")
    assert before == (world.state(), tuples(world.db, LEDGER))


def test_a_dropped_table_is_built_again_from_all_that_landed(world):
    world.day("day1", **BUSY_DAY)
    state = world.state()
    world.db.execute("drop table silver.transactions cascade")
    world.build("--select", "tag:transactions")
    assert world.state() == state


@pytest.mark.builds("transactions")
def test_a_day_landed_again_takes_the_place_of_its_old_records(world):
    world.day("day1", transactions=[transaction("t", user_name="one"), transaction("gone")])
    newer = "2026-02-01T00:00:00Z"
    world.day("day2", transactions=[transaction("t", user_name="two", updated_time=newer)])
    world.day("day2", transactions=[transaction("t", user_name="stale", updated_time="2025-01-01")])
    assert world.one("transactions", where="transaction_id = 't'")["user_name"] == "one"
    world.day("day1", transactions=[transaction("t", user_name="one")])
    assert [row["transaction_id"] for row in world.rows("transactions")] == ["t"]


@pytest.mark.builds("groups")
def test_details_beat_the_list_and_presence_follows_the_newest_list(world):
    world.day(
        "day1",
        agents=[agent(1, name="listed", updated_at="2026-09-01"), agent(2)],
        agent_details=[agent(1, name="detailed"), agent(3, name="never listed")],
    )
    statuses = {row["agent_id"]: row["status"] for row in world.rows("agents")}
    assert statuses == {"1": "active", "2": "active", "3": "inactive"}
    assert world.one("agents", where="agent_id = '1'")["name"] == "detailed"
    world.day("day2", agents=[agent(1, deactivated="TRUE"), agent(4, contact_active="false")])
    rows = {row["agent_id"]: row for row in world.rows("agents")}
    # the record of agent_details still wins, and does not say deactivated
    assert [rows[key]["status"] for key in "1234"] == ["active", "inactive", "inactive", "inactive"]
    assert str(rows["2"]["last_seen_day"]) == "1970-01-02"
    history = world.rows("agent_status_history", "agent_id, sync_date::text, is_active")
    assert [tuple(row.values()) for row in history] == [
        *(("1", "1970-01-02", True), ("1", "1970-01-03", False)),
        *(("2", "1970-01-02", True), ("2", "1970-01-03", False)),
        *(("3", "1970-01-02", False), ("3", "1970-01-03", False)),
        ("4", "1970-01-03", False),
    ]


@pytest.mark.builds("groups")
def test_a_malformed_agent_is_not_absent(world):
    world.day("day1", agents=[agent(1), agent(2)])
    world.day("day2", agents=[agent(1, email=""), agent(2, created_at="03/04/2024")])
    assert [row["status"] for row in world.rows("agents")] == ["active", "active"]
    assert world.reasons("agents") == [("email_missing",), ("created_at_invalid",)]


@pytest.mark.builds("groups")
def test_an_emptied_group_loses_its_members_and_the_deletes_are_counted(world):
    world.day("day1", agents=[agent(1), agent(2)], groups=[group(10, [1, 2]), group(11, [1])])
    world.day("day2", agents=[agent(1), agent(2)], groups=[group(10, []), group(11, [1])])
    assert world.pairs() == [("11", "1")]
    assert world.one("group_activity", "inactive", "group_id = '10'")["inactive"]
    deleted = "select sum(rows_deleted) from metrics.pipeline_metrics where task_name = %s"
    assert value(world.db, deleted, ["group_memberships"]) == 2


MALFORMED = [
    *("nonsense", '{"1": 2}', '[1, ""]', "[null]", "[[1]]", "7"),
    *('["9.00101E+11"]', "[9.00101E+11]"),
]


@pytest.mark.builds("groups")
def test_a_malformed_list_leaves_memberships_and_no_list_says_nothing(world):
    world.day("day1", groups=[group(number, [1]) for number in range(10, 20)])
    lists = [group(number, text) for number, text in enumerate(MALFORMED, 10)]
    other, groups = "cn=5e11,ou=7", [*lists, group(18), group(19, "null")]
    groups.append(group(20, [other]))
    world.day("day2", agents=[agent(1), agent(other)], groups=groups)
    assert world.pairs() == [*((str(number), "1") for number in range(10, 20)), ("20", other)]
    assert world.reasons("group_memberships") == [("agent_ids_invalid",)] * len(MALFORMED)
    assert world.reasons("groups") == []


@pytest.mark.builds("groups")
def test_a_pair_that_names_an_unknown_agent_is_released_once_the_agent_is_known(world):
    world.day("day1", groups=[group(10, [1, 2])])
    assert world.pairs() == [("10", "1")]
    assert world.reasons("group_memberships") == [("unknown_agent",)]
    ledger = world.ledger("day1", "group_memberships", "stg_groups")
    assert ledger == {"inserted": 1, "quarantined": 1}
    world.land("day1", agents=[agent(1), agent(2)], groups=[group(10, [1, 2])])
    world.build(day="day1", flow_run_id="release")
    assert world.pairs() == [("10", "1"), ("10", "2")]
    assert world.reasons("group_memberships") == []
    released = "select sum(rows_released) from metrics.pipeline_metrics where flow_run_id = %s"
    assert value(world.db, released, ["release"]) == 1


@pytest.mark.builds("groups")
def test_an_agent_twice_in_a_list_counts_once(world):
    world.day(
        "day1", groups=[group(10, [1, 1, "1"])], group_memberships=[{"group_id": 10, "agent_id": 1}]
    )
    assert world.pairs() == [("10", "1")]
    ledger = world.ledger("day1", "group_memberships", "stg_groups")
    assert ledger == {"inserted": 1, "duplicate": 2}
    assert world.ledger("day1", "group_memberships", "stg_group_memberships") == {"duplicate": 1}


BAD_TRANSACTIONS = [
    ("amount_minor", "NaN", "amount_minor_invalid"),
    ("amount_minor", "Infinity", "amount_minor_invalid"),
    ("amount_minor", "12.5", "amount_minor_invalid"),
    ("amount_minor", "1e3", "amount_minor_invalid"),
    ("amount_minor", " 12", "amount_minor_invalid"),
    ("amount_minor", " ", "amount_minor_missing"),
    ("occurred_time", "today", "occurred_time_invalid"),
    ("occurred_time", "epoch", "occurred_time_invalid"),
    ("occurred_time", "infinity", "occurred_time_invalid"),
    ("occurred_time", "03/04/2024", "occurred_time_invalid"),
    ("occurred_time", "2026-02-30", "occurred_time_invalid"),
    ("occurred_time", "2026-01-05T24:30:00Z", "occurred_time_invalid"),
    ("occurred_time", "2026-01-05 10:00 PST", "occurred_time_invalid"),
    ("occurred_time", "1767607200", "occurred_time_invalid"),
    ("updated_time", "yesterday", "updated_time_invalid"),
    ("exponent", "9", "exponent_invalid"),
    ("exponent", "-1", "exponent_invalid"),
    ("exponent", "two", "exponent_invalid"),
    ("currency", "ABC", "currency_invalid"),
    ("currency", "usd", "currency_invalid"),
    ("currency", "", "currency_missing"),
    ("exchange_rate", "", "no_rate"),
    ("exchange_rate", "0", "no_rate"),
    ("exchange_rate", "-1.1", "no_rate"),
    ("child_transaction_ids", '{"a": 1}', "child_transaction_ids_invalid"),
    ("child_transaction_ids", "[", "child_transaction_ids_invalid"),
    ("child_transaction_ids", '[{"id": "t"}]', "child_transaction_ids_invalid"),
    ("transaction_id", "", "transaction_id_missing"),
    ("transaction_id", "é" * 1251, "transaction_id_invalid"),
    ("transaction_uuid", "\t", "transaction_uuid_missing"),
]
BAD_AGENTS = [
    ("agent_id", "9.00101E+11", "agent_id_invalid"),
    ("agent_id", "9,00101E+11", "agent_id_invalid"),
    ("agent_id", "#N/A", "agent_id_invalid"),
    ("agent_id", '{"id": 7}', "agent_id_invalid"),
    ("agent_id", "é" * 1251, "agent_id_invalid"),
    ("agent_id", "", "agent_id_missing"),
    ("email", "", "email_missing"),
    ("name", "  ", "name_missing"),
    ("available", "yes", "available_invalid"),
    ("deactivated", "1", "deactivated_invalid"),
    ("updated_at", "tomorrow", "updated_at_invalid"),
]


def test_every_bad_value_is_quarantined_with_its_reason(world):
    world.day(
        "day1",
        agents=[agent(1)] + [agent(2) | {column: value} for column, value, _ in BAD_AGENTS],
        transactions=[
            transaction(f"t{number}") | {column: value}
            for number, (column, value, _) in enumerate(BAD_TRANSACTIONS)
        ]
        + [transaction("two", amount_minor="x", currency="?")],
    )
    assert world.rows("transactions") == []
    assert world.reasons("transactions") == [(reason,) for *_, reason in BAD_TRANSACTIONS] + [
        ("amount_minor_invalid", "currency_invalid")
    ]
    assert world.reasons("agents") == [(reason,) for *_, reason in BAD_AGENTS]
    landed = "select amount_minor from quarantine.transactions where transaction_id = 't4'"
    assert value(world.db, landed) == " 12"


def test_times_are_utc_wherever_the_machine_stands(world, monkeypatch):
    world.day("day1", transactions=[transaction("t", occurred_time="2026-01-05 23:30:00")])
    before = world.rows("transactions", "occurred_time, fx_date, idempotency_key")
    world.db.execute("alter database daybook set timezone to 'Asia/Kolkata'")
    monkeypatch.setenv("PGTZ", "Asia/Kolkata")
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    world.build("--full-refresh")
    assert world.rows("transactions", "occurred_time, fx_date, idempotency_key") == before
    assert str(before[0]["fx_date"]) == "2026-01-05"


@pytest.mark.builds("groups")
def test_groups_recursively(world):
    world.day(
        "day1",
        agents=[agent(1), agent(2, deactivated="true")],
        groups=[
            group(1, [2]),
            group(2, [], parent_group_id=1),
            group(3, [1, 2], parent_group_id=2),
            group(4, [], parent_group_id=1),
            group(5, [1], parent_group_id=6),
            group(6, [], parent_group_id=7),
            group(7, [], parent_group_id=6),
            group(8, [], parent_group_id=8),
            group(9, [], parent_group_id=404),
            group(20, [], parent_group_id=21),
            group(21, [], parent_group_id=20),
            group(22, [], parent_group_id=20),
        ],
    )
    shown = {row["group_id"]: tuple(row.values())[3:] for row in world.rows("group_activity")}
    # inactive, active_members, active_children, depth, root_group_id, in_cycle
    assert shown == {
        "1": (False, 0, 1, 0, "1", False),
        "2": (False, 0, 1, 1, "1", False),
        "3": (False, 1, 0, 2, "1", False),
        "4": (True, 0, 0, 1, "1", False),
        "5": (False, 1, 0, None, None, False),
        "6": (False, 0, 2, None, None, True),
        "7": (False, 0, 1, None, None, True),
        "8": (True, 0, 0, None, None, True),
        "9": (True, 0, 0, 0, "9", False),
        "20": (True, 0, 0, None, None, True),
        "21": (True, 0, 0, None, None, True),
        "22": (True, 0, 0, None, None, False),
    }


@pytest.mark.builds("groups")
def test_a_chain_of_ten_thousand_groups(world):
    deep = [group(number, [], parent_group_id=number - 1) for number in range(1, 10_000)]
    world.day("day1", groups=[group(0, []), *deep, group(10_000, [1], parent_group_id=9_999)])
    figures = "max(depth), count(*) filter (where inactive), count(distinct root_group_id)"
    found = tuples(world.db, f"select {figures} from metrics.group_activity")
    assert found == [(10_000, 0, 1)]


def test_a_day_waits_until_each_required_table_has_landed(world):
    world.write("day1", transactions=[transaction("t")])
    landing.land_day(world.folder, parse_day("day1"), tables=["stg_transactions"])
    world.build()
    assert world.rows("transactions") == []
    landing.land_day(world.folder, parse_day("day1"), allow_empty=True)
    world.build()
    assert len(world.rows("transactions")) == 1


def test_views_of_readers_survive_builds_and_a_full_refresh(world):
    world.day("day1", **BUSY_DAY)
    world.db.execute("create schema mine")
    views = {name.split(".")[1]: name for name in ("metrics.row_ledger", "silver.agents")}
    views |= {"group_activity": "metrics.group_activity", "iso_4217": "intermediate.iso_4217"}
    for name, relation in views.items():
        world.db.execute(f"create view mine.{name} as select * from {relation}")
    world.day("day2", **BUSY_DAY)
    world.build("--full-refresh", "--select", "tag:groups", "iso_4217")
    for name in views:
        assert tuples(world.db, f"select * from mine.{name}"), name
