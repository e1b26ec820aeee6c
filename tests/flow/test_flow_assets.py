"""DAYBOOK_DBT_RUNNER=prefect: dbt by prefect-dbt's own runner, which reads a copy of the profile
far from the project, and makes an asset of each relation."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from flows import transform
from loaders import server
from loaders.sources import PROJECT
from tests.raw_days import SAMPLE
from tests.watching import prefect, until

SILVER = "postgres://daybook/silver/"


def _materialized(url: str) -> set[str]:
    """The names of silver's assets that Prefect has seen built."""
    wanted = {
        "event": {"name": ["prefect.asset.materialization.succeeded"]},
        "resource": {"id_prefix": [SILVER]},
    }
    events = prefect(url, "/events/filter", filter=wanted, limit=50)["events"]
    return {event["resource"]["prefect.resource.id"].removeprefix(SILVER) for event in events}


@pytest.mark.slow
def test_prefects_own_runner_builds_the_embedded_warehouse_and_leaves_assets(
    prefect_url, dbt_folder, forks, short_tmp, monkeypatch
):
    home = short_tmp / "home"
    monkeypatch.setenv("DAYBOOK_DBT_RUNNER", "prefect")
    monkeypatch.setenv("DAYBOOK_HOME", os.path.relpath(home, PROJECT))
    monkeypatch.setenv("DBT_PROFILES_DIR", str(dbt_folder))
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    day = ("--day", "day1", "--data", str(SAMPLE))
    try:
        done = forks.start("flows.day", *day, env=dict(os.environ))
        done.wait(300)
    finally:
        server.reset(home)
    assert done.returncode == 0, done.stderr
    assert "the ledger balances" in done.stdout
    assert not [*(home / "dbt" / "logs").glob("*")]  # it would quote rows

    models = {model.stem for model in (PROJECT / "models" / "silver").glob("*.sql")}
    until(lambda: _materialized(prefect_url) >= models)  # Prefect writes events a moment later
    assert _materialized(prefect_url) == models


def test_prefects_own_runner_logs_no_row(prefect_url, dbt_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("DAYBOOK_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    monkeypatch.setenv("DBT_PROFILES_DIR", str(dbt_folder))
    row = "Failing row contains (9001, jane@example.com,\n  Jane)"
    info = SimpleNamespace(msg=f"Database Error in model agents\n  new row\n  DETAIL:  {row}.")
    runner = transform._prefects_runner(lambda event: None)
    assert runner.get_dbt_event_msg(SimpleNamespace(info=info)) == "new row"
