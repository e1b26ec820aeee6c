"""Several days on the stack, and a pool that has no room for them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.raw_days import SAMPLE

pytestmark = pytest.mark.stack


def days_of(stack: Any, backfill: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs of a backfill's days, oldest first."""
    tasks = stack.prefect("/task_runs/filter", flow_runs={"id": {"any_": [backfill["id"]]}})
    runs = stack.flow_runs(parent_task_run_id={"any_": [task["id"] for task in tasks]})
    return sorted(runs, key=lambda run: run["start_time"])


def test_a_backfill_deployment_runs_its_days_below_it_in_order(stack):
    done = stack.deployment("backfill/backfill", 'days=["day1","day2"]')
    assert done.returncode == 0, done.stdout + done.stderr
    (backfill,) = stack.flow_runs(name={"any_": ["backfill day1 to day2"]})
    assert backfill["state_type"] == "COMPLETED"
    first, second = days_of(stack, backfill)
    assert [first["name"], second["name"]] == ["day-pipeline day1", "day-pipeline day2"]
    assert first["end_time"] < second["start_time"]
    assert {first["deployment_id"], second["deployment_id"]} == {None}, "in the backfill's process"


def test_a_distributed_backfill_stops_at_a_day_that_fails_and_says_how_to_go_on(stack, tmp_path):
    (tmp_path / "day1").mkdir()
    done = stack.run(
        "flows.backfill", "--days", "day1", "day2", "--data", tmp_path, "--mode", "distributed"
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "stopped at day1; done: none; not run: day2" in done.stderr
    assert "daybook backfill --days day1 day2" in done.stderr
    (landing,) = [
        run
        for run in stack.flow_runs(name={"any_": ["land-day day1"]})
        if run["parameters"]["options"]["data"] == str(tmp_path)
    ]
    assert landing["state_type"] == "FAILED"
    assert landing["deployment_id"] is not None


def test_a_pool_too_small_for_a_day_and_its_phases_is_refused(stack):
    stack.allow(1)
    try:
        done = stack.cold(
            "flows.backfill", "--days", "day1", "--data", SAMPLE, "--mode", "distributed"
        )
        stack.allow(2)
        stack.deployment("backfill/backfill", 'days=["day3"]', "mode=distributed")
    finally:
        stack.allow(8)
    assert done.returncode == 2
    assert "runs 1 at once, and 2 wait for each other: land-day, a table" in done.stderr
    assert "set-concurrency-limit" in done.stderr
    # one that a worker runs takes a slot itself
    (backfill,) = stack.flow_runs(name={"any_": ["backfill day3 to day3"]})
    assert backfill["state_type"] == "FAILED"
    message = "runs 2 at once, and 3 wait for each other: the day, land-day, a table"
    assert message in backfill["state"]["message"]
