"""Silver is right however dbt is used: each way, then a build that a full refresh confirms."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dbt.cli.main import dbtRunner

from loaders import landing, lock, server, warehouse
from loaders.days import parse_day
from loaders.sources import PROJECT
from tests.raw_days import SAMPLE
from tests.silver_world import World, agent, group, transaction
from tests.watching import column, is_gone, tuples, until, value

LATER = "2026-01-06T00:00:00Z"
DAY1 = {
    "agents": [agent(1), agent(2), agent("1e+9")],
    "agent_details": [agent(2, name="Detailed", role_ids=[5])],
    "groups": [group(10, [1, 2]), group(11, "nonsense"), group(12, [9], parent_group_id=10)],
    "group_memberships": [{"group_id": 11, "agent_id": 2}],
    "transactions": [transaction("t1"), transaction("t2", currency="USD"), transaction("")],
    "roles": [{"role_id": 5, "name": "Admin"}],
    "budgets": [{"budget_id": "b1", "name": "Travel", "limit_amount": "10"}],
}
DAY2 = {
    "agents": [agent(1, name="renamed", updated_at=LATER), agent(9)],
    "agent_details": [agent(2, name="Detailed", role_ids=[6])],
    "groups": [group(10, [1]), group(12, [9], parent_group_id=10)],
    "transactions": [
        transaction("t1", user_name="new", updated_time=LATER),
        transaction("t2", exponent="9", updated_time=LATER),
    ],
    "budgets": [{"budget_id": "b1", "name": "Travel", "limit_amount": "20"}],
}
TABLES = (
    *("silver.agents", "silver.agent_status_history", "silver.groups", "silver.group_memberships"),
    *("silver.transactions", "silver.roles", "silver.agent_roles", "silver.agent_role_history"),
    *("silver.budgets", "quarantine.agents", "quarantine.group_memberships"),
    *("quarantine.transactions", "metrics.row_ledger", "metrics.group_activity"),
    *("marts.unused_access", "marts.application_spend_monthly", "marts.inactive_groups"),
)


def seen(db: Any, tables: tuple[str, ...] = TABLES) -> dict[str, list[str]]:
    """All rows of these tables, but for when and by which batch they were written."""
    volatile = "array['_updated_at', '_batch_id', '_day', '_source_file', '_source_row']"
    query = f"select (to_jsonb(held) - {volatile})::text from {{}} as held"
    return {table: sorted(column(db, query.format(table))) for table in tables}


@pytest.fixture(scope="session")
def _ends() -> dict[str, list[str]]:
    """What both days end in, by a plain build and by a full refresh: worked out once a process."""
    return {}


@pytest.fixture
def two_days(world, once, _ends) -> World:
    """Day 1 built, day 2 landed."""

    def make() -> None:
        world.day("day1", **DAY1)
        world.land("day2", **DAY2)

    once("two_days", make)
    if not _ends:
        world.build()
        _ends |= seen(world.db)
        world.build("--full-refresh")
        assert seen(world.db) == _ends
        once("two_days", make)
    return world


@pytest.fixture
def settled(_ends) -> Callable[[World], dict[str, list[str]]]:
    """A plain build ends where one that nothing came before does."""

    def build(world: World) -> dict[str, list[str]]:
        world.build()
        assert seen(world.db) == _ends
        return _ends

    return build


def crash(home: Path) -> None:
    """The server ends at once, as in a crash: recovery follows its next start."""
    pid = int((home / "pg" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGQUIT)
    until(lambda: is_gone(pid))
    server.start(home)


WAYS: dict[str, list[list[str]]] = {
    "a part and then all": [["run", "--select", "intermediate", "silver"]],
    "all but a part": [["build", "--exclude", "group_memberships", "quarantine"]],
    "one pipeline after the other": [
        ["build", "--select", f"tag:{t}"] for t in ("roles", "agents")
    ],
    "records first, silver later": [
        ["run", "--select", "int_agents_records", "int_transactions_records"],
        ["run", "--select", "agents", "transactions"],
    ],
    "metrics and marts alone": [["run", "--select", "metrics", "marts"]],
    "eight threads": [["build", "--threads", "8"]],
    "a full refresh of a part": [["build", "--full-refresh", "--select", "+silver.agents"]],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_plain_build_ends_the_same_whatever_came_before(two_days, settled, way):
    for command, *options in WAYS[way]:
        unit = ["--exclude-resource-type", "unit_test"] if command == "build" else []
        two_days.dbt(command, *options, *unit)
    found = settled(two_days)
    assert len(found["silver.agents"]) == 3
    assert [row for row in found["quarantine.transactions"] if "exponent_invalid" in row]
    assert '"rows_quarantined": 1' in "".join(found["metrics.row_ledger"])


@pytest.mark.parametrize("options", [["--fail-fast"], []], ids=["fail-fast", "retry"])
def test_a_model_that_failed_is_made_good(two_days, settled, options):
    two_days.db.execute("alter table silver.budgets add constraint broken check (false) not valid")
    build = ["build", "--exclude-resource-type", "unit_test"]
    assert not two_days.dbt(*build, *options).success
    two_days.db.execute("alter table silver.budgets drop constraint broken")
    if not options:
        assert two_days.dbt("retry").success
        assert value(two_days.db, "select limit_amount from silver.budgets") == 20
    settled(two_days)


def test_a_part_built_after_a_crash_of_the_server_deletes_nothing(world, shared_home):
    world.day("day1", **DAY1)
    before = seen(world.db)
    with world.without_session():
        crash(shared_home)
    assert world.dbt("run", "--select", "silver.group_memberships", "group_activity").success
    assert seen(world.db) == before
    world.build()
    assert seen(world.db) == before


def test_a_model_built_without_its_records_says_so_and_writes_nothing(two_days):
    before = seen(two_days.db)
    result = two_days.dbt("build", "--select", "silver.agents")
    assert not result.success
    messages = " ".join(str(node.message) for node in result.result)
    assert "int_agents_records has yet to take in stg_agent_details of day2" in messages
    assert "dbt build --select +agents" in messages
    assert seen(two_days.db) == before


def test_a_first_build_of_a_part_tests_nothing_that_it_does_not_build(dbt, db):
    landing.land_day(SAMPLE, parse_day("day1"))
    assert dbt("build", "--select", "+quarantine_transactions").success


def test_a_day_that_is_asked_for_is_all_that_is_built(world):
    world.land("day1", **DAY1)
    world.land("day2", **DAY2)
    world.build(day="day1")
    days = column(world.db, "select distinct day::text from metrics.row_ledger")
    assert days == ["1970-01-02"]
    assert len(world.rows("agents")) == 2


def test_compile_shows_what_a_build_will_run(two_days):
    result = two_days.dbt("compile", "--select", "int_transactions_records", "transactions")
    shown = {node.node.name: node.node.compiled_code for node in result.result}
    assert "'{1970-01-03}'::date []" in shown["int_transactions_records"]
    assert "1970-01-02'" not in shown["int_transactions_records"]
    assert two_days.dbt("show", "--select", "int_transactions_records").success


def test_empty_is_refused_before_anything_is_written(two_days):
    before = seen(two_days.db)
    with pytest.raises(Exception, match="--empty would put empty views before the readers"):
        two_days.dbt("build", "--empty")
    assert seen(two_days.db) == before


@pytest.mark.parametrize("day", ["foo", "day0", "2026-02-30", "2026-01-05"])
def test_a_day_that_the_warehouse_cannot_hold_is_refused(two_days, monkeypatch, day):
    monkeypatch.setattr(warehouse, "pgoptions", lambda *_: f"-c app.day={day}")
    message = "the other calendar" if day == "2026-01-05" else "a day is 2026-01-05 or day1"
    with pytest.raises(Exception, match=f"app.day is {day}.*{message}"):
        two_days.dbt("build")


def test_what_is_declared_and_not_there_is_named_with_what_makes_it(two_days):
    two_days.db.execute("alter table bronze.stg_roles drop column agent_type cascade")
    with pytest.raises(Exception, match=r"stg_roles\.agent_type\. .* daybook warehouse migrate"):
        two_days.dbt("build")


def test_a_key_that_changed_is_refused_until_its_table_is_made_anew(
    two_days, _dbt_session, monkeypatch
):
    changed = "alter table silver.roles drop constraint roles_pkey, add unique (role_id, name)"
    two_days.db.execute(changed)
    again = "dbt build --full-refresh --select tag:roles"
    advice = f'"role_id": drop table silver.roles cascade, then run: {again}'
    with pytest.raises(Exception, match=advice):
        two_days.dbt("build", "--select", "agents")
    two_days.db.execute("drop table silver.roles")
    assert two_days.dbt(*again.split()[1:]).success
    (manifest,) = _dbt_session.manifests.values()
    declared = manifest.flat_graph["sources"]["source.daybook.bronze.stg_roles"]
    monkeypatch.setitem(declared["meta"], "key", ["role_id", "name"])
    with pytest.raises(Exception, match=r'has the key "role_id", and .* "name", "role_id"'):
        two_days.dbt("build")


def test_a_type_that_changed_is_refused_until_its_records_are_made_anew(two_days, settled):
    other = "drop column is_default cascade, add column is_default text"
    two_days.db.execute(f"alter table intermediate.int_roles_records {other}")
    drop = "drop table if exists intermediate.int_roles_records, silver.roles cascade"
    again = "dbt build --full-refresh --select +int_roles_records+"
    advice = f"is_default as text, .* declares boolean: {drop}, then run: {re.escape(again)}"
    with pytest.raises(Exception, match=advice):
        two_days.dbt("build", "--select", "agents")
    two_days.db.execute(
        "insert into bronze.expired_days (table_name, day, batch_id, flow_run_id)"
        " select table_name, day, max(batch_id), 'r' from bronze.load_batches"
        " where table_name = 'stg_groups' and rows_landed is not null group by 1, 2"
    )
    days = r"land the days again that have expired \(day1, day2\), then drop table"
    with pytest.raises(Exception, match=days):
        two_days.dbt("build", "--select", "agents")
    two_days.db.execute("delete from bronze.expired_days")
    two_days.db.execute(drop.encode())
    assert two_days.dbt(*again.split()[1:]).success
    settled(two_days)


def test_a_build_by_hand_says_who_holds_the_warehouse(two_days):
    two_days.land("day3", **DAY2, roles=DAY1["roles"])
    before, is_whole = seen(two_days.db), "select is_complete from metrics.current_day"
    assert value(two_days.db, is_whole)
    with lock.run_lock("daybook run r1 day2"):
        result = two_days.dbt("build", "--select", "int_roles_records", "roles", "iso_4217")
    assert not result.success
    failed = {node.node.name: str(node.message) for node in result.result if node.status == "error"}
    for name in ("int_roles_records", "iso_4217"):
        assert "held by daybook run r1 day2" in failed[name]
    assert seen(two_days.db) == before
    assert value(two_days.db, is_whole)
    days = "select day from metrics.pipeline_metrics where task_name = 'int_roles_records'"
    assert column(two_days.db, f"{days} and status = 'failure'") == [parse_day("day3").date]


def test_the_ledger_says_what_a_day_brought_also_when_it_landed_again(world):
    world.day("day1", **DAY1)
    ledger = seen(world.db, ("metrics.row_ledger",))
    landing.land_day(world.folder, parse_day("day1"), force=True, allow_shrink=True)
    world.build()
    assert seen(world.db, ("metrics.row_ledger",)) == ledger


@pytest.fixture(scope="session")
def hand_folder(tmp_path_factory, dbt_folder) -> Path:
    """A profile, and targets that are parsed once a process: the first by the fixture `dbt`."""
    return Path(shutil.copytree(dbt_folder, tmp_path_factory.mktemp("by-hand") / "dbt"))


@pytest.fixture
def by_hand(hand_folder, monkeypatch) -> Callable[..., Any]:
    """dbt as it is typed."""
    monkeypatch.chdir(PROJECT)

    def run(
        *arguments: str, target_path: str = "target", project: Path = PROJECT, on_event: Any = None
    ) -> Any:
        places = ["--project-dir", str(project), "--profiles-dir", str(hand_folder)]
        outputs = ["--target-path", str(hand_folder / target_path), "--log-path", str(hand_folder)]
        runner = dbtRunner(callbacks=[on_event] if on_event else [])
        return runner.invoke([*arguments, "--quiet", *places, *outputs])

    return run


def test_a_build_has_nothing_to_warn_of(world):
    """Not of a numeric without a precision either: so no warning has to be silenced."""
    chosen = ("--select", "marts", "--exclude-resource-type", "unit_test")
    assert world.dbt("build", *chosen, "--warn-error").success


def test_a_clone_and_a_build_of_it_leave_the_other_target_alone(
    two_days, settled, by_hand, hand_folder, monkeypatch
):
    monkeypatch.setenv("DBT_DEV_SCHEMA", "mine")
    before = seen(two_days.db)
    assert by_hand("parse").success
    state = ["--state", str(hand_folder / "target")]
    assert by_hand("clone", "--target", "dev", *state, target_path="dev").success
    unit = ["--exclude-resource-type", "unit_test"]
    assert by_hand("build", "--target", "dev", *unit, target_path="dev").success
    assert seen(two_days.db) == before
    found = settled(two_days)
    tables = ("silver.agents", "silver.transactions")
    mine = seen(two_days.db, tuple(f"mine_{table}" for table in tables))
    assert [*mine.values()] == [found[table] for table in tables]


def test_what_is_modified_builds_on_what_another_target_has(
    two_days, settled, by_hand, hand_folder, monkeypatch
):
    monkeypatch.setenv("DBT_DEV_SCHEMA", "mine")
    assert by_hand("parse").success
    before = settled(two_days)
    deferred = ["--defer", "--state", str(hand_folder / "target"), "--target", "dev"]
    tables = (
        *("silver.agents", "silver.agent_status_history"),
        *("metrics.group_activity", "metrics.row_ledger"),
    )
    chosen = [table.split(".")[1] for table in tables]
    assert by_hand("run", "--select", *chosen, *deferred, target_path="dev").success
    refused = by_hand("run", "--select", *chosen, "--favor-state", *deferred, target_path="dev")
    assert "--favor-state would read" in str(refused.exception)
    mine = seen(two_days.db, tuple(f"mine_{table}" for table in tables))
    assert [*mine.values()] == [before[table] for table in tables]
    assert seen(two_days.db) == before


SNAPSHOT = """
snapshots:
  - name: agents_snapshot
    relation: ref('agents')
    config: {schema: snapshots, unique_key: agent_id, strategy: check, check_cols: [name, status]}
"""
MART = """
{{ config(unique_key='status', meta={'pipeline': 'mine'}) }}
select status, count(*) as agents from {{ ref('agents') }} group by status
"""


def test_a_snapshot_and_a_mart_of_ones_own_hold_what_each_build_left(
    two_days, settled, by_hand, tmp_path
):
    project = tmp_path / "project"
    for name in ("models", "macros", "seeds"):
        shutil.copytree(PROJECT / name, project / name)
    shutil.copy(PROJECT / "dbt_project.yml", project)
    (project / "snapshots").mkdir()
    (project / "snapshots" / "agents.yml").write_text(SNAPSHOT)
    (project / "models" / "marts" / "mine.sql").write_text(MART)
    mine = ("build", "--select", "mine", "agents_snapshot")
    assert by_hand(*mine, project=project, target_path="snapshot").success
    settled(two_days)
    assert by_hand(*mine, project=project, target_path="snapshot").success
    versions = tuples(
        two_days.db,
        "select agent_id, name, status, dbt_valid_to is null as is_last"
        " from snapshots.agents_snapshot order by agent_id, dbt_valid_from",
    )
    first = [version for version in versions if version[0] == "1"]
    assert first == [("1", "Agent 1", "active", False), ("1", "renamed", "active", True)]
    latest = [tuple(version) for *version, is_last in versions if is_last]
    agents = "select agent_id, name, status from silver.agents order by 1"
    assert latest == tuples(two_days.db, agents)
    mine = "from metrics.pipeline_metrics where table_name = 'mine' order by id"
    assert tuples(two_days.db, f"select rows_inserted, rows_updated {mine}") == [(1, 0), (1, 0)]


MODEL = re.compile(r'"node_id": "model\.daybook\.(\w+)"')


def test_a_model_asks_for_its_plan_once_and_for_its_columns_from_the_catalogue(two_days, by_hand):
    asked: dict[str, list[str]] = defaultdict(list)

    def on_event(event: Any) -> None:
        # a query begins with dbt's comment, which names the model
        if event.info.name == "SQLQuery" and (model := MODEL.search(event.data.sql)):
            asked[model[1]].append(event.data.sql.lower())

    assert by_hand("run", "--select", "int_roles_records", "roles", on_event=on_event).success
    for model in ("int_roles_records", "roles"):
        assert sum("as held_batch_id" in query for query in asked[model]) == 1, model
        assert any("from pg_attribute" in query for query in asked[model]), model
        assert not any("information_schema.columns" in query for query in asked[model])
