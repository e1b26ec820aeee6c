"""Going on from where a run failed, and the message when a day ends."""

from __future__ import annotations

import json
import threading
from argparse import Namespace
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from flows.day import _take_up as take_up
from tests.flow.conftest import SAMPLE


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What a local server was told by the webhook."""
    messages: list[dict[str, Any]] = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Taker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("DAYBOOK_WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/hook")
    yield messages
    server.shutdown()


def test_a_run_goes_on_from_its_failed_phase_and_nodes_and_each_end_is_told(
    after_day1, flow_cli, db, told
):
    db.execute("alter table silver.transactions add constraint no_more check (false) not valid")
    failed = flow_cli("flows.day", "--day", "day2", "--data", SAMPLE)
    assert failed.returncode == 1, failed.stdout
    run = db.execute(
        "select flow_run_id from metrics.pipeline_metrics"
        " where task_name = 'day-pipeline' and status = 'failure'"
    ).fetchone()["flow_run_id"]
    db.execute("alter table silver.transactions drop constraint no_more")

    done = flow_cli("flows.day", "--resume", run)
    assert done.returncode == 0, done.stderr
    resumed = db.execute(
        "select flow_run_id, day from metrics.pipeline_metrics"
        " where task_name = 'day-pipeline' order by id desc limit 1"
    ).fetchone()
    assert str(resumed["day"]) == "1970-01-03"
    landed = db.execute(
        "select count(*) from bronze.load_batches where flow_run_id = %s", [resumed["flow_run_id"]]
    ).fetchone()
    assert landed["count"] == 0, "the landing was done"
    nodes = db.execute(
        "select node from metrics.node_runs where flow_run_id = %s", [resumed["flow_run_id"]]
    ).fetchall()
    names = {row["node"] for row in nodes}
    assert "transactions" in names
    assert not {"agents", "groups"} & names, "those nodes were done"
    balanced = db.execute("select bool_and(balanced) as b from metrics.row_ledger").fetchone()
    assert balanced["b"]

    assert [message["status"] for message in told] == ["failed", "succeeded"]
    assert told[0]["flow_run_id"] == run
    assert told[0]["error"].startswith("dbt failed: transactions")
    assert set(told[0]) == {"text", "day", "flow_run_id", "status", "seconds", "error"}

    again = flow_cli("flows.day", "--resume", run)
    assert again.returncode == 2
    assert "Another run has changed the warehouse" in again.stderr
    none = flow_cli("flows.day", "--resume", "no-such-run")
    assert none.returncode == 2
    assert "No run no-such-run" in none.stderr


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


def test_what_a_failed_test_held_back_is_built_by_the_resume(after_day1, flow_cli, db):
    db.execute(BENT)
    failed = flow_cli("flows.day", "--day", "day2", "--data", SAMPLE)
    assert failed.returncode == 1, failed.stdout
    assert "dollars_are_amount_times_rate" in failed.stderr
    run = _failed(db)
    assert failed.stderr.rstrip().endswith(f"python -m flows.day --resume {run}")
    nodes = "select array_agg(node) as names from metrics.node_runs where flow_run_id = %s"
    held = db.execute(f"{nodes} and status = 'skipped'", [run]).fetchone()["names"]
    assert "application_spend_monthly" in held
    db.execute(STRAIGHT)

    done = flow_cli("flows.day", "--resume", run)
    assert done.returncode == 0, done.stderr
    newest = db.execute(
        "select flow_run_id from metrics.pipeline_metrics where task_name = 'day-pipeline'"
        " order by id desc limit 1"
    ).fetchone()["flow_run_id"]
    built = db.execute(f"{nodes} and status in ('success', 'pass')", [newest]).fetchone()["names"]
    models = {name for name in held if "review" not in name and name != "run_page"}
    assert models <= set(built)
    assert "agents" not in built


def test_a_message_that_nobody_takes_does_not_fail_the_day(monkeypatch):
    from flows import notify

    assert notify.tell("day1", "r", "failed", 1.0, None) is False
    monkeypatch.setenv("DAYBOOK_WEBHOOK_URL", "http://127.0.0.1:9/hook")
    assert notify.tell("day1", "r", "failed", 1.0, None) is False
    monkeypatch.setenv("DAYBOOK_WEBHOOK_URL", "not a url")
    assert notify.tell("day1", "r", "failed", 1.0, None) is False


def _failed(db: Any) -> str:
    """The newest run, which failed."""
    row = db.execute(
        "select flow_run_id, status from metrics.pipeline_metrics"
        " where task_name = 'day-pipeline' order by id desc limit 1"
    ).fetchone()
    assert row["status"] == "failure"
    return row["flow_run_id"]


def test_a_resumed_run_keeps_its_engine_and_mode_unless_told_otherwise(db):
    db.execute("insert into bronze.calendar (kind) values ('numbered')")
    db.execute(
        "insert into metrics.pipeline_metrics"
        " (flow_run_id, task_name, pipeline_name, day, status, started_at)"
        " values ('dead', 'day-pipeline', 'day', '1970-01-02', 'failure', now())"
    )
    asked = {"data": "/raw", "engine": "spark", "mode": "distributed"}
    db.execute(
        "insert into metrics.phase_runs (flow_run_id, phase, seconds, settings)"
        " values ('dead', 'day-pipeline', 0, %s)",
        [json.dumps(asked)],
    )
    given = Namespace(resume="dead", day=None, data=None, engine=None, mode="local")
    take_up(given)
    assert vars(given) == asked | {"resume": "dead", "day": "day1", "mode": "local"}
