"""What a day left out, mended or found changed stands wherever its verdict does; in Prefect, beside
the run's name, tags, log, artifacts with links, and nodes."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from loaders.sources import PROJECT
from tests.raw_days import SAMPLE
from tests.watching import prefect, run_log, runs, value

SAID = {
    "stg_roles": "did not land",
    "stg_agents": "rows landed repaired",
    "stg_transactions": "fields gone: budget_uuid, card_uuid, user_uuid",
    "transactoins.csv": "no table is found under",
}


def test_what_was_left_out_mended_or_changed_stands_everywhere(
    after_day1, flow_cli, db, hook, tmp_path
):
    messages, day = hook(), tmp_path / "day2"
    shutil.copytree(SAMPLE / "day2", day)
    (day / "roles.json").write_bytes(b"\x00\x01 not json at all")
    (day / "transactoins.csv").write_text("transaction_id\n")
    page = day / "agents" / "1.json"
    page.write_text(page.read_text().replace('"name": "', '"name": "\\u0000', 1))
    done = flow_cli("flows.day", "--day", "day2", "--data", tmp_path)
    assert done.returncode == 0, done.stderr
    assert value(db, "select count(*) from silver.agents") > 0

    status = " ".join(flow_cli("flows.status").stdout.split())
    written = (Path(os.environ["DAYBOOK_HOME"]) / "site" / "run.html").read_text(encoding="utf-8")
    account = " ".join(done.stdout.split())
    (message,) = map(json.loads, messages)
    went = runs(db)[-1]["flow_run_id"]
    log = run_log(os.environ["PREFECT_API_URL"], went)
    for name, said in SAID.items():
        assert f"{name}: {said}" in account or f"{name}: 1 {said}" in account, name
        assert f"{name}: {said}" in status or f"{name}: 1 {said}" in status, name
        assert f"<li>{name}: " in written and said in written, name
        assert f"{name}: " in log["WARNING"] and said in log["WARNING"], name
        assert any(w.startswith(f"{name}: ") and said in w for w in message["warnings"]), name
    verdict = "tables that are there and did not land: 1; files that no table uses: 1"
    assert verdict in status and verdict in written
    assert 'class="verdict warned"' in written
    assert message["error"] is None and "stg_roles" in message["text"]
    assert re.search(r"stg_transactions succeeded: \d+ rows", log["INFO"])
    assert re.search(r"transactions +\d+ landed, \d+ new", log["INFO"])
    assert "the ledger balances" in log["INFO"]
    assert "deadlock" not in log["WARNING"]
    prefect_shows(went)


def prefect_shows(run_id: str) -> None:
    def ask(path: str, **body: Any) -> Any:
        return prefect(os.environ["PREFECT_API_URL"], path, **body)

    shown = ask(f"/flow_runs/{run_id}")
    assert shown["name"] == "day-pipeline day2"
    assert {"day2", "local", "python"} <= set(shown["tags"])

    artifacts = ask("/artifacts/filter", artifacts={"flow_run_id": {"any_": [run_id]}})
    by_key = {artifact["key"]: artifact["data"] for artifact in artifacts}
    assert set(by_key) == {"daybook-ledger", "daybook-summary"}
    linked = re.findall(r"\]\(file://(.*?)\)", by_key["daybook-summary"])
    assert [Path(page).name for page in linked] == [f"{run_id}.html", "index.html", "lineage.html"]
    assert all(Path(page).is_relative_to(os.environ["DAYBOOK_HOME"]) for page in linked)

    found = ask("/task_runs/filter", flow_runs={"id": {"any_": [run_id]}})
    exposures = yaml.safe_load((PROJECT / "models" / "_exposures.yml").read_text())["exposures"]
    assert found and not {each["name"] for each in exposures} & {run["name"] for run in found}
