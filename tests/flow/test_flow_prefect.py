"""What Prefect shows of a day: names, tags, the run's log, artifacts with links, nodes."""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from loaders.sources import PROJECT
from tests.flow.conftest import SAMPLE
from tests.watching import prefect, runs, until


def _prefect(path: str, **body: Any) -> Any:
    return prefect(os.environ["PREFECT_API_URL"], path, **body)


def _log(flow_run_id: str) -> dict[str, str]:
    """Level → what the run's log says at it."""

    def written() -> dict[str, str]:
        by_level = {"INFO": "", "WARNING": "", "ERROR": ""}
        wanted = {"flow_run_id": {"any_": [flow_run_id]}}
        for line in _prefect("/logs/filter", logs=wanted, limit=200):
            by_level[logging.getLevelName(line["level"])] += line["message"] + "\n"
        return by_level if "Finished in state" in "".join(by_level.values()) else {}

    return until(written, 20)


def test_prefect_shows_how_a_day_went_and_why_one_failed(after_day1, flow_cli, db, tmp_path: Path):
    for name in ("day2", "day3"):
        shutil.copytree(SAMPLE / name, tmp_path / name)
    (tmp_path / "day2" / "notes.csv").write_text("a\n1\n")
    (tmp_path / "day3" / "agents.csv").write_text("a\n1\n")
    assert flow_cli("flows.day", "--day", "day2", "--data", tmp_path).returncode == 0
    assert flow_cli("flows.day", "--day", "day3", "--data", tmp_path).returncode == 1
    _, went, failed = (run["flow_run_id"] for run in runs(db))
    shown = _prefect(f"/flow_runs/{went}")
    assert shown["name"] == "day-pipeline day2"
    assert {"day2", "local", "python"} <= set(shown["tags"])

    said = _log(went)
    assert re.search(r"stg_transactions succeeded: \d+ rows", said["INFO"])
    assert re.search(r"transactions +\d+ landed, \d+ new", said["INFO"])
    assert "the ledger balances" in said["INFO"]
    assert "notes.csv: " in said["WARNING"]
    assert "deadlock" not in said["WARNING"]
    assert "agents.csv" in _log(failed)["ERROR"]

    wanted = {"flow_run_id": {"any_": [went]}}
    left = {a["key"]: a["data"] for a in _prefect("/artifacts/filter", artifacts=wanted)}
    assert set(left) == {"daybook-ledger", "daybook-summary"}
    linked = re.findall(r"\]\(file://(.*?)\)", left["daybook-summary"])
    assert [Path(page).name for page in linked] == [f"{went}.html", "index.html", "lineage.html"]
    assert all(Path(page).is_relative_to(os.environ["DAYBOOK_HOME"]) for page in linked)

    found = _prefect("/task_runs/filter", flow_runs={"id": {"any_": [went]}})
    exposures = yaml.safe_load((PROJECT / "models" / "_exposures.yml").read_text())["exposures"]
    assert not {exposure["name"] for exposure in exposures} & {run["name"] for run in found}
