"""`daybook plan`: it predicts what a landing does, and writes nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from loaders import landing
from loaders.cluster import program
from loaders.days import parse_day
from loaders.session import environment
from tests.raw_days import SAMPLE
from tests.watching import run_command


def _dump() -> list[str]:
    """All that is in the database, numbers taken from sequences too."""
    shown = run_command(program("pg_dump"), env=environment())
    assert shown.returncode == 0, shown.stderr
    # a word of chance in each dump
    return [line for line in shown.stdout.splitlines() if "restrict " not in line]


@pytest.fixture
def day2(db, tmp_path) -> Path:
    """Day 1 has landed; day 2 has a ragged line, a file of no table, and roles that are no JSON."""
    landing.land_day(SAMPLE, parse_day("day1"))
    shutil.copytree(SAMPLE / "day2", tmp_path / "day2")
    with (tmp_path / "day2" / "groups.csv").open("a") as groups:
        groups.write("ragged,line\n")
    (tmp_path / "day2" / "transactoins.csv").write_text("transaction_id\n")
    (tmp_path / "day2" / "roles.json").write_text("<html>no</html>")
    return tmp_path


def _planned(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = main(["plan", *words, "--json"])
    plan = json.loads(capsys.readouterr().out)
    return code, {**plan, "tables": {each["table"]: each for each in plan["tables"]}}


def test_what_is_planned_is_what_lands_and_nothing_is_written(day2, db, capsys):
    before = _dump()
    code, plan = _planned("day2", "--data", str(day2), capsys=capsys)
    assert _dump() == before
    assert code == 0
    assert "transactoins.csv" in plan["unused"]
    roles = plan["tables"]["stg_roles"]
    assert roles["status"] == "refused" and "roles.json" in roles["error"]
    assert plan["tables"]["stg_groups"]["rejected"] == 1

    landing.land_day(day2, parse_day("day2"))
    for row in db.execute("select * from bronze.load_batches where day = '1970-01-03'"):
        if row["status"] == "succeeded":
            landed = {"rows": row["rows_landed"], "rejected": row["rows_rejected"]}
            landed["drift"] = row["drift"]
            assert plan["tables"][row["table_name"]].items() >= landed.items()
    code, plan = _planned("day2", "--data", str(day2), capsys=capsys)
    assert {each["status"] for each in plan["tables"].values()} == {"unchanged", "refused"}
    (day2 / "day2" / "cards.json").unlink()
    _, plan = _planned("day2", "--data", str(day2), capsys=capsys)
    assert plan["tables"]["stg_cards"]["status"] == "dropped"


def test_keys_are_compared_with_the_nearest_landed_day(db, tmp_path, capsys):
    def write(day: str, agents: str, transactions: str) -> None:
        (tmp_path / day).mkdir()
        (tmp_path / day / "agents.csv").write_text(f"agent_id,name\n{agents}")
        (tmp_path / day / "groups.csv").write_text("group_id\n1\n")
        rows = f"transaction_id,merchant_name\n{transactions}"
        (tmp_path / day / "transactions.csv").write_text(rows)

    write("day1", "1,Ada\n2,Bob\n3,Cy\n", "t1,Shop\n")
    write("day2", "1,Ada\n2,Bobby\n4,Di\n", "t1,Store\nt2,Shop\n")
    landing.land_day(tmp_path, parse_day("day1"))
    _, plan = _planned("day2", "--data", str(tmp_path), capsys=capsys)
    agents = {"against": "day1", "new": 1, "changed": 1, "gone": 1}
    assert plan["tables"]["stg_agents"]["keys"] == agents
    both = {"against": "all landed days", "new": 1, "changed": 1, "gone": 0}
    assert plan["tables"]["stg_transactions"]["keys"] == both


def test_it_names_what_is_in_no_file_where_the_overlay_says(db, day2, capsys, tmp_path):
    overlay = tmp_path / "overlay.yml"
    said = "available_since: sicne, org_agent_id: {from: ogr, default: none}"
    said += ", signature: {default: none}, agent_id: [id, key]"
    overlay.write_text(f"stg_agents: {{columns: {{{said}}}}}")
    words = ("plan", "day2", "--data", str(day2), "--sources", str(overlay))
    assert main([*words]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("not where the overlay says: ") == 1
    assert "not where the overlay says: available_since, org_agent_id fields" in printed


def test_a_day_that_would_fail_says_why_for_people(day2, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for page in (day2 / "day2" / "agents").iterdir():
        page.write_text("[]")
    (day2 / "day2" / "transactions").rename(day2 / "day2" / "trans")
    assert main(["plan", "day2", "--data", str(day2)]) == 1
    printed = capsys.readouterr().out
    words = " ".join(printed.split())
    assert "REFUSED: it is required" in words and "--allow-empty" in words
    assert "day2 would fail: stg_agents, stg_transactions is required" in words
    assert "against day1:" in words and "1 rejected" in words
    places = [line for line in printed.splitlines() if str(day2) not in line]
    assert max(map(len, places)) <= 80
