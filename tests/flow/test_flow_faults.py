"""Runs that are locked out, stopped or killed, and what a run must never do."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from loaders import warehouse as connecting
from loaders.lock import run_lock
from loaders.sources import PROJECT

SAMPLE = PROJECT / "tests" / "sample"


def _until(true: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} s in vain: {what}")


@contextmanager
def _silver_agents_locked() -> Iterator[None]:
    """While this holds, a build waits inside the agents model."""
    with connecting.connect() as blocker:
        blocker.execute("lock table silver.agents in access exclusive mode")
        yield


def _waiting(db: psycopg.Connection) -> bool:
    row = db.execute(
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and wait_event_type = 'Lock'"
        " and application_name like 'daybook%'"
    ).fetchone()
    return row["count"] > 0


def _runs(db: psycopg.Connection) -> list[tuple[str, str | None]]:
    rows = db.execute(
        "select status, error_message from metrics.pipeline_metrics"
        " where task_name = 'day-pipeline' order by id"
    ).fetchall()
    return [(row["status"], row["error_message"]) for row in rows]


def _prefect(path: str, **body: Any) -> Any:
    request = urllib.request.Request(
        f"{os.environ['PREFECT_API_URL']}{path}",
        json.dumps(body).encode() if body else None,
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def _node_states(name: str) -> list[str]:
    """Prefect's states of the task runs of one dbt node in this test's runs, oldest first."""
    with connecting.connect() as connection:
        runs = connection.execute(
            "select flow_run_id from metrics.pipeline_metrics where task_name = 'day-pipeline'"
        ).fetchall()
    found = _prefect(
        "/task_runs/filter",
        flow_runs={"id": {"any_": [run for (run,) in runs]}},
        task_runs={"name": {"any_": [name]}},
    )
    return [run["state_type"] for run in sorted(found, key=lambda run: run["start_time"])]


@pytest.fixture
def built(flow_cli: Any) -> None:
    """day1 has been built."""
    assert flow_cli("flows.day", "--day", "day1", "--data", SAMPLE).returncode == 0


@pytest.mark.slow
def test_two_runs_at_once_and_the_second_says_who_holds_the_warehouse(
    built, flow_started, flow_cli, db
):
    with _silver_agents_locked():
        first = flow_started("flows.day", "--day", "day2", "--data", SAMPLE)
        _until(lambda: _waiting(db), "the first run builds")
        losers = [
            flow_started("flows.day", "--day", "day3", "--data", SAMPLE),
            flow_started("loaders", "--day", "day3", "--data", SAMPLE),
        ]
        shown = flow_cli("flows.status")
        said = [loser.communicate(timeout=60)[1] for loser in losers]
    running = db.execute(
        "select flow_run_id from metrics.pipeline_metrics"
        " where task_name = 'day-pipeline' and day = '1970-01-03'"
    ).fetchone()
    for loser, message in zip(losers, said, strict=True):
        assert loser.returncode == 3, message
        assert running["flow_run_id"] in message
        assert "Traceback" not in message
    assert shown.returncode == 0, shown.stderr
    assert f"lock: daybook run {running['flow_run_id']}" in shown.stdout
    assert "day1  success" in shown.stdout
    assert first.wait(60) == 0
    assert [status for status, _ in _runs(db)] == ["success", "success"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_closes_its_row_and_frees_the_lock(built, flow_started, db, number):
    with _silver_agents_locked():
        run = flow_started("flows.day", "--day", "day2", "--data", SAMPLE)
        _until(lambda: _waiting(db), "the run builds")
        _until(lambda: _node_states("agents") == ["COMPLETED", "RUNNING"], "Prefect shows it run")
        started = time.monotonic()
        run.send_signal(number)
        _, said = run.communicate(timeout=60)
        assert time.monotonic() - started < 20
        assert run.returncode == 1
        assert f"interrupted by {number.name}" in said
        assert "Traceback" not in said
        assert not _waiting(db)
    assert _runs(db)[1] == ("failure", f"The run was interrupted by {number.name}.")
    with run_lock("a test", wait=0):
        pass
    _until(lambda: "RUNNING" not in _node_states("agents"), "Prefect knows that it ended")


@pytest.mark.slow
def test_an_interrupted_landing_leaves_what_was_there(built, flow_started, flow_cli, db):
    before = db.execute("select * from bronze.stg_agents order by _source_row").fetchall()
    with connecting.connect() as blocker:
        blocker.execute("lock table bronze.stg_agents in access exclusive mode")
        run = flow_started("flows.day", "--day", "day1", "--data", SAMPLE, "--force")
        _until(lambda: _waiting(db), "the run lands")
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "interrupted by SIGTERM" in said
    assert _runs(db)[1] == ("failure", "The run was interrupted by SIGTERM.")
    after = db.execute("select * from bronze.stg_agents order by _source_row").fetchall()
    assert after == before
    assert flow_cli("flows.day", "--day", "day1", "--data", SAMPLE).returncode == 0
    left = db.execute("select count(*) from bronze.load_batches where status = 'running'")
    assert left.fetchone()["count"] == 0


@pytest.mark.slow
def test_a_day_that_takes_too_long_is_ended_with_its_sessions(built, flow_cli, db):
    with _silver_agents_locked():
        done = flow_cli("flows.day", "--day", "day2", "--data", SAMPLE, "--timeout", "4")
        assert not _waiting(db)
    assert done.returncode == 1
    assert "took more than 4 s" in done.stderr
    assert _runs(db)[1] == ("failure", "The day took more than 4 s.")


@pytest.mark.slow
def test_a_killed_run_is_closed_by_the_next_one_which_ends_the_same(
    built, flow_started, flow_cli, db
):
    with _silver_agents_locked():
        run = flow_started("flows.day", "--day", "day2", "--data", SAMPLE)
        _until(lambda: _waiting(db), "the run builds")
        run.kill()
        run.wait()
        _until(lambda: not _waiting(db), "its session ends with it", 10)
    assert _runs(db)[1] == ("running", None)
    (dead,) = db.execute(
        "select flow_run_id from metrics.pipeline_metrics"
        " where task_name = 'day-pipeline' and status = 'running'"
    ).fetchall()
    again = flow_cli("flows.day", "--day", "day2", "--data", SAMPLE)
    assert again.returncode == 0, again.stderr
    assert _runs(db)[1:] == [
        ("failure", "the run ended without closing its row"),
        ("success", None),
    ]
    assert _prefect(f"/flow_runs/{dead['flow_run_id']}")["state_type"] == "CRASHED"
    left = db.execute("select count(*) from bronze.load_batches where status = 'running'")
    assert left.fetchone()["count"] == 0
    unbalanced = db.execute("select * from metrics.row_ledger where not balanced").fetchall()
    assert unbalanced == []


@pytest.mark.slow
def test_a_lost_lock_ends_the_run_before_its_next_phase(built, flow_started, db):
    with _silver_agents_locked():
        run = flow_started("flows.day", "--day", "day2", "--data", SAMPLE)
        _until(lambda: _waiting(db), "the run builds")
        db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name like 'daybook run %'"
        )
    _, said = run.communicate(timeout=60)
    assert run.returncode == 3
    assert "lost its lock" in said


@pytest.mark.slow
def test_a_server_that_prefect_needs_does_not_outlive_a_killed_run(tmp_path: Path):
    script = (
        "import os; from flows.server import start_server; start_server();"
        "print(os.environ['PREFECT_API_URL'], flush=True); os.kill(os.getpid(), 9)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    killed = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT,
        env={**environment, "PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    port = urlsplit(killed.stdout.strip()).port
    assert port

    def refused() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    _until(refused, "the server ends", 20)


HOOK = """
import sys, os
def seen(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        what = args[1] if event == "socket.connect" else args[0]
        with open(os.environ["SEEN"], "a") as out:
            out.write(event + " " + repr(what) + "\\n")
sys.addaudithook(seen)
"""


@pytest.mark.slow
def test_a_day_calls_nobody_but_its_own_prefect_and_warehouse(
    warehouse, dbt_environment, monkeypatch, tmp_path: Path
):
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    for name in ("DO_NOT_TRACK", "DBT_SEND_ANONYMOUS_USAGE_STATS", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"))
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    done = subprocess.run(
        [sys.executable, "-m", "flows.day", "--day", "day1", "--data", str(SAMPLE)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    seen = set((tmp_path / "seen").read_text().splitlines())
    assert any("127.0.0.1" in line for line in seen), "the hook saw Prefect's own calls"
    foreign = {line for line in seen if "127.0.0.1" not in line and "'localhost'" not in line}
    assert foreign == set()


HEAVY = (
    *("dbt", "pandas", "pyarrow", "pyspark", "duckdb", "great_expectations", "sqlalchemy"),
    *("prefect_dbt", "alembic", "matplotlib"),
)


def test_importing_flows_and_loaders_loads_nothing_heavy_and_touches_nothing(tmp_path: Path):
    modules = [
        f"{package}.{path.stem}"
        for package in ("flows", "loaders")
        for path in (PROJECT / package).glob("*.py")
        if path.stem not in ("__init__", "__main__", "pipeline", "distributed")
    ]
    script = f"""
import sys, json
touched = []
def seen(event, args):
    if event.startswith("socket.") or event == "open" and not str(args[0]).endswith(
        (".py", ".pyc", ".so", ".pth")
    ):
        touched.append(event + " " + str(args[0]))
import importlib
sys.addaudithook(seen)
for name in {modules!r}:
    importlib.import_module(name)
light = [m for m in {HEAVY!r} + ("prefect", "psycopg") if m in sys.modules]
before = list(touched)
import flows.distributed
heavy = [m for m in {HEAVY!r} if m in sys.modules]
print(json.dumps([light, heavy, before]))
"""
    shown = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        env={**os.environ, "PREFECT_HOME": str(tmp_path)},
    )
    assert shown.returncode == 0, shown.stderr
    light, heavy, touched = json.loads(shown.stdout)
    assert light == [], "imported where they are used, not at the top of a module"
    assert heavy == [], "the flow itself loads Prefect, and nothing heavier"
    assert touched == []
