"""Quarantined memberships: those that the ledger counts, and lists as they were delivered."""

from __future__ import annotations

import json

import pytest

from flows.checks.run import check_day
from loaders import landing, warehouse
from loaders.days import parse_day
from loaders.forget import forget
from tests.silver_world import agent, group
from tests.watching import tuples


@pytest.mark.builds("groups")
def test_the_lists_of_a_group_that_is_not_valid_are_in_quarantine(world):
    world.write("day1")
    groups = [
        {"id": 10, "name": "G", "agent_ids": [1], "created_at": "03/04/2024"},
        {"name": "no id", "agent_ids": [1, 2]},
        {"name": "no id", "agent_ids": "nonsense", "region": "north"},
        {"id": 11, "name": "H", "agent_ids": "nonsense", "region": "south"},
    ]
    (world.folder / "day1/groups.csv").unlink()
    (world.folder / "day1/groups.json").write_text(json.dumps(groups))
    pairs = [{"group_id": 11, "agent_id": 99, "since": "2020"}, {"group_id": 11}]
    (world.folder / "day1/group_memberships.json").write_text(json.dumps(pairs))
    landing.land_day(world.folder, parse_day("day1"))
    world.build(day="day1")
    assert world.ledger("day1", "group_memberships", "stg_groups") == {"quarantined": 3}
    columns = "group_id, agent_id, agent_ids, _errors, _extra"
    order = "_source_table desc, _source_row, agent_id"
    rows = f"select {columns} from quarantine.group_memberships order by {order}"
    assert tuples(world.db, rows) == [
        ("10", "1", None, ["group_invalid"], None),
        (None, "1", None, ["group_invalid"], None),
        (None, "2", None, ["group_invalid"], None),
        (None, None, "nonsense", ["group_invalid", "agent_ids_invalid"], {"region": "north"}),
        ("11", None, "nonsense", ["agent_ids_invalid"], {"region": "south"}),
        ("11", "99", None, ["unknown_agent"], {"since": "2020"}),
        ("11", None, None, ["agent_id_missing"], None),
    ]


@pytest.mark.builds("groups")
def test_the_ledger_has_the_records_of_a_memberships_file_that_could_not_land(world):
    pairs = [{"group_id": 10, "agent_id": 1}] * 15
    world.write("day1", groups=[group(10, [1])], group_memberships=pairs)
    with (world.folder / "day1/group_memberships.csv").open("a") as file:
        file.write("10,1,ragged\n")
    landing.land_day(world.folder, parse_day("day1"))
    world.build(day="day1")
    counts = "table_name, rows_in_files, rows_rejected, rows_landed, rows_inserted, rows_duplicate"
    of = "metrics.row_ledger where target = 'group_memberships' order by table_name"
    assert tuples(world.db, f"select {counts} from {of}") == [
        ("stg_group_memberships", 16, 1, 15, 0, 15),
        ("stg_groups", 1, 0, 1, 1, 0),
    ]


@pytest.mark.builds("groups", "transactions")
def test_those_who_were_forgotten_are_there_and_fail_no_day(world):
    world.day("day1", agents=[agent(n) for n in range(30)])
    with warehouse.connect() as conn:
        for n in range(4):
            forget(conn, str(n))
    assert world.reasons("agents") == [("forgotten",)] * 4
    [share] = [
        one for one in check_day(parse_day("day1"), "run-1") if one.check_name == "quarantine_share"
    ]
    assert (share.success, share.unexpected_count) == (True, 0)
