"""`daybook explain`: a record's history, day by day, without personal values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flows.cli import main
from tests.silver_world import agent, group, transaction


def _story(*words: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["explain", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.builds("agents", "groups")
def test_a_record_is_told_from_its_first_day_to_its_readers(world, capsys, monkeypatch):
    first = agent(7, email="ada@example.com", updated_at="2026-01-05T00:00:00Z")
    newer = first | {"email": "new@example.com", "updated_at": "2026-01-06T00:00:00Z"}
    newer |= dict.fromkeys(("job_title", "language", "mobile", "phone", "time_zone"), "5")
    bad = first | {"email": "", "updated_at": "2026-01-08T00:00:00Z"}
    world.day("day1", agents=[first, agent(1)], groups=[group(5, [7])])
    world.day("day2", agents=[newer, first, agent(1)], groups=[group(5, [7])])
    world.day("day3", agents=[bad, agent(1)])
    world.day("day4", agents=[agent(1)])

    story = _story("agents", "7", capsys=capsys)
    days = [(each["day"], each["outcome"], each.get("row")) for each in story["days"]]
    assert days == [
        *(("day1", "inserted", 1), ("day2", "updated", 1), ("day2", "duplicate", 2)),
        *(("day3", "quarantined", 1), ("day4", "not listed", None)),
    ]
    changed = ["email", "job_title", "language", "mobile", "phone", "time_zone", "updated_at"]
    assert story["days"][1]["changed"] == changed
    assert story["days"][3]["reasons"] == ["email_missing"]
    assert [each["day"] for each in story["days"] if each.get("in_silver")] == ["day2"]
    assert story["silver"]["status"] == "inactive"
    assert story["silver"]["last_seen_day"] == "day3"
    assert story["read_by"]["silver.group_memberships_history"] == 1
    assert "example.com" not in json.dumps(story)
    world.db.execute(  # that it has an agent_id does not make it one of its readers
        "insert into metrics.node_runs values"
        " ('r', '1970-01-05', 'agent_status_history', 'model', 'success', null, null, 1, '{cards}')"
    )
    readers = _story("agents", "7", capsys=capsys)["read_by"]
    assert story["read_by"].keys() - readers.keys() == {"silver.agent_status_history"}
    seen = json.dumps(_story("agents", "7", "--values", capsys=capsys))
    assert "updated_at" in seen and "2026-01-06" in seen and "example.com" not in seen
    assert "new@example.com" in json.dumps(_story("agents", "7", "--personal", capsys=capsys))

    monkeypatch.setenv("COLUMNS", "80")
    assert main(["explain", "agents", "7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "agents 7 is in silver: status inactive, first seen day1, last seen day3"

    pair = _story("group_memberships", "5", "7", capsys=capsys)
    assert [each["outcome"] for each in pair["days"]][:2] == ["inserted", "unchanged"]
    assert main(["explain", "group_memberships", "5"]) == 2
    assert "group_memberships GROUP_ID AGENT_ID" in capsys.readouterr().err
    assert main(["explain", "agents", "8"]) == 1
    assert "No record of agents with the key 8" in capsys.readouterr().err


@pytest.mark.builds("transactions")
def test_a_number_written_otherwise_has_not_changed_and_a_bad_value_is_shown(world, capsys):
    for day, rate in (("day1", "1.10"), ("day2", "1.1"), ("day3", "1.2"), ("day4", "much")):
        world.day(day, transactions=[transaction("t1", exchange_rate=rate)])
    world.day("day5", transactions=[transaction("t1", exchange_rate="ada@example.com")])
    days = _story("transactions", "t1", "--values", capsys=capsys)["days"]
    assert (days[1]["outcome"], days[1]["changed"]) == ("unchanged", [])
    assert days[2]["values"]["exchange_rate"] == "1.2"
    assert (days[3]["outcome"], days[3]["values"]["exchange_rate"]) == ("quarantined", "much")
    assert "ada@" not in json.dumps(days), "it may be in the wrong column"


@pytest.mark.builds("agents")
def test_control_characters_of_files_are_not_printed(world, capsys):
    world.day("day1", agents=[agent(7, name="Ada\x1b[2J", signature="Yours\nA.")])
    world.day("day2", agents=[agent(7, name="Ada", signature=None)])
    assert main(["explain", "agents", "7", "--personal"]) == 0
    printed = capsys.readouterr().out
    assert "name: Ada" in printed and "\x1b" not in printed
    indent = "\n" + " " * 25
    assert f"{indent}signature: Yours{indent}  A.\n" in printed
    assert f"{indent}signature: null" in printed
    assert "← what silver holds" in printed
