"""The webhook gets how a day ended and which is late; a bad service does not harm a day."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from flows import cli, late, notify, record, tasks
from flows.run import Run
from loaders import lock
from loaders.days import parse_day
from loaders.errors import DaybookError, LockedError, UsageError
from tests.conftest import OK, TOKEN
from tests.watching import insert

FOUND = {"failed": ["a: b"], "warnings": ["c: d", "e: f"], "known": ["accepted until g"]}


def send() -> str | None:
    return notify.post(notify.message("day1", "r", "failed", 1.0))


def test_nothing_is_sent_without_an_address(monkeypatch):
    monkeypatch.delenv("DAYBOOK_WEBHOOK_URL", raising=False)
    assert send() is None


@pytest.mark.parametrize("scheme", ["file", "ftp", "data", ""])
def test_an_address_of_no_service_is_reported(scheme, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("DAYBOOK_WEBHOOK_URL", f"{scheme}://{tmp_path}/{TOKEN}")
    problem = send()
    assert problem and "no address that Apprise knows" in problem and TOKEN not in problem
    assert TOKEN not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("answer", "problem"),
    [(b"HTTP/1.1 200 OK\r\n\r\n", None), (b"HTTP/1.1 500 No\r\n\r\n", "was not told.")],
)
def test_a_service_that_apprise_knows_gets_the_text(hook, answer, problem, monkeypatch, capfd):
    requests = hook(answer)
    address = os.environ["DAYBOOK_WEBHOOK_URL"].replace("http://", "json://")
    monkeypatch.setenv("DAYBOOK_WEBHOOK_URL", address)
    solved = notify.message("day1", "r", "succeeded", 1.0, None, FOUND, True)
    assert notify.post(solved) == (problem and f"DAYBOOK_WEBHOOK_URL {problem}")
    text = json.loads(requests[0])["message"]
    assert text.endswith("failed:\n- a: b\nwarnings:\n- c: d\n- e: f\nknown:\n- accepted until g")
    assert "day1 succeeded" in text and "solved" in text
    assert TOKEN not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OK, None),
        (b"HTTP/1.1 500 No\r\n\r\n", "500"),
        (b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", "302"),
        (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n", "302"),
        (b"nonsense\r\n\r\n", "RemoteProtocolError"),
        (b"", "RemoteProtocolError"),
    ],
)
def test_an_answer_other_than_ok_is_reported_without_the_address(hook, answer, reason):
    requests = hook(answer)
    assert send() == (reason and f"DAYBOOK_WEBHOOK_URL was not told: {reason}.")
    assert len(requests) == 1, "it is sent once, and no redirect is followed"


def test_a_busy_service_gets_the_message_three_times(hook):
    requests = hook(b"HTTP/1.1 503 Not Now\r\nContent-Length: 0\r\n\r\n")
    assert send() == "DAYBOOK_WEBHOOK_URL was not told: 503."
    assert len(requests) == 3
    message = json.loads(requests[0])
    assert (message["warnings"], message["error"]) == ([], None)


def test_a_service_that_comes_up_late_gets_the_message(monkeypatch):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        monkeypatch.setenv("DAYBOOK_WEBHOOK_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")

        def answer_one() -> None:
            time.sleep(0.2)
            listener.listen()
            with listener.accept()[0] as caller:
                caller.recv(10_000)
                caller.send(OK)

        with ThreadPoolExecutor(1) as service:
            service.submit(answer_one)
            assert send() is None


def test_an_answer_byte_by_byte_has_the_whole_deadline(hook, monkeypatch):
    monkeypatch.setattr(notify, "SECONDS", 0.5)
    hook(b"HTTP/1.0 200 OK\r\nX: " + b"x" * 100, pause=0.1)
    began = time.monotonic()
    assert send() == "DAYBOOK_WEBHOOK_URL did not answer within 0.5 s."
    assert time.monotonic() - began < 8


def test_a_runs_end_is_sent_once_its_lock_is_free_and_a_refusal_is_a_warning(
    warehouse, monkeypatch
):
    progress: list[str] = []

    def refuse(*_: Any) -> str:
        with lock.run_lock("another run"):
            return "nobody took it"

    monkeypatch.setattr(notify, "post", refuse)
    run = Run.of("day1", "x")
    run.progress = progress.append
    with record.notified(run), lock.run_lock("this run"):
        run.message = notify.message("day1", "r", "succeeded")
    assert progress == ["warning: nobody took it"]


def test_prefect_that_cannot_be_reached_is_a_warning():
    progress: list[str] = []
    run = Run.of("day1", "x")
    run.progress, run.message = progress.append, notify.message("day1", "r", "succeeded")
    asyncio.run(tasks.leave(run))  # outside of a flow
    assert progress == ["warning: Prefect was not told of it all: MissingContextError"]


def test_a_day_that_is_not_there_is_reported_and_a_run_that_is_locked_out_is_not(monkeypatch):
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(notify, "post", sent.append)
    for error in (DaybookError("has no day1/"), LockedError("held"), UsageError("wrong")):
        run = Run.of("day1", "x", flow_run_id="r1")
        with pytest.raises(type(error)), record.notified(run):
            raise error
    assert sent == [notify.message("day1", "r1", "failed", 0.0, "has no day1/")]


def task_run(
    db: psycopg.Connection, day: date, at: Any, status: str, task: str = "day-pipeline"
) -> None:
    """A run of that day that has ended at that time."""
    row = {"flow_run_id": "run", "task_name": task, "pipeline_name": "day", "day": day}
    row |= {"status": status, "started_at": at, "finished_at": at}
    insert(db, "metrics.pipeline_metrics", **row)


@pytest.mark.parametrize(
    ("before", "solved"),
    [(["day-pipeline"], True), (["late"], True), ([], False), (["day-pipeline", "done"], False)],
)
def test_a_day_that_comes_after_a_failure_is_solved(db, before, solved, monkeypatch):
    monkeypatch.setattr(record, "write_pages", lambda *_, **__: None)
    for task in before:
        status = "success" if task == "done" else "failure"
        task_run(db, parse_day("day1").date, "now", status, task.replace("done", "day-pipeline"))
    run = Run.of("day1", "x")
    with record.recorded(run):
        pass
    assert run.message is not None and run.message["status"] == "succeeded"
    assert run.message["solved"] == solved


def test_a_day_is_late_unless_it_succeeded_by_its_hour_and_that_is_sent_once(db, hook, capsys):
    requests = hook()
    day = date(2026, 1, 5)
    task_run(db, day, datetime(2026, 1, 6, 5, tzinfo=UTC), "failure")
    for _ in range(2):
        assert cli.main(["late", "--by", "06:00", "--day", "2026-01-05"]) == 1
        assert capsys.readouterr().out == (
            "2026-01-05 is late: it has not come, and was due by 2026-01-06 06:00 UTC.\n"
        )
    (message,) = [json.loads(each) for each in requests]
    assert (message["day"], message["status"]) == ("2026-01-05", "late")
    task_run(db, day, datetime(2026, 1, 6, 7, 30, tzinfo=UTC), "success")
    assert cli.main(["late", "--by", "06:00", "--day", "2026-01-05"]) == 1
    assert "it came at 2026-01-06 07:30 UTC" in capsys.readouterr().out
    assert cli.main(["late", "--by", "07:30", "--day", "2026-01-05"]) == 0
    assert "in time" in capsys.readouterr().out
    assert len(requests) == 1


@pytest.mark.builds("agents", "groups", "transactions")
def test_a_day_by_hand_has_come_when_its_required_tables_are_built(world, capsys):
    world.land("2026-01-05")
    by_hand = ["late", "--by", "00:00", "--day", "2026-01-05"]
    world.build("--select", "+silver.agents", "+group_memberships", "--exclude", "silver.groups")
    world.build("--select", "+silver.transactions")
    assert cli.main(by_hand) == 1
    assert "it has not come" in capsys.readouterr().out
    world.build()
    assert cli.main(by_hand) == 1
    assert "it came at" in capsys.readouterr().out
    world.db.execute("update metrics.pipeline_metrics set finished_at = '2026-01-06'")
    world.db.commit()
    world.build("--full-refresh")
    assert cli.main(by_hand) == 0
    task_run(world.db, date(2026, 1, 5), "now", "failure")
    assert cli.main(by_hand) == 1
    assert "it has not come" in capsys.readouterr().out


def test_a_day_is_not_late_before_its_hour(db, capsys):
    today = datetime.now(UTC).date()
    assert cli.main(["late", "--by", "23:59", "--day", f"{today}"]) == 0
    assert "it is due by" in capsys.readouterr().out
    assert cli.main(["late", "--by", "00:00"]) == 1
    assert f"{today - timedelta(days=1)} is late" in capsys.readouterr().out


def test_a_refused_message_is_sent_again_the_next_time(db, hook, capsys):
    requests = hook(b"")
    for _ in range(2):
        assert cli.main(["late", "--by", "00:00", "--day", "2026-01-05"]) == 1
    assert len(requests) == 2
    errors = capsys.readouterr().err
    assert "warning: DAYBOOK_WEBHOOK_URL was not told" in errors and TOKEN not in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "6"], "is no hour"),
        (["--by", "24:00"], "is no hour"),
        (["--by", "06:00", "--day", "day1"], "has no hour to come by"),
        (["--by", "06:00", "--day", "yesterday"], "is not a logical day"),
    ],
)
def test_arguments_without_an_hour_or_a_date_are_refused_before_connecting(
    arguments, message, monkeypatch, capsys
):
    monkeypatch.setattr(late, "warehouse", None)
    assert cli.main(["late", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_warehouse_of_numbered_days_has_no_late_day(db, capsys):
    db.execute("insert into bronze.calendar (kind) values ('numbered')")
    assert cli.main(["late", "--by", "06:00", "--day", "2026-01-05"]) == 2
    assert "calendar" in capsys.readouterr().err
