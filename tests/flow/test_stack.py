"""`make up` and what runs on it: deployments by the worker, phases as runs of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flows.stack
from flows import api, deploy
from flows.deploy import declared
from loaders import process, warehouse
from loaders.sources import declared_tables
from tests.conftest import MIGRATED, copy_database
from tests.raw_days import SAMPLE
from tests.watching import run_command, run_python, runs, silver_and_marts, value

DAY = "day-pipeline/day-pipeline"
pytestmark = pytest.mark.stack


def newest(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Others of the same name are those of tests before."""
    return max(runs, key=lambda run: run["expected_start_time"])


def test_a_deployment_runs_a_day_on_the_worker_and_up_again_changes_nothing(stack):
    before = [stack.pid(name) for name in ("server", "worker")]
    stack.up()
    assert [stack.pid(name) for name in ("server", "worker")] == before

    done = stack.deployment(DAY, "day=day1")
    assert done.returncode == 0, done.stdout + done.stderr
    run = newest(stack.flow_runs(name={"any_": ["day-pipeline day1"]}))
    assert run["state_type"] == "COMPLETED"
    with stack.connect() as connection:
        last = runs(connection)[-1]
        assert (last["status"], last["flow_run_id"]) == ("success", run["id"])

    stack.deployment(DAY, "day=day7")  # which has not come
    run = newest(stack.flow_runs(name={"any_": ["day-pipeline day7"]}))
    assert "has no day7/ or sync-day7/" in run["state"]["message"]
    with stack.connect() as connection:
        assert runs(connection)[-1]["day"].day == 2, "no failed day"

    status = stack.cold("flows.stack", "status")
    assert status.returncode == 0
    assert stack.api in status.stdout
    assert "Finished in state Completed" in stack.cold("flows.stack", "logs").stdout


def test_a_proof_on_the_worker_is_told_on_the_newest_runs_page(stack):
    done = stack.run("prefect", "deployment", "run", "prove/prove", "--watch")
    assert done.returncode == 0, done.stdout + done.stderr
    pages = [page.read_text() for page in (stack.home / "site").rglob("*.html")]
    assert [page for page in pages if "1 day proved to be what the days build" in page]


def test_every_declared_deployment_is_there_and_the_schedules_are_switched_off(stack):
    found = {each["name"]: each for each in stack.prefect("/deployments/filter", limit=50)}
    assert set(found) == set(declared())
    (schedule,) = found["day-pipeline"]["schedules"]
    (weekly,) = found["prove"]["schedules"]
    assert (schedule["active"], weekly["active"]) == (False, False)
    assert schedule["schedule"]["cron"] == "0 2 * * *"
    assert schedule["schedule"]["timezone"] == "UTC"
    assert "day" not in found["day-pipeline"]["parameters"]


def test_deploying_leaves_a_schedule_as_somebody_has_switched_it(stack):
    def nightly() -> tuple[str, bool]:
        found = stack.prefect(f"/deployments/name/{DAY}")
        return found["schedules"][0]["id"], found["schedules"][0]["active"]

    for word, is_on in (("resume", True), ("pause", False)):
        stack.run("prefect", "deployment", "schedule", word, DAY, nightly()[0])
        assert stack.cold("flows.deploy", "day-pipeline").returncode == 0
        assert nightly()[1] is is_on


def test_prefects_database_is_apart_from_the_data(stack):
    assert (stack.home / "prefect" / "prefect.db").exists()
    with stack.connect() as connection:
        assert value(connection, "select to_regclass('public.flow_run')") is None


def test_a_distributed_day_is_a_run_for_each_phase_and_table_and_ends_as_a_local_one(
    stack, flow_cli, db
):
    copy_database(stack.home, MIGRATED)
    done = stack.run("flows.day", "--day", "day2", "--data", SAMPLE, "--mode", "distributed")
    assert done.returncode == 0, done.stdout + done.stderr
    parent = newest(stack.flow_runs(name={"any_": ["day-pipeline day2"]}))
    ids = {each["id"]: each["name"] for each in stack.prefect("/deployments/filter", limit=50)}
    children = [
        run
        for run in stack.flow_runs(deployment_id={"any_": list(ids)})
        if run["parameters"].get("run_id") == parent["id"]
    ]
    assert {run["state_type"] for run in children} == {"COMPLETED"}
    by_deployment: dict[str, list[dict[str, Any]]] = {}
    for run in children:
        by_deployment.setdefault(ids[run["deployment_id"]], []).append(run)
    assert set(by_deployment) == set(ids.values()) - {"day-pipeline", "backfill", "prove"}
    tables = {run["parameters"]["table"] for run in by_deployment["land-table"]}
    assert tables == set(declared_tables())
    assert {len(runs) for name, runs in by_deployment.items() if name != "land-table"} == {1}

    (prepare,), (land,) = by_deployment["prepare-day"], by_deployment["land-day"]
    # not when they began: on a machine with much to do one may be through before the other begins
    assert prepare["expected_start_time"] < land["end_time"]
    assert land["expected_start_time"] < prepare["end_time"]
    (match,) = by_deployment["match-names"]
    assert match["name"] == "match-names day2"
    assert {"day2", "distributed", "phase"} <= set(match["tags"])
    assert match["start_time"] > max(prepare["end_time"], land["end_time"])
    logged = stack.prefect(
        "/logs/filter", logs={"flow_run_id": {"any_": [run["id"] for run in children]}}
    )
    assert {line["flow_run_id"] for line in logged} == {run["id"] for run in children}
    (transform,) = by_deployment["transform-day"]
    nodes = stack.prefect("/task_runs/filter", flow_runs={"id": {"any_": [transform["id"]]}})
    assert {"agents", "transactions"} <= {node["name"] for node in nodes}

    assert flow_cli("flows.day", "--day", "day2", "--data", SAMPLE).returncode == 0
    with stack.connect() as connection:
        assert silver_and_marts(connection) == silver_and_marts(db)


def test_a_paused_pool_and_a_deployment_that_is_gone_are_named_with_the_command_that_helps(stack):
    day = ("flows.day", "--day", "day1", "--data", SAMPLE, "--mode", "distributed")
    stack.run("prefect", "work-pool", "pause", "daybook")
    paused = stack.cold(*day)
    process.Program(stack.home / "stack", "worker").stop()
    stack.up()
    stack.run("prefect", "work-pool", "resume", "daybook")
    assert paused.returncode == 2
    assert "prefect work-pool resume daybook" in paused.stderr
    stack.run("prefect", "--no-prompt", "deployment", "delete", "land-day/land-day")
    missing = stack.cold(*day)
    assert stack.cold("flows.deploy", "land-day").returncode == 0
    assert missing.returncode == 1
    assert "Prefect has no deployment land-day: make deploy" in missing.stderr


def test_a_worker_from_a_venv_that_is_not_activated_runs_what_prefects_own_command_deployed(
    stack, tmp_path
):
    bare = {k: v for k, v in stack.environment.items() if k.startswith(("DAYBOOK_", "DBT_"))}
    bare |= {"PREFECT_API_URL": stack.api, "PREFECT_API_AUTH_STRING": stack.secret}
    bare |= {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [sys.executable, Path(sys.executable).with_name("prefect")]
    deployed = run_command(*command, "--no-prompt", "deploy", "--all", env=bare)
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    found = stack.prefect("/deployments/filter", limit=50)
    assert all("daybook" in each["tags"] for each in found)
    process.Program(stack.home / "stack", "worker").stop()
    own = subprocess.Popen(
        [*command, "worker", "start", "--pool", "daybook"],
        cwd=tmp_path,
        env=bare,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        stack.deployment(DAY, "day=never")
    finally:
        own.terminate()
        own.wait(30)
        stack.up()
    run = newest(stack.flow_runs(name={"any_": ["day-pipeline never"]}))
    assert "is not a logical day" in run["state"]["message"]  # our own code's word


def test_one_deployment_is_sent_by_its_name_and_an_unknown_one_is_refused(stack):
    def updated() -> set[tuple[str, str]]:
        deployments = stack.prefect("/deployments/filter", limit=50)
        return {(each["name"], each["updated"]) for each in deployments}

    before = updated()
    done = stack.cold("flows.deploy", "backfill")
    assert (done.returncode, done.stdout) == (0, "deployed backfill\n"), done.stderr
    assert [name for name, _ in updated() - before] == ["backfill"]
    refused = stack.cold("flows.deploy", "nightly")
    assert refused.returncode == 2
    assert "prefect.yaml has no nightly, but day-pipeline, backfill" in refused.stderr


def test_up_takes_somebody_elses_server_on_this_machine_and_gives_it_no_secret(
    monkeypatch, tmp_path, capsys
):
    address, started = "http://127.0.0.1:4388/api", []
    ours = {"DAYBOOK_HOME": str(tmp_path), "PREFECT_API_URL": address}
    others = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    monkeypatch.setattr(os, "environ", others | ours)
    monkeypatch.setattr(warehouse, "wake", lambda: None)
    monkeypatch.setattr(api, "answers", lambda url, *_: url == address)
    monkeypatch.setattr(deploy, "deploy", lambda _names: None)
    monkeypatch.setattr(flows.stack, "_worker_command", lambda: ["work"])
    monkeypatch.setattr(process.Program, "start", lambda _self, *given: started.append(given))
    monkeypatch.setattr(api, "wait_for", lambda program, *_: started.append(program))
    flows.stack.up()
    assert "starting" in capsys.readouterr().err, "at once: it takes a while"
    [(command, settings), waited_for] = started
    assert waited_for == "worker"
    assert (command, settings["PREFECT_API_URL"]) == (["work"], address)
    assert "PREFECT_API_AUTH_STRING" not in settings


def test_deploying_says_that_no_server_answers_and_fails():
    environment = {"PATH": "/usr/bin:/bin", "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    done = run_python("-m", "flows.deploy", "--wait", "0.1", env=environment)
    assert done.returncode == 1
    assert "No Prefect server answers at http://127.0.0.1:9/api" in done.stderr


def test_its_prefect_forgets_old_runs(stack):
    services = stack.prefect("/admin/settings")["server"]["services"]
    assert "flow_runs" in services["db_vacuum"]["enabled"]
