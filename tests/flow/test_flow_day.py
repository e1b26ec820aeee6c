"""A whole day by the command line, on a real warehouse and a real Prefect server."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from flows import phases, reasons
from flows.day import main
from flows.options import chosen_days
from flows.pages.verdict import AGAIN
from flows.report import Account, print_account
from flows.run import Run
from flows.transform import BuildError, first_line, verdict
from loaders.__main__ import main as land
from loaders.days import parse_day
from loaders.errors import DaybookError, LockedError, PlanError, UsageError
from loaders.readers.rows import UnreadableError
from tests.raw_days import SAMPLE
from tests.watching import (
    Connection,
    column,
    prefect,
    run_log,
    runs,
    tuples,
    until,
    value,
)

PHASES = {"prepare-day", "land-day", "match-names"}
PHASES |= {"transform-day", "check-day", "finish-day"}
SILVER = {"agents", "agent_status_history", "groups", "group_memberships", "transactions"}


def _of_run(flow_run_id: str) -> dict[str, Any]:
    return {"flow_runs": {"id": {"any_": [flow_run_id]}}}


def _task_runs(flow_run_id: str) -> dict[str, str]:
    """Task runs of a flow run: name → state. Prefect writes them a moment after they happen."""

    def written() -> dict[str, str]:
        found = prefect(os.environ["PREFECT_API_URL"], "/task_runs/filter", **_of_run(flow_run_id))
        states = {run["name"]: run["state_type"] or "" for run in found}
        return {} if {"", "RUNNING", "PENDING"} & set(states.values()) else states

    return until(written)


def test_a_day_runs_from_raw_files_to_a_balanced_ledger(after_day1, db, prefect_url):
    done = after_day1
    row = "task_name = 'day-pipeline'"
    seconds = value(db, f"select duration_seconds from metrics.pipeline_metrics where {row}")
    assert f"day1 succeeded in {seconds:.1f} s" in done.stdout, "as status and pages say it"
    for word in ("42 landed", "37 new", "4 quarantined", "what is new: agents", "daybook psql"):
        assert word in done.stdout
    assert "prefect" not in done.stderr.lower(), "the console is ours, not Prefect's"
    assert done.stderr.startswith("day1: starting\n"), "said before anything heavy is imported"
    assert "day1: building 5" in done.stderr, "half way"

    (run,) = runs(db)
    columns = "status, pipeline_name, table_name, duration_seconds > 0 as is_timed"
    day = f"select {columns} from metrics.pipeline_metrics where {row}"
    assert tuples(db, day) == [("success", "day", None, True)]
    settings = value(db, "select settings from metrics.phase_runs where phase = 'day-pipeline'")
    page = f"{prefect_url.removesuffix('/api')}/runs/flow-run/{run['flow_run_id']}"
    assert settings["prefect"] == page
    assert value(db, "select count(*) from silver.agents") > 0
    assert {*column(db, "select balanced from metrics.row_ledger")} == {True}
    ids = (
        "select distinct flow_run_id from metrics.pipeline_metrics union"
        " select flow_run_id from bronze.load_batches"
    )
    assert column(db, ids) == [run["flow_run_id"]]

    tasks = _task_runs(run["flow_run_id"])
    assert set(tasks) >= PHASES | SILVER | {"land stg_agents", "land stg_transactions"}
    assert set(tasks.values()) == {"COMPLETED"}


def test_a_backfill_changes_nothing_of_a_day_twice_and_stops_at_one_that_is_not_there(
    after_day1, flow_cli, db
):
    done = flow_cli("flows.backfill", "--days", "day1", "day2", "day9", "day4", "--data", SAMPLE)
    assert done.returncode == 1
    assert "stopped at day9; done: day1, day2; not run: day4" in done.stderr
    assert "daybook backfill --days day9 day4" in done.stderr
    assert "has no day9/" in done.stderr
    assert {*column(db, "select status from metrics.pipeline_metrics")} == {"success"}
    assert [run["day"].day for run in runs(db)] == [2, 2, 3]
    first, again, second = (run["flow_run_id"] for run in runs(db))
    written = (
        "select coalesce(sum(rows_inserted + rows_updated + rows_deleted), 0)"
        " from metrics.pipeline_metrics where flow_run_id = %s"
    )
    assert value(db, written, [again]) == 0
    statuses = column(db, "select status from bronze.load_batches where flow_run_id = %s", [again])
    assert {*statuses} <= {"unchanged", "skipped"}
    applied = (
        "select extract(day from day)::int, flow_run_id from metrics.applied_batches"
        " where model = 'transactions' and table_name = 'stg_transactions' order by day"
    )
    expected = [(2, first), (3, second)]
    assert tuples(db, applied) == expected, "a dbt session carried another day's settings"


@pytest.mark.parametrize("command", [["day", "--day"], ["backfill", "--days"]])
def test_a_mistyped_day_leaves_nothing_behind(command, flow_cli, db):
    module, *days = command
    done = flow_cli(f"flows.{module}", *days, "day7", "--data", SAMPLE)
    assert done.returncode == 1
    assert "has no day7/ or sync-day7/; days there: day1, day2, day3" in done.stderr
    assert has_no_run(db)


def has_no_run(db: Connection) -> bool:
    tables = ("metrics.pipeline_metrics", "metrics.phase_runs", "bronze.load_batches")
    return not any(value(db, f"select count(*) from {table}") for table in tables)


def test_a_missing_required_table_fails_the_day_before_anything_is_built(flow_cli, db, tmp_path):
    shutil.copytree(SAMPLE / "day1", tmp_path / "day1")
    (tmp_path / "day1" / "agents.csv").unlink()
    done = flow_cli("flows.day", "--day", "day1", "--data", tmp_path)
    assert done.returncode == 1
    assert "stg_agents: it is required" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    (run,) = runs(db)
    assert run["status"] == "failure"
    assert "stg_agents: it is required" in run["error_message"]
    assert "Nothing was landed." in flow_cli("flows.status").stdout
    page = (Path(os.environ["DAYBOOK_HOME"]) / "site" / "run.html").read_text(encoding="utf-8")
    assert "stg_agents: it is required" in page
    assert AGAIN in page and AGAIN in done.stderr
    assert value(db, "select count(*) from bronze.stg_groups") == 0
    assert value(db, "select to_regclass('silver.agents')") is None


def test_a_day_of_the_other_calendar_is_refused_and_leaves_nothing(flow_cli, db, tmp_path):
    db.execute("insert into bronze.calendar (kind) values ('numbered')")
    shutil.copytree(SAMPLE / "day1", tmp_path / "2026-01-05")
    done = flow_cli("flows.day", "--day", "2026-01-05", "--data", tmp_path)
    assert done.returncode == 2, done.stderr
    assert "never both calendars" in done.stderr
    assert "The run page" not in done.stdout
    assert has_no_run(db)


def test_the_run_page_is_named_only_where_it_is_this_runs(warehouse, monkeypatch, tmp_path):
    monkeypatch.setenv("DAYBOOK_HOME", str(tmp_path))
    (tmp_path / "site" / "runs").mkdir(parents=True)
    (tmp_path / "site" / "runs" / "one.html").touch()
    for run_id, named in (("one", True), ("two", False)):
        out = io.StringIO()
        print_account(Account(run_id, parse_day("day1"), [], [], []), "failed", file=out)
        assert ("The run page" in out.getvalue()) == named


def test_a_failing_model_leaves_neither_rows_nor_a_success_metric(after_day1, flow_cli, db):
    before = db.execute("select * from silver.agents order by agent_id").fetchall()
    db.execute("alter table silver.agents add constraint broken check (false) not valid")
    done = flow_cli("flows.day", "--day", "day2", "--data", SAMPLE)
    assert done.returncode == 1
    assert "agents: new row for relation" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert db.execute("select * from silver.agents order by agent_id").fetchall() == before
    day2 = (
        "select distinct task_name, status from metrics.pipeline_metrics"
        " where day = '1970-01-03' and task_name in ('agents', 'day-pipeline') order by 1"
    )
    assert tuples(db, day2) == [("agents", "failure"), ("day-pipeline", "failure")]
    run_id, message = (runs(db)[-1][name] for name in ("flow_run_id", "error_message"))
    assert _task_runs(run_id)["agents"] == "FAILED"
    assert message in run_log(os.environ["PREFECT_API_URL"], run_id)["ERROR"].splitlines()
    assert message.startswith("dbt failed: agents; agents: new row for relation")
    assert "\n" not in message and "compiled code" not in message


def test_phases_run_alone_in_python(after_day1, db):
    run = Run.of("day2", str(SAMPLE))
    phases.prepare_day(run)
    landed = phases.land_day(run)
    assert {table.table for table in landed} >= {"stg_agents", "stg_groups", "stg_transactions"}
    with pytest.raises(reasons.LedgerError, match="taken in nothing of day2"):
        phases.finish_day(run)
    steps: list[tuple] = []
    run.progress = lambda *what: steps.append(what)
    assert phases.transform_day(run)["success"] > 0
    nodes = sorted(done for _, done, _ in steps)
    assert nodes == list(range(1, nodes[-1] + 1)) and nodes[-1] <= steps[0][2]  # n of m
    assert phases.finish_day(run) > 0
    db.execute("alter view metrics.row_ledger rename to ledger_as_built")
    db.execute(
        "create view metrics.row_ledger as select *, false as balanced"
        " from (select day, table_name, target from metrics.ledger_as_built) as rows"
    )
    with pytest.raises(reasons.LedgerError, match="stg_agents"):
        phases.finish_day(run)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--day", "day0", "--data", "x"],
        ["--day", "../..", "--data", "x"],
        ["--day", "day1'; drop table silver.agents --", "--data", "x"],
        ["--day", "day1"],
        ["--day", "day1", "--data", "x", "--mode", "distributed"],
        ["--day", "day1", "--data", "x", "--timeout", "0"],
    ],
)
def test_usage_errors_exit_2_and_touch_nothing(arguments, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DAYBOOK_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    for command in (main, land) if len(arguments) <= 4 else (main,):
        assert command(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
    assert not (tmp_path / "home").exists()


def test_a_range_of_days_is_inclusive_and_of_one_calendar():
    assert chosen_days(None, "day9", "day11") == ["day9", "day10", "day11"]
    dates = ["2026-02-27", "2026-02-28", "2026-03-01"]
    assert chosen_days(None, dates[0], dates[-1]) == dates
    for wrong in (("day1", "2026-01-01"), ("day3", "day1")):
        with pytest.raises(UsageError):
            chosen_days(None, *wrong)
    with pytest.raises(UsageError, match="day1 and 2026-01-01 are not of one calendar"):
        chosen_days(["day1", "2026-01-01"], None, None)


def test_only_lost_connections_and_conflicts_are_retried():
    deadlock = psycopg.errors.DeadlockDetected("deadlock detected")
    wrapped = DaybookError("stg_agents did not land")
    wrapped.__cause__ = deadlock
    assert reasons.can_retry(deadlock)
    assert reasons.can_retry(wrapped)
    assert reasons.can_retry(psycopg.errors.AdminShutdown())
    assert not reasons.can_retry(psycopg.errors.NotNullViolation())
    assert not reasons.can_retry(psycopg.errors.QueryCanceled())
    assert not reasons.can_retry(DaybookError("agents.csv is empty"))
    lost = LockedError("the lock is gone")
    lost.__cause__ = psycopg.OperationalError("server closed the connection")
    assert not reasons.can_retry(lost)


def test_a_failed_run_says_its_reason_and_nothing_of_an_errors_values():
    secret = "jane@example.com"
    headless = PlanError(
        "stg_agents: agents.csv: the key column agent_id is missing. The header as read: "
        f"9001,{secret},Jane (1,203 names); declare it.\nNothing was landed."
    )
    assert reasons.without_values(headless) == (
        "stg_agents: agents.csv: the key column agent_id is missing. (1,203 names); declare it."
        " Nothing was landed."
    )
    advice = "a.csv: delete what stands above it, or declare skip_lines: 1."
    titled = DaybookError(f"{advice} The header as read: {secret}.")
    assert reasons.without_values(titled) == advice
    assert first_line("Database Error\n  permission denied") == "permission denied"
    of_a_statement = 'Database Error\n  value "9" is out of range\n  LINE 1: select "a"'
    assert first_line(of_a_statement) == 'value "…" is out of range'
    ends = ("", "\n  Jane", f"\n  DETAIL: {secret}")
    for landed in (begin + secret + end for begin in ("", '<a href="x">') for end in ends):
        message = f'Database Error\n  invalid input syntax for type numeric: "{landed}"\n  at 5'
        assert first_line(message) == 'invalid input syntax for type numeric: "…"'
    page = UnreadableError("agents.json: it is HTML.", f"It begins with {secret}")
    broken = psycopg.errors.CheckViolation(f"DETAIL: {secret}")
    both = reasons.LandError([_not_landed("stg_agents", page), _not_landed("stg_groups", broken)])
    once = reasons.LandError([PlanError("No more connections."), PlanError("No more connections.")])
    assert str(once) == reasons.without_values(once) == "No more connections."
    assert reasons.without_values(both) == (
        "stg_agents of day1 did not land: agents.json: it is HTML. "
        "stg_groups of day1 did not land: CheckViolation (SQLSTATE 23514)"
    )
    assert (
        reasons.without_values(DaybookError("groups.csv: it is cut.")) == "groups.csv: it is cut."
    )
    assert secret not in reasons.without_values(psycopg.DataError(secret))
    on_the_pool = reasons.PhaseError(f"land-day failed: it begins with {secret}")
    assert reasons.without_values(on_the_pool) == "land-day failed"
    not_taken = reasons.PhaseError("No worker was at work on land-day: is it stopped?")
    assert reasons.without_values(not_taken) == "No worker was at work on land-day"
    assert "cancelled in Prefect" in reasons.without_values(KeyboardInterrupt())


def _not_landed(table: str, cause: Exception) -> DaybookError:
    """As landing raises it."""
    error = DaybookError(f"{table} of day1 did not land: {cause}")
    error.__cause__ = cause
    return error


def _result(name: str, status: str, message: str) -> SimpleNamespace:
    return SimpleNamespace(node=SimpleNamespace(name=name), status=status, message=message)


def _outcome(*results: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(success=False, exception=None, result=SimpleNamespace(results=results))


def test_a_build_is_tried_again_only_when_every_failed_node_lost_its_connection_or_a_lock():
    lost = _result("agents", "error", "Database Error in model agents\n  deadlock detected")
    message = "Database Error in model groups\n  null value in column\n  DETAIL: (jane@example.com)"
    bad = _result("groups", "error", message)
    skipped = _result("group_activity", "skipped", "")
    with pytest.raises(BuildError, match="agents: deadlock detected") as both_lost:
        verdict(_outcome(lost, skipped))
    assert reasons.can_retry(both_lost.value)
    with pytest.raises(BuildError) as one_bad:
        verdict(_outcome(lost, bad, skipped))
    assert not reasons.can_retry(one_bad.value)
    assert one_bad.value.nodes == ["agents", "groups"]
    assert "jane" not in str(one_bad.value)
