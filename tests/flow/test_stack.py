"""`make up` and what runs on it: deployments by the worker, phases as runs of their own."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import psycopg
import pytest

from flows import stack as the_stack
from flows.deploy import declared
from loaders.sources import PROJECT, declared_tables

SAMPLE = PROJECT / "tests" / "sample"
DAY = "day-pipeline/day-pipeline"
pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]


def built(connection: psycopg.Connection) -> dict[str, list[Any]]:
    """What silver and the marts hold, apart from lineage and times of runs."""
    found = {}
    for table in connection.execute(
        "select table_schema || '.' || table_name as name,"
        " string_agg(quote_ident(column_name), ', ' order by column_name) as columns"
        " from information_schema.columns"
        " where table_schema in ('silver', 'marts') and column_name not like '\\_%'"
        " and table_name <> 'transaction_pipeline_state' group by 1"
    ).fetchall():
        rows = connection.execute(f"select {table['columns']} from {table['name']}").fetchall()
        found[table["name"]] = sorted(str(list(row.values())) for row in rows)
    return found


def newest(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Others of the same name are those of tests before."""
    return max(runs, key=lambda run: run["expected_start_time"])


def test_a_deployment_runs_a_day_on_the_worker_and_up_again_changes_nothing(stack):
    before = [stack.pid(name) for name in ("server", "worker")]
    stack.up()
    assert [stack.pid(name) for name in ("server", "worker")] == before

    done = stack.run(
        "prefect", "deployment", "run", DAY, "-p", "day=day1", "-p", f"data={SAMPLE}", "--watch",
        PREFECT_API_URL=stack.url,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    run = newest(stack.flow_runs(name={"any_": ["day1"]}))
    assert run["state_type"] == "COMPLETED"
    with stack.connect() as connection:
        row = connection.execute(
            "select status, flow_run_id from metrics.pipeline_metrics"
            " where task_name = 'day-pipeline' order by id desc limit 1"
        ).fetchone()
        assert row == {"status": "success", "flow_run_id": run["id"]}

    said = stack.run("flows.stack", "status")
    assert said.returncode == 0
    assert stack.url in said.stdout
    logs = stack.run("flows.stack", "logs")
    assert "Finished in state Completed" in logs.stdout


def test_every_declared_deployment_is_there_and_the_night_is_switched_off(stack):
    found = {each["name"]: each for each in stack.prefect("POST", "/deployments/filter", limit=50)}
    assert {f"{name}/{name}" for name in found} == set(declared())
    (schedule,) = found["day-pipeline"]["schedules"]
    assert schedule["active"] is False
    assert schedule["schedule"]["cron"] == "0 2 * * *"
    assert schedule["schedule"]["timezone"] == "UTC"
    assert "day" not in found["day-pipeline"]["parameters"]


def test_prefects_database_is_apart_from_the_data(stack):
    with stack.connect() as connection:
        names = {row["datname"] for row in connection.execute("select datname from pg_database")}
        assert {"daybook", "prefect"} <= names
        assert connection.execute("select to_regclass('public.flow_run') as t").fetchone() == {
            "t": None
        }


def test_a_distributed_day_is_a_run_for_each_phase_and_table_and_ends_as_a_local_one(
    stack, flow_cli, db
):
    done = stack.run("flows.day", "--day", "day2", "--data", SAMPLE, "--mode", "distributed")
    assert done.returncode == 0, done.stdout + done.stderr
    parent = newest(stack.flow_runs(name={"any_": ["day2"]}))
    ids = {
        each["id"]: each["name"] for each in stack.prefect("POST", "/deployments/filter", limit=50)
    }
    children = [
        run
        for run in stack.flow_runs(deployment_id={"any_": list(ids)})
        if run["parameters"].get("run_id") == parent["id"]
    ]
    assert {run["state_type"] for run in children} == {"COMPLETED"}
    by_deployment: dict[str, list[dict[str, Any]]] = {}
    for run in children:
        by_deployment.setdefault(ids[run["deployment_id"]], []).append(run)
    assert set(by_deployment) == set(ids.values()) - {"day-pipeline", "backfill"}
    tables = {run["parameters"]["table"] for run in by_deployment["land-table"]}
    assert tables == set(declared_tables())
    assert {len(runs) for name, runs in by_deployment.items() if name != "land-table"} == {1}

    (prepare,), (land,) = by_deployment["prepare-day"], by_deployment["land-day"]
    assert prepare["start_time"] < land["end_time"]
    assert land["start_time"] < prepare["end_time"]
    (match,) = by_deployment["match-names"]
    assert match["start_time"] > max(prepare["end_time"], land["end_time"])
    logged = stack.prefect(
        "POST", "/logs/filter", logs={"flow_run_id": {"any_": [run["id"] for run in children]}}
    )
    assert {line["flow_run_id"] for line in logged} == {run["id"] for run in children}
    (transform,) = by_deployment["transform-day"]
    nodes = stack.prefect(
        "POST", "/task_runs/filter", flow_runs={"id": {"any_": [transform["id"]]}}
    )
    assert {"agents", "transactions"} <= {node["name"] for node in nodes}

    assert flow_cli("flows.day", "--day", "day2", "--data", SAMPLE).returncode == 0
    with stack.connect() as connection:
        # The stack has seen day1 too: the same here, in the other order.
        assert flow_cli("flows.day", "--day", "day1", "--data", SAMPLE).returncode == 0
        assert stack.run("flows.day", "--day", "day1", "--data", SAMPLE).returncode == 0
        assert built(connection) == built(db)


def test_a_pool_too_small_for_parent_and_children_is_refused(stack):
    stack.prefect("PATCH", f"/work_pools/{the_stack.POOL}", concurrency_limit=1)
    try:
        done = stack.run("flows.day", "--day", "day1", "--data", SAMPLE, "--mode", "distributed")
    finally:
        stack.prefect("PATCH", f"/work_pools/{the_stack.POOL}", concurrency_limit=8)
    assert done.returncode == 2
    assert "runs 1 at once" in done.stderr
    assert "set-concurrency-limit" in done.stderr


def test_deploying_says_that_no_server_answers_and_fails():
    done = subprocess.run(
        [sys.executable, "-m", "flows.deploy", "--wait", "0.1"],
        cwd=PROJECT,
        env={"PATH": "/usr/bin:/bin", "PREFECT_API_URL": "http://127.0.0.1:9/api"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "No Prefect server answers at http://127.0.0.1:9/api" in done.stderr
