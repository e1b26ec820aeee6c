"""Generated days, applied in any order with repeats, against the oracle of `tests/fold.py`:
the same silver, quarantine, activity, history and ledger, and a full refresh that agrees."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from psycopg import sql
from psycopg.rows import dict_row

from loaders import landing, warehouse
from loaders.days import parse_day
from tests import worlds
from tests.conftest import MIGRATED, copy_database
from tests.fold import TARGETS, Batches, ExpectedState, expected_state
from tests.fold_records import COLUMNS, Batch
from tests.raw_days import SAMPLE
from tests.worlds import Tables

OUTCOMES = ("inserted", "updated", "unchanged", "stale", "duplicate", "quarantined")
# Views and seeds stand in the template.
PIPELINES = (
    *("--select", "tag:agents", "tag:groups", "tag:transactions", "tag:cards"),
    *("--exclude", "config.materialized:view", "resource_type:seed"),
)
UNKNOWN = {"unknown_agent", "unknown_group"}
KEYS = {
    "agents": ("agent_id",),
    "groups": ("group_id",),
    "group_memberships": ("group_id", "agent_id"),
    "transactions": ("transaction_id",),
    "cards": ("card_id",),
    "fx_rates": ("rate_date", "currency"),
}


class Run:
    """A warehouse, and the state that the oracle expects of it."""

    def __init__(self, folder: Path, dbt: Callable[..., Any]) -> None:
        self.folder, self.dbt = folder, dbt
        self.expected = expected_state({})
        self.landed: Batches = {}

    def land(self, number: int, content: Tables) -> None:
        """Writes a day's files, lands them and notes the batches for the oracle."""
        worlds.write_day(self.folder / f"day{number}", content)
        fresh = worlds.batches(number, content)
        for done in self.landing_of(self.folder, number):
            key = (done.table, done.day.date)
            held = self.landed.pop(key, None)
            if key not in fresh:
                assert done.status == "skipped"
            else:
                is_same = held is not None and held.files == fresh[key].files
                assert done.status == "unchanged" or (done.status == "succeeded" and not is_same)
                self.landed[key] = held if done.status == "unchanged" else fresh[key]

    def land_sample(self, number: int, *, force: bool = False) -> None:
        """Lands a sample day and notes its batches for the oracle, read back from bronze."""
        for done in self.landing_of(SAMPLE, number, force=force):
            if done.status == "succeeded" and done.table in COLUMNS:
                files = bronze_files(done.table, done.day.date)
                batch = Batch(done.table, done.day.date, files)
                self.landed[done.table, done.day.date] = batch
            assert done.status in ("skipped", "succeeded" if force else done.status)

    def landing_of(self, data: Path, number: int, **options: bool) -> list[landing.Landed]:
        day = parse_day(f"day{number}")
        return landing.land_day(data, day, allow_empty=True, allow_shrink=True, **options)

    def build(self, *arguments: str) -> None:
        plain = ["build", "--quiet", "--no-write-json", "--exclude-resource-type", "unit_test"]
        result = self.dbt(*plain, *arguments)
        assert result.success, [one.message for one in result.result if one.message]
        self.expected = expected_state(self.landed)
        with warehouse.connect(row_factory=dict_row) as conn:
            agree(conn, self.expected)


def bronze_files(table: str, day: date) -> dict[str, list[dict[str, str | None] | None]]:
    """The landed texts of a table's day by file; None in the place of a rejected record."""
    files: dict[str, list] = defaultdict(list)
    query = sql.SQL("select * from bronze.{} where _day = %s order by _source_file, _source_row")
    with warehouse.connect(row_factory=dict_row) as conn:
        for row in conn.execute(query.format(sql.Identifier(table)), [day]):
            records = files[row["_source_file"]]
            records += [None] * (row["_source_row"] - len(records) - 1)
            records.append({name: row[name] for name in COLUMNS[table]})
    return files


def agree(conn: psycopg.Connection, state: ExpectedState) -> None:
    """Fails with the keys and columns that differ."""
    for entity in ("agents", "groups", "transactions", "cards", "fx_rates"):
        same_rows(rows(conn, f"silver.{entity}", *KEYS[entity]), getattr(state, entity))
    same_rows(rows(conn, "metrics.group_activity", "group_id"), state.activity)
    history = rows(conn, "silver.agent_status_history", "agent_id", "sync_date")
    assert {key: row["is_active"] for key, row in history.items()} == state.history
    assert set(rows(conn, "silver.group_memberships", "group_id", "agent_id")) == state.memberships
    for target in TARGETS:
        same_quarantine(conn, state, target)
    same_ledger(conn, state)


def rows(conn: psycopg.Connection, table: str, *key: str) -> dict[Any, dict[str, Any]]:
    """The table by its key, without what only says where a row comes from."""
    found = conn.execute(f"select * from {table}").fetchall()
    keyed = {tuple(row[name] for name in key) if key[1:] else row[key[0]]: row for row in found}
    assert len(keyed) == len(found)
    return {
        key: {name: value for name, value in row.items() if name[0] != "_"}
        for key, row in keyed.items()
    }


def same_rows(actual: dict[Any, dict], expected: dict[Any, dict]) -> None:
    assert actual.keys() == expected.keys()
    differences = {
        (key, name): (actual[key].get(name, "no column"), value)
        for key, row in expected.items()
        for name, value in row.items()
        if actual[key].get(name, "no column") != value
    }
    assert differences == {}, "(key, column): (warehouse, oracle)"
    assert set().union(*actual.values()) == set().union(*expected.values())


def same_quarantine(conn: psycopg.Connection, state: ExpectedState, target: str) -> None:
    """Reasons by where a record comes from, and its landed text; pairs of the newest snapshot that
    wait for their agent or group."""
    found = conn.execute(f"select * from quarantine.{target}").fetchall()
    waiting = [row for row in found if set(row["_errors"]) <= UNKNOWN]
    invalid = [row for row in found if row not in waiting]
    # the ledger counts each of them, but a list that can't be read: it names no membership
    counted = Counter(
        (row["_day"], row["_source_table"])
        for row in found
        if "agent_ids_invalid" not in row["_errors"]
    )
    assert counted == {
        (day, table): many
        for (day, table, of), outcomes in state.ledger.items()
        if of == target and (many := outcomes["quarantined"])
    }
    reasons = {place(row): set(row["_errors"]) for row in invalid}
    expected = state.quarantine(target)
    assert reasons == {key: set(errors) for key, errors in expected.items()}
    landed = {record.lineage: record.landed for record in state.records(*TARGETS[target])}
    for row in invalid:
        if row["_source_file"].endswith(".csv"):
            texts = landed[place(row)]
            # an element of a list is shown for itself
            names = texts.keys() & row.keys() - ({"agent_ids"} if row.get("agent_id") else set())
            assert {name: row[name] for name in names} == {name: texts[name] for name in names}
    if target == "group_memberships":
        named = {((row["group_id"], row["agent_id"]), frozenset(row["_errors"])) for row in waiting}
        current = {row for row in named if row[0] in state.current_claims}
        assert current == set(state.waiting.items())


def place(row: dict[str, Any]) -> tuple:
    return row["_day"], row["_source_file"], row["_source_row"]


def same_ledger(conn: psycopg.Connection, state: ExpectedState) -> None:
    found = conn.execute("select * from metrics.row_ledger").fetchall()
    assert [row for row in found if row["balanced"] is not True] == []
    actual = {
        (row["day"], row["table_name"], row["target"]): Counter(
            {outcome: row[f"rows_{outcome}"] for outcome in OUTCOMES if row[f"rows_{outcome}"]}
        )
        for row in found
        if row["rows_landed"] and row["target"] in TARGETS
    }
    expected = {key: counts for key, counts in state.ledger.items() if counts}
    assert actual.keys() == expected.keys()
    assert {
        key: (counts, expected[key]) for key, counts in actual.items() if counts != expected[key]
    } == {}


Begin = Callable[..., Run]


@pytest.fixture
def begin(request, shared_home, dbt, tmp_path) -> Begin:
    """A run in a warehouse of its own, whatever the one before left behind."""
    numbers, built = itertools.count(), request.getfixturevalue("built")

    def fresh(template: str = built) -> Run:
        copy_database(shared_home, template)
        return Run(tmp_path / str(next(numbers)), dbt)

    return fresh


# Each example takes many seconds: a failing one is not shrunk.
DRAWN = settings(
    derandomize=True,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@given(world=worlds.worlds())
@settings(DRAWN, max_examples=4)
def test_any_days_in_any_order_end_as_the_oracle_says(begin, world):
    run = begin()
    for number, version, is_built in world.steps:
        run.land(number, world.days[number][version])
        if is_built:
            run.build(*PIPELINES)
    run.build("--full-refresh", *PIPELINES)


@pytest.mark.parametrize("order", [(3, 1, 2), (2, 3, 1)], ids=str)
def test_sample_days_in_every_order_with_repeats_end_in_one_state(begin, order):
    run = begin()
    for number in order:
        run.land_sample(number)
        run.build(*PIPELINES)
    run.land_sample(order[0])  # says nothing new
    run.land_sample(order[1], force=True)  # says the same in a new batch
    run.build(*PIPELINES)


def test_sample_days_landed_first_and_built_at_once(begin):
    run = begin(MIGRATED)  # where no table stands
    for number in (2, 3, 1):
        run.land_sample(number)
    run.build()


def same_as_history(
    conn: psycopg.Connection, entity: str, day: date, found: dict[Any, dict[str, Any]]
) -> None:
    """Of each key one span of the history has the day, and says the same."""
    spans = f"(select * from silver.{entity}_history where date '{day}' >= valid_from"
    spans += f" and date '{day}' <= coalesce(valid_to, 'infinity')) as spans"
    held = rows(conn, spans, *KEYS[entity])
    assert held.keys() == found.keys()
    for key, row in held.items():
        assert {name: value for name, value in row.items() if name in found[key]} == {
            name: value for name, value in found[key].items() if name in row
        }, (entity, key)


def test_as_of_a_day_is_silver_of_the_days_until_then(begin):
    run = begin()
    for number in (1, 2, 3):
        run.land_sample(number)
    run.build(*PIPELINES)
    with warehouse.connect(row_factory=dict_row) as conn:
        entities, days = [*KEYS][:-1], ("day1", "day2", "day3")  # rates have no history
        asked = [(entity, parse_day(day).date) for entity in entities for day in days]
        inline = ";".join(f"{{{{ as_of('{entity}', \"date '{day}'\") }}}}" for entity, day in asked)
        (shown,) = run.dbt("compile", "--inline", inline).result
        answers = shown.node.compiled_code.split(";")
        for (entity, until), answer in zip(asked, answers, strict=True):
            landed = {key: batch for key, batch in run.landed.items() if key[1] <= until}
            state = expected_state(landed)
            found = rows(conn, f"({answer}) as found", *KEYS[entity])
            if entity != "transactions":
                same_as_history(conn, entity, until, found)
            if entity == "group_memberships":
                assert set(found) == state.memberships
                continue
            expected = getattr(state, entity)
            assert found.keys() == expected.keys()
            for one, row in expected.items():
                same = {name: row[name] for name in found[one] if name in row}
                assert {name: found[one][name] for name in same} == same, (entity, one)
                assert len(same) > 5


def test_an_optional_table_gone_from_a_day_says_nothing_there(begin):
    """As if the day had never had it: the memberships of the earlier file count again."""
    agents = [{"agent_id": key, "email": "a@example.com", "name": "A"} for key in ("1", "2")]
    plain = {
        "stg_agents": {"agents.csv": agents},
        "stg_groups": {"groups.csv": [{"group_id": "10", "name": "Ops"}]},
        "stg_transactions": {"transactions.csv": []},
    }
    first, second = (
        {"group_memberships.csv": [{"group_id": "10", "agent_id": key}]} for key in ("1", "2")
    )
    run = begin()
    run.land(1, plain | {"stg_group_memberships": first})
    run.land(2, plain | {"stg_group_memberships": second})
    run.build(*PIPELINES)
    run.land(2, plain)
    run.build(*PIPELINES)
    assert run.expected.memberships == {("10", "1")}
