"""Runs that are locked out, interrupted, killed or lose their lock."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from flows.pages.verdict import AGAIN
from loaders import warehouse as connecting
from loaders.lock import KEY, run_lock
from loaders.sources import PROJECT
from tests.raw_days import SAMPLE
from tests.watching import (
    column,
    is_waited_for,
    prefect,
    run_python,
    runs,
    silver_and_marts,
    tuples,
    unfinished,
    until,
    value,
)


@contextmanager
def _locked(table: str) -> Iterator[None]:
    """While the table is locked; a run that needs it waits."""
    with connecting.connect() as blocker:
        blocker.execute(f"lock table {table} in access exclusive mode")
        yield


def _waiting(db: psycopg.Connection, what: str = "%") -> bool:
    sessions = (
        "select pid from pg_stat_activity"
        " where datname = current_database() and wait_event_type = 'Lock'"
        " and wait_event like %s and application_name like 'daybook%%'"
    )
    return column(db, sessions, [what]) != []


def _ends(db: psycopg.Connection) -> list[tuple[str, str | None]]:
    """How each run ended, and its message."""
    return [(run["status"], run["error_message"]) for run in runs(db)]


def _node_states(db: psycopg.Connection, name: str) -> list[str]:
    """Prefect's states of the task runs of one dbt node in this test's runs, oldest first."""
    found = prefect(
        os.environ["PREFECT_API_URL"],
        "/task_runs/filter",
        flow_runs={"id": {"any_": [run["flow_run_id"] for run in runs(db)]}},
        task_runs={"name": {"any_": [name]}},
    )
    return [run["state_type"] for run in sorted(found, key=lambda run: run["start_time"])]


def test_two_runs_at_once_and_the_second_says_who_holds_the_warehouse(
    after_day1, flow_started, flow_cli, db
):
    with _locked("silver.agents"):
        first = flow_started("flows.day", "--day", "day2", "--data", SAMPLE)
        until(lambda: _waiting(db))
        day3 = ("--day", "day3", "--data", SAMPLE)
        losers = [
            flow_started(module, *day3, TEST_LOCK_WAIT="1") for module in ("flows.day", "loaders")
        ]
        shown = flow_cli("flows.status")
        for loser in losers:
            assert loser.wait() == 3, loser.stderr
    running = runs(db)[-1]
    for loser in losers:
        assert running["flow_run_id"] in loser.stderr
        assert "Traceback" not in loser.stderr
    assert shown.returncode == 0, shown.stderr
    assert f"lock: daybook run {running['flow_run_id']}" in shown.stdout
    assert re.search("day1 +success", shown.stdout)
    assert first.wait() == 0
    assert [status for status, _ in _ends(db)] == ["success", "success"]


def test_an_interrupted_run_closes_its_row_and_frees_the_lock(after_day1, flow_started, db):
    with _locked("silver.agents"):
        run = flow_started("flows.day", "--day", "day2", "--data", SAMPLE)
        until(lambda: _waiting(db))
        until(lambda: "RUNNING" in _node_states(db, "agents"))
        started = time.monotonic()
        run.send_signal(signal.SIGINT)
        assert run.wait() == 1
        assert time.monotonic() - started < 45
        assert "interrupted by SIGINT" in run.stderr
        assert "Traceback" not in run.stderr
        assert not _waiting(db)
    assert _ends(db)[1] == ("failure", "The run was interrupted by SIGINT.")
    with run_lock("a test", wait=0):
        pass
    until(lambda: "RUNNING" not in _node_states(db, "agents"))


def test_an_interrupted_landing_leaves_what_was_there(after_day1, flow_started, db):
    before = db.execute("select * from bronze.stg_agents order by _source_row").fetchall()
    with _locked("bronze.stg_agents"):
        run = flow_started("flows.day", "--day", "day1", "--data", SAMPLE, "--force")
        until(lambda: _waiting(db))
        run.send_signal(signal.SIGTERM)
        assert run.wait() == 1
    assert "interrupted by SIGTERM" in run.stderr
    assert _ends(db)[1] == ("failure", "The run was interrupted by SIGTERM.")
    after = db.execute("select * from bronze.stg_agents order by _source_row").fetchall()
    assert after == before
    assert unfinished(db) == []


def test_a_day_that_takes_too_long_is_ended_with_its_sessions(after_day1, flow_cli, db):
    with _locked("silver.agents"):
        done = flow_cli("flows.day", "--day", "day2", "--data", SAMPLE, "--timeout", "9")
        assert not _waiting(db)
    assert done.returncode == 1
    assert "took more than 9 s" in done.stderr
    assert _ends(db)[1] == ("failure", "The day took more than 9 s.")


BENT = """
create function public.bend() returns trigger language plpgsql as
$$ begin new.amount_usd := new.amount_usd + 1; return new; end $$;
create trigger bend before insert on silver.transactions
for each row execute function public.bend();
"""
STRAIGHT = """
drop function public.bend cascade;
update silver.transactions
set amount_usd = round(original_amount * exchange_rate, 4)
where amount_usd <> round(original_amount * exchange_rate, 4);
"""


def test_what_a_failed_test_held_back_is_built_by_the_same_command_again(
    after_day1, flow_cli, db, hook
):
    messages, command = hook(), ("flows.day", "--day", "day2", "--data", SAMPLE)
    db.execute(BENT)
    failed = flow_cli(*command)
    assert failed.returncode == 1, failed.stdout
    assert "dollars_are_amount_times_rate" in failed.stderr
    assert failed.stderr.rstrip().endswith(AGAIN)
    skipped = (
        "select node from metrics.node_runs"
        " where flow_run_id = %s and status = 'skipped' and resource_type = 'model'"
    )
    assert "application_spend_monthly" in column(db, skipped, [runs(db)[-1]["flow_run_id"]])
    db.execute(STRAIGHT)

    again = flow_cli(*command)
    assert again.returncode == 0, again.stderr
    newest = runs(db)[-1]["flow_run_id"]
    sums = (
        "select task_name, sum(rows_inserted + rows_updated)"
        " from metrics.pipeline_metrics where flow_run_id = %s group by task_name"
    )
    written = dict(tuples(db, sums, [newest]))
    assert written["application_spend_monthly"] > 0
    assert not written.get("transactions"), "what was applied is not applied again"
    statuses = column(db, "select status from bronze.load_batches where flow_run_id = %s", [newest])
    assert {*statuses} <= {"unchanged", "skipped"}
    assert value(db, "select bool_and(balanced) from metrics.row_ledger")

    first, second = map(json.loads, messages)
    assert (first["status"], second["status"]) == ("failed", "succeeded")
    assert second["flow_run_id"] == newest
    assert first["error"].startswith("dbt failed: dollars_are_amount_times_rate")
    assert set(first) == {
        *("text", "day", "flow_run_id", "status", "solved", "seconds", "error", "warnings")
    }


def _lose_the_lock(db: psycopg.Connection, *others: str) -> None:
    """End the session of the run's lock, and those of its others that are named so."""
    db.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where pid <> pg_backend_pid()"
        " and datname = current_database() and application_name like any(%s)",
        [["daybook run %", *others]],
    )


def test_a_run_takes_a_lost_lock_again_and_goes_on(after_day1, flow_started, db):
    """Also when dbt's sessions end with the lock's."""
    with _locked("marts.inactive_groups"):
        with _locked("silver.agents"):
            run = flow_started("flows.day", "--day", "day2", "--data", SAMPLE)
            until(lambda: is_waited_for(db, "silver.agents"))
            _lose_the_lock(db)
        until(lambda: is_waited_for(db, "marts.inactive_groups") or run.returncode is not None)
        _lose_the_lock(db, "daybook dbt %")
    assert run.wait() == 0, run.stderr
    assert [status for status, _ in _ends(db)] == ["success", "success"]
    assert unfinished(db) == []


@pytest.mark.parametrize("runner", ["", "prefect"])
def test_a_run_whose_lock_another_had_meanwhile_commits_nothing_more(
    after_day1, flow_started, db, runner
):
    before = silver_and_marts(db)
    with _locked("silver.agents"):
        day = ("--day", "day2", "--data", SAMPLE)
        run = flow_started("flows.day", *day, DAYBOOK_DBT_RUNNER=runner)
        until(lambda: _waiting(db))
        with connecting.connect(autocommit=True) as other, ThreadPoolExecutor(1) as queue:
            taken = queue.submit(other.execute, "select pg_advisory_lock(%s::bigint)", [KEY])
            until(lambda: _waiting(db, "advisory"))
            _lose_the_lock(db)
            taken.result()
            db.execute("update metrics.pipeline_metrics set status = 'failure'")
    assert run.wait() == 3, run.stderr
    assert "lost its lock" in run.stderr
    assert silver_and_marts(db)["silver.agents"] == before["silver.agents"]
    with run_lock("a test", wait=0):
        pass


@pytest.mark.parametrize("how", ["its session is ended", "Ctrl-C"])
def test_a_loader_by_hand_says_in_a_sentence_what_ended_it(after_day1, flow_started, db, how):
    message = "interrupted"
    with _locked("bronze.match_state"):
        run = flow_started("loaders", "--day", "day2", "--data", SAMPLE)
        until(lambda: _waiting(db))
        if how == "Ctrl-C":
            run.send_signal(signal.SIGINT)
        else:
            db.execute(
                "select pg_terminate_backend(pid) from pg_locks"
                " where relation = 'bronze.match_state'::regclass and not granted"
            )
            message = (
                "PostgreSQL: terminating connection due to administrator command (AdminShutdown)"
            )
        assert run.wait() == 1
    assert run.stderr.splitlines()[-1] == f"error: {message}"


HEAVY = (
    *("dbt", "pandas", "pyarrow", "pyspark", "duckdb", "great_expectations", "sqlalchemy"),
    *("prefect_dbt", "alembic", "matplotlib"),
)


def test_importing_flows_and_loaders_loads_nothing_heavy_and_touches_nothing(tmp_path):
    modules = [
        ".".join(path.relative_to(PROJECT).with_suffix("").parts)
        for package in ("flows", "loaders")
        for path in (PROJECT / package).rglob("*.py")
        if path.stem not in ("__init__", "__main__", "pipeline", "tasks", "distributed")
        # Alembic's own way, and a class of openpyxl's, which sheet_file imports for a sheet
        and path.stem not in ("env", "0103_warehouse", "workbook")
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
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path)}
    shown = run_python("-B", "-c", script, env=environment)  # writes no bytecode of its own
    assert shown.returncode == 0, shown.stderr
    light, heavy, touched = json.loads(shown.stdout)
    assert light == [], "imported where they are used, not at the top of a module"
    assert heavy == [], "the flow itself loads Prefect, and nothing heavier"
    assert touched == []
