"""Landed days that have been built leave bronze after some days, and nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest

from loaders import landing, retention, warehouse
from loaders.days import parse_day
from loaders.errors import UsageError
from loaders.preview import preview_day
from tests.conftest import BUILT, copy_database
from tests.silver_world import World, agent, group, transaction
from tests.watching import column, tuples, value

DAYS = ("day1", "day2", "day3", "day4")


def write_days(world: World) -> None:
    for number, day in enumerate(DAYS, 1):
        late = transaction(f"t{number - 1}", amount_minor="7", updated_time="2026-01-06T00:00:00Z")
        world.write(
            day,
            agents=[agent(1), agent(number), agent("x", name="a\0")],
            groups=[group(10, [1, number]), group(11, [number], parent_group_id=10)],
            transactions=[transaction(f"t{number}"), late, transaction(f"q{number}", exponent="9")],
            **({"roles": [{"role_id": 1, "name": "R"}]} if number == 1 else {}),
        )


def run_days(world: World, keep: int | None) -> None:
    for day in DAYS:
        landing.land_day(world.folder, parse_day(day))
        world.build(day=day)
        retention.expire_days(keep, flow_run_id="r")


def landed(world: World) -> set[tuple[str, str]]:
    """(table, day) of the partitions that are there."""
    partitions = (
        "select relname from pg_inherits"
        " join pg_class on pg_class.oid = inhrelid where relkind = 'r'"
    )
    names = column(world.db, partitions)
    return {(name[:-10], f"day{int(name[-2:]) - 1}") for name in names}


def test_expired_days_change_nothing_but_bronze(world, shared_home, dbt):
    write_days(world)
    for day in DAYS:
        landing.land_day(world.folder, parse_day(day))
    world.build()
    retention.expire_days(None, flow_run_id="r")
    state, quarantined = world.state(), world.reasons("transactions")
    assert {day for _, day in landed(world)} == set(DAYS)
    with world.without_session():
        copy_database(shared_home, BUILT)
    run_days(world, 1)
    assert world.state() == state
    kept = column(world.db, "select distinct _day::text from bronze.load_rejects order by 1")
    assert kept == ["1970-01-04", "1970-01-05"]
    assert world.reasons("transactions") == quarantined
    assert {day for _, day in landed(world) - {("stg_roles", "day1")}} == {"day3", "day4"}
    assert ("stg_roles", "day1") in landed(world), "the newest list of roles is day1's"
    noted = column(world.db, "select distinct day::text from bronze.expired_days order by 1")
    assert noted == ["1970-01-02", "1970-01-03"]
    world.build()
    assert world.state() == state

    # a full refresh is refused, naming the days, until they land again
    with pytest.raises(Exception, match="day1, day2"):
        dbt("build", "--full-refresh")
    assert world.state() == state
    for day in DAYS[:2]:
        outcomes = landing.land_day(world.folder, parse_day(day))
        assert {one.status for one in outcomes if one.table == "stg_agents"} == {"succeeded"}
    world.build("--full-refresh")
    assert world.state() == state


@pytest.mark.builds("agents", "groups", "transactions", "roles")
def test_the_newest_list_stays_when_a_later_one_was_taken_back(world):
    for day in ("day1", "day2"):
        world.day(day, roles=[{"role_id": 1, "name": "R"}])
    for day in ("day2", "day4"):
        world.day(day)
    retention.expire_days(1, flow_run_id="r")
    of_day4 = {("stg_agents", "day4"), ("stg_groups", "day4"), ("stg_transactions", "day4")}
    assert landed(world) == {("stg_roles", "day1"), *of_day4}


def test_a_day_not_yet_applied_stays(world):
    write_days(world)
    landing.land_day(world.folder, parse_day("day1"))
    world.build()
    for day in DAYS[1:]:
        landing.land_day(world.folder, parse_day(day))
    world.build(day="day4")
    landing.land_day(world.folder, parse_day("day1"), tables=["stg_agents"], force=True)
    expired = retention.expire_days(1, flow_run_id="r")
    assert {day for _, day in expired} == {parse_day("day1").date}, "day2 waits to be applied"
    assert "stg_groups" in {table for table, _ in expired}
    assert "stg_agents" not in {table for table, _ in expired}, (
        "what landed is not what was applied"
    )


@pytest.mark.builds("roles")
def test_a_table_that_is_gone_from_an_expired_day_is_gone_from_silver(world):
    for day, role in (("day1", 1), ("day2", 2), ("day4", 1)):
        world.day(day, roles=[{"role_id": role, "name": "R"}])
    retention.expire_days(1, flow_run_id="r")
    assert ("stg_roles", "day2") not in landed(world)
    world.write("day2")
    planned = preview_day(str(world.folder), parse_day("day2"), allow_empty=True)
    assert [one.status for one in planned if one.table == "stg_roles"] == ["dropped"]
    world.day("day2")
    assert column(world.db, "select role_id from silver.roles") == ["1"]


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "all", "１"])
def test_a_setting_that_is_no_number_of_days_is_refused(text, monkeypatch):
    monkeypatch.setenv(retention.SETTING, text)
    with pytest.raises(UsageError, match="DAYBOOK_KEEP_DAYS"):
        retention.keep_days()


def test_its_sessions_name_the_day_and_the_run(world, monkeypatch):
    connect, seen = warehouse.connect, set()
    settings = ("app.day", "app.flow_run_id", "application_name")
    query = "select " + ", ".join(f"current_setting('{name}', true)" for name in settings)

    def noted(**how: Any) -> Any:
        conn = connect(**how)
        seen.update(tuples(conn, query))
        return conn

    monkeypatch.setattr(warehouse, "connect", noted)
    retention.expire_days(1, flow_run_id="r", day=parse_day("day2"))
    retention.sweep_orphans(flow_run_id="r", day=parse_day("day2"))
    assert seen == {("1970-01-03", "r", "daybook r")}


def test_what_a_dead_run_left_is_swept_and_nothing_else(world):
    write_days(world)
    landing.land_day(world.folder, parse_day("day1"))
    before = landed(world)
    world.db.execute("create table bronze.stg_agents_p19700109_77 (a int)")
    world.db.execute("create table silver.agents__dbt_backup (a int)")
    world.db.execute("create table bronze.mine (a int)")
    world.db.execute("create view intermediate.v__dbt_tmp as select 1 as one")
    swept = retention.sweep_orphans(flow_run_id="r")
    of_dbt = ["intermediate.v__dbt_tmp", "silver.agents__dbt_backup"]
    assert swept == ["bronze.stg_agents_p19700109_77", *of_dbt]
    assert landed(world) == before
    assert value(world.db, "select to_regclass('bronze.mine')")
