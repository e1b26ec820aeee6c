"""`daybook prove`: equal after days in any order, and a difference is named by its key."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from datetime import UTC, datetime

import pytest

from flows.pages.render import render
from flows.pages.write import write_pages
from flows.prove import Proof, as_answer, prove
from loaders import landing, lock, retention
from loaders.days import parse_day
from loaders.errors import DaybookError
from tests.forks import Command
from tests.raw_days import SAMPLE
from tests.silver_world import World, agent, transaction
from tests.watching import column, insert, tuples, until, value

pytestmark = pytest.mark.usefixtures("dbt_environment")


@pytest.fixture
def sample_days(world, once) -> World:
    """The sample days landed and built as 2, 3, 1, day 2 once more."""

    def make() -> None:
        for day in ("day2", "day3", "day1"):
            landing.land_day(SAMPLE, parse_day(day))
            world.build(day=day)
        landing.land_day(SAMPLE, parse_day("day2"), force=True)
        world.build()

    once("sample_days", make)
    return world


def as_text(proof: Proof) -> str:
    return render("prove.txt.j2", **as_answer(proof))


def test_a_proof_on_the_pool_shows_by_a_session_that_it_is_alive(warehouse, monkeypatch):
    from flows import pipeline

    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", "0123456789")
    proof = Proof(datetime.now(UTC), 1, 1, [], [])
    alive: list[str] = []
    monkeypatch.setattr(pipeline.proving, "shown", lambda: alive.append(lock.sessions()) or proof)
    asyncio.run(pipeline.prove.fn())
    assert "0123456789" in alive[0]


def scratch(world: World) -> list[str]:
    schemas = "select nspname from pg_namespace where nspname like 'daybook!_prove%' escape '!'"
    return column(world.db, schemas)


def contents(world: World) -> dict[str, int]:
    """Rows written, ever, of each table outside the scratch schemas and metrics.proofs."""
    world.db.execute("select pg_stat_force_next_flush()")
    written = (
        "select schemaname || '.' || relname, n_tup_ins + n_tup_upd + n_tup_del"
        " from pg_stat_user_tables"
        " where relname <> 'proofs' and schemaname not like 'daybook!_prove%' escape '!'"
    )
    return dict(tuples(world.db, written))


def test_days_in_a_mixed_order_are_what_they_build_anew(sample_days):
    before = contents(sample_days)
    proof = prove()
    assert proof.partings == []
    assert (proof.days, proof.expired) == (3, [])
    assert proof.tables >= 30
    assert contents(sample_days) == before
    assert scratch(sample_days) == []
    assert "what the days built is what they build anew" in as_text(proof)
    (noted,) = sample_days.db.execute("select * from metrics.proofs").fetchall()
    assert (noted["is_equal"], noted["tables"], noted["days"]) == (True, proof.tables, 3)


# What somebody does by hand → the table that parts first, and the key that is named.
FAULTS = {
    "a value of silver": (
        "update silver.agents set phone = '555' where agent_id = '9001' returning agent_id",
        "silver.agents",
    ),
    "a row of silver": (
        "delete from silver.transactions where transaction_id = ("
        " select min(transaction_id) from silver.transactions) returning transaction_id",
        "silver.transactions",
    ),
    "a record out of quarantine": (
        "delete from intermediate.int_transactions_records where ctid = ("
        " select min(ctid) from intermediate.int_transactions_records"
        " where _outcome = 'quarantined')"
        " returning _source_table, _day::text, _source_file, _source_row::text",
        "quarantine.transactions",
    ),
    "a count of the ledger": (
        "update intermediate.int_roles_records set _outcome = 'stale' where ctid = ("
        " select min(ctid) from intermediate.int_roles_records where _outcome = 'inserted')"
        " returning _day::text, 'roles' as target, _source_table",
        "metrics.row_ledger",
    ),
    "a figure of a mart": (
        "update marts.budget_utilisation set share = 2 where budget_id = ("
        " select min(budget_id) from marts.budget_utilisation) returning budget_id",
        "marts.budget_utilisation",
    ),
    "a group that is not inactive": (
        "delete from metrics.group_activity where group_id = ("
        " select max(group_id) from metrics.group_activity) returning group_id",
        "metrics.group_activity",
    ),
}


def test_a_fault_is_named_by_its_table_and_key(sample_days):
    keys = {
        table: sample_days.db.execute(statement).fetchone().values()
        for statement, table in FAULTS.values()
    }
    proof = prove()
    partings = {each.table: each for each in proof.partings}
    for fault, (_, table) in FAULTS.items():
        assert sorted(keys[table]) in map(sorted, partings[table].keys), fault
        assert partings[table].only_rebuilt > 0, fault
        assert f"{table}: " in as_text(proof)
    assert json.loads(json.dumps(as_answer(proof)))["equal"] is False
    assert "555" not in as_text(proof)
    assert scratch(sample_days) == []
    (noted,) = sample_days.db.execute("select * from metrics.proofs").fetchall()
    assert not noted["is_equal"]
    assert noted["partings"][0].keys() == {"table", "keys", "only_built", "only_rebuilt"}


def test_the_run_page_says_when_it_was_proved_and_what_parted(sample_days, tmp_path):
    proof = {"started_at": "now", "tables": 31, "days": 3, "expired_days": []}
    insert(sample_days.db, "metrics.proofs", **proof, is_equal=True, partings="[]")
    page = write_pages(tmp_path).read_text()
    assert "31 tables of 3 days proved to be what the days build" in page
    parting = {"table": "silver.<b>", "keys": [["<i>"]], "only_built": 1, "only_rebuilt": 2}
    partings = json.dumps([parting])
    insert(sample_days.db, "metrics.proofs", **proof, is_equal=False, partings=partings)
    page = write_pages(tmp_path).read_text()
    assert "NOT what the days build: silver.&lt;b&gt; (1 row only as built, 2 only" in page


def test_a_day_that_is_not_built_is_named_and_nothing_is_noted(sample_days):
    sample_days.land("day4", agents=[agent(1), agent(2)])
    with pytest.raises(DaybookError, match=r"not yet built: day4\. .* run the day again"):
        prove()
    assert scratch(sample_days) == []
    assert sample_days.db.execute("select * from metrics.proofs").fetchall() == []


def test_what_follows_from_records_whose_day_has_expired_is_proved(world):
    for number in (1, 2, 3, 4):
        world.day(
            f"day{number}",
            agents=[agent(1), agent(number)],
            groups=[{"group_id": number, "name": "G", "agent_ids": [1, number]}],
            transactions=[transaction(f"t{number}"), transaction(f"q{number}", exponent="9")],
        )
    assert retention.expire_days(1, flow_run_id="r")
    proof = prove()
    assert proof.partings == []
    assert proof.expired == ["day1", "day2"]
    assert "Landed rows have expired of day1, day2" in as_text(proof)
    noted = value(world.db, "select expired_days::text from metrics.proofs")
    assert noted == "{1970-01-02,1970-01-03}"
    world.db.execute("update silver.transactions set amount_usd = 1 where transaction_id = 't1'")
    assert ["t1"] in next(p.keys for p in prove().partings if p.table == "silver.transactions")


def test_a_proof_holds_the_warehouse_and_leaves_no_schemas_however_it_ends(sample_days, forks):
    def begun(number: signal.Signals) -> Command:
        running = forks.start("flows.prove", env=dict(os.environ))
        until(lambda: "daybook_prove_silver" in scratch(sample_days))
        with (
            pytest.raises(DaybookError, match="held by daybook prove"),
            lock.run_lock("daybook run r1 day4", wait=0.1),
        ):
            pass
        running.send_signal(number)
        running.wait()
        return running

    ended = begun(signal.SIGTERM)
    assert (ended.returncode, ended.stderr) == (1, "error: interrupted\n")
    until(lambda: scratch(sample_days) == [])
    begun(signal.SIGKILL)
    assert scratch(sample_days) != []
    # where a model of the user's own has its schema
    sample_days.db.execute("create schema daybook_prove_mine authorization daybook_transformer")
    assert prove().partings == []
    assert scratch(sample_days) == []
