"""Each mart's totals against an independent computation, in pandas, from the raw files."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from loaders import landing
from loaders.days import parse_day
from loaders.match import match_names
from loaders.personal import personal
from tests.silver_world import World, agent, group, transaction
from tests.watching import column, tuples

SIGN = {"AUTHORIZATION": 1, "CLEARING": 1, "REFUND": -1}
MERCHANTS = {"NOTION LABS INC": "Notion", "SLACK T0123": "Slack", "CORNER BAKERY 12": None}
FIRST = ("Ada", "Ben", "Cleo", "Dov", "Eve", "Finn", "Gus", "Hana", "Ivo", "Joy", "Kai", "Lea")
LAST = (
    *("Brook", "Carver", "Dunn", "Easton", "Farrow", "Gale"),
    *("Holm", "Ito", "Jansen", "Kline", "Lund", "Moser"),
)
NAMES = dict(enumerate(map("{} {}".format, FIRST, LAST), start=1))
PEOPLE = len(NAMES)


def a_month(world: World, seed: int, days: int) -> list[str]:
    """Generated days: members come and go, records are said again, changed and refunded."""
    roll = random.Random(seed)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    written: list[dict[str, Any]] = []
    names = []
    for number in range(days):
        name = (start + timedelta(days=number)).date().isoformat()
        names.append(name)
        listed = [person for person in range(1, PEOPLE + 1) if roll.random() > 0.2]
        people = {person: agent(person, name=NAMES[person]) for person in listed}
        tree = [
            group(
                10 + place,
                sorted(roll.sample(range(1, PEOPLE + 1), 4)),
                parent_group_id=10 + place // 2 if place > 1 else "",
            )
            for place in range(1, 8)
        ]
        for _ in range(20):
            person = roll.randint(1, PEOPLE)
            at = (start + timedelta(days=number, seconds=roll.randint(0, 86399))).isoformat()
            values = {
                "transaction_type": roll.choice([*SIGN, "DECLINE"]),
                **{"occurred_time": at, "updated_time": at},
                **{"user_id": f"u{person}", "user_name": NAMES[person]},
                "raw_merchant_name": roll.choice(list(MERCHANTS)),
                "amount_minor": str(roll.randint(1, 100_000)),
                **{"currency": roll.choice(["USD", "AED"]), "exchange_rate": "0.27229"},
            }
            written.append(transaction(f"t{len(written)}", **values))
        today = written[-20:]
        for clearing in [row for row in today if row["transaction_type"] == "CLEARING"][:2]:
            roll.choice(today)["child_transaction_ids"] = [clearing["transaction_id"]]
        if number:
            older = dict(roll.choice(written[:-20]), amount_minor="77")
            older["updated_time"] = (start + timedelta(days=number)).isoformat()
            today = [*today, older]
        budgets = [
            {"budget_id": f"b{n}", "name": f"B{n}", "limit_amount": n * 100, "spent_total": 33}
            for n in range(3)
        ]
        card = {"status": "active", "type": "virtual", "created_time": "2026-01-01"}
        cards = [card | {"card_id": f"c{n}", "user_id": f"u{n}"} for n in range(1, PEOPLE + 1, 2)]
        tables = {"groups": tree, "transactions": today, "budgets": budgets, "cards": cards}
        world.write(name, agents=list(people.values()), **tables)
    return names


def raw(folder: Path, days: list[str], entity: str) -> pd.DataFrame:
    frames = []
    for day in days:
        file = folder / day / f"{entity}.csv"
        frames.append(pd.read_csv(file, dtype=str, keep_default_na=False).assign(day=day))
    return pd.concat(frames, ignore_index=True)


def spend(folder: Path, days: list[str]) -> pd.DataFrame:
    """The transactions that count, from the files alone."""
    rows = raw(folder, days, "transactions")
    rows["at"] = pd.to_datetime(rows["updated_time"], utc=True, format="ISO8601")
    rows = rows.sort_values(["at", "day"], kind="stable").drop_duplicates(
        "transaction_id", keep="last"
    )
    clearings = set(rows.loc[rows["transaction_type"] == "CLEARING", "transaction_id"])
    gives_way = (rows["transaction_type"] == "AUTHORIZATION") & rows["child_transaction_ids"].map(
        lambda ids: bool(ids) and any(child in clearings for child in json.loads(ids))
    )
    rows = rows[rows["transaction_type"].isin(SIGN) & ~gives_way].copy()
    rows["usd"] = [
        SIGN[row.transaction_type]
        * (
            Decimal(row.amount_minor)
            / 10 ** int(row.exponent)
            * (1 if row.currency == "USD" else Decimal(row.exchange_rate))
        ).quantize(Decimal("0.0001"), rounding="ROUND_HALF_UP")
        for row in rows.itertuples()
    ]
    rows["application"] = [MERCHANTS[name] or "unmatched" for name in rows["raw_merchant_name"]]
    rows["month"] = rows["occurred_time"].str[:7]
    return rows


@pytest.fixture
def month(world) -> tuple[World, list[str]]:
    days = a_month(world, seed=7, days=31)
    for day in days:
        landing.land_day(world.folder, parse_day(day), allow_shrink=True)
        match_names(parse_day(day), flow_run_id="month")
    world.build()
    return world, days


def test_every_mart_says_what_the_raw_files_say(month):
    world, days = month
    rows = spend(world.folder, days)

    expected = {
        key: (part["usd"].sum(), len(part), part["user_id"].nunique())
        for key, part in rows.groupby(["application", "month"])
    }
    columns = "application, month, usd, transactions, users"
    found = tuples(world.db, f"select {columns} from marts.application_spend_monthly")
    assert {(name, f"{month:%Y-%m}"): tuple(rest) for name, month, *rest in found} == expected
    assert {name for name, _ in expected} == {"Notion", "Slack", "unmatched"}

    groups = raw(world.folder, days[-1:], "groups")
    ever = set(raw(world.folder, days, "agents")["agent_id"])
    members = {
        row.group_id: {str(one) for one in json.loads(row.agent_ids) if str(one) in ever}
        for row in groups.itertuples()
    }
    children = defaultdict(list)
    for row in groups.itertuples():
        children[row.parent_group_id].append(row.group_id)

    def below(one: str) -> set[str]:
        return {one}.union(*(below(child) for child in children[one]))

    person = {name: str(number) for number, name in NAMES.items()}
    rows["agent_id"] = rows["user_name"].map(person)
    by_group = {}
    for one in members:
        everyone = set().union(*(members[other] for other in below(one)))
        for name, part in rows[rows["agent_id"].isin(everyone)].groupby("month"):
            direct = part[part["agent_id"].isin(members[one])]["usd"].sum()
            by_group[one, name] = (direct, part["usd"].sum())
    columns = "group_id, month, usd_direct, usd_total"
    found = tuples(world.db, f"select {columns} from marts.spend_by_group_monthly")
    assert {(one, f"{month:%Y-%m}"): tuple(usd) for one, month, *usd in found} == by_group

    shares = tuples(world.db, "select budget_id, share from marts.budget_utilisation order by 1")
    assert shares == [("b0", None), ("b1", Decimal("0.3300")), ("b2", Decimal("0.1650"))]

    today = set(raw(world.folder, days[-1:], "agents")["agent_id"])
    waste = {}
    for one in ever - today:
        held = sum(one in people for people in members.values())
        cards = int(one) % 2
        if held + cards:
            usd = rows[rows["agent_id"] == one]["usd"].sum()
            waste[one] = (held, 0, cards, usd)
    columns = "agent_id, memberships, roles, cards, usd_last_90_days"
    found = tuples(world.db, f"select {columns} from marts.unused_access")
    assert {one: tuple(figures) for one, *figures in found} == waste != {}

    quiet = {one for one in members if not any(members[other] & today for other in below(one))}
    assert set(column(world.db, "select group_id from marts.inactive_groups")) == quiet


def test_the_90_days_end_with_the_newest_transaction(world):
    cents = {
        "2025-09-30T10:00:00Z": 100_000,
        "2025-10-07T10:00:00Z": 10_000,
        "2025-10-07T10:00:01Z": 1_000,
        "2025-10-31T23:59:59.999999Z": 100,
        "2025-11-01T00:00:00Z": 10,
        "2026-01-05T10:00:00Z": 1,
    }
    spent = [
        transaction(at, occurred_time=at, amount_minor=each, currency="USD", user_name="Ada B")
        for at, each in cents.items()
    ]
    groups = [group(10, [2])]
    world.land(
        "2026-01-05", agents=[agent(1), agent(2, name="Ada B")], groups=groups, transactions=spent
    )
    match_names(None, flow_run_id="marts")
    world.land("2026-01-06", groups=groups)
    world.build()
    found = tuples(world.db, "select agent_id, usd_last_90_days::text from marts.unused_access")
    assert found == [("2", "11.1100")]


def test_readers_see_marts_and_metrics_and_no_personal_column(world):
    world.day("day1", transactions=[transaction("t", user_name="Person A")])
    readable = tuples(
        world.db,
        "select table_schema, table_name, column_name from information_schema.column_privileges"
        " where grantee in ('daybook_reader', 'PUBLIC') and privilege_type = 'SELECT'"
        " and table_schema not in ('pg_catalog', 'information_schema')",
    )
    assert {schema for schema, *_ in readable} == {"marts", "metrics"}
    assert not [one for one in readable if personal(one[1], [one[2]])]
    named = {table for _, table, name in readable if name == "name"}
    assert named == {"group_activity", "inactive_groups", "budget_utilisation"}
    with world.db.transaction():
        world.db.execute("set local role daybook_reader")
        assert world.db.execute("select count(*) from metrics.row_ledger").fetchone()
        assert world.db.execute("select count(*) from marts.unused_access").fetchone()


@pytest.mark.parametrize("day", ["day3", "2026-01-05"])
def test_a_day_has_its_name_in_the_ledger_and_the_summary_of_a_run(world, day):
    world.day(day)
    world.db.execute("set datestyle = 'German'")  # as a reader may
    for view in ("row_ledger", "run_summary"):
        names = column(world.db, f"select day_name from metrics.{view}")
        assert {*names} - {None} == {day}, view


def test_a_run_of_which_a_task_was_tried_again_ended_as_its_own_row_says(world):
    tries = [("day-pipeline", "failure"), ("day-pipeline", "success"), ("agents", "failure")]
    for run, rows in (("flow", tries), ("dbt", tries[2:]), ("on", [("day-pipeline", "running")])):
        world.db.cursor().executemany(
            "insert into metrics.pipeline_metrics"
            " (flow_run_id, task_name, pipeline_name, status, started_at)"
            f" values ('{run}', %s, 'day', %s, now())",
            rows,
        )
    ended = {*tuples(world.db, "select flow_run_id, status from metrics.run_summary")}
    assert ended >= {("flow", "success"), ("dbt", "failure"), ("on", "running")}


def test_the_calendar_and_volumes_of_days(world):
    world.day("day1", roles=[{"role_id": 1, "name": "Admin"}])
    world.day("day3")
    world.day("day1", agents=[agent(1), agent(2)], roles=[{"role_id": 1, "name": "Admin"}])
    calendar = tuples(world.db, "select table_name, day::text, state from metrics.day_calendar")
    assert {*calendar} >= {
        ("stg_agents", "1970-01-02", "re-run"),
        ("stg_agents", "1970-01-03", "missing"),
        ("stg_agents", "1970-01-04", "done"),
        ("stg_roles", "1970-01-04", "skipped"),
    }
    columns = "day::text, rows_landed, rows_landed_before"
    volumes = f"select {columns} from metrics.volume_history where table_name = 'stg_agents'"
    assert sorted(tuples(world.db, volumes)) == [("1970-01-02", 2, None), ("1970-01-04", 1, 2)]
