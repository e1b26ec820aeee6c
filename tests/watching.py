"""What tests share to run commands, wait, query a warehouse and ask Prefect."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import psutil
import psycopg
from psycopg.rows import tuple_row

from flows.api import SECRET
from loaders.errors import DriverError, LockedError
from loaders.lock import Lock
from loaders.sources import PROJECT
from loaders.workers import Worker

Connection = psycopg.Connection[dict[str, Any]]


def until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    """Wait until the condition gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {condition}"
        time.sleep(0.1)
    return answer


def run_command(*words: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command once it has ended, with its output; in the project's folder, or in `cwd`."""
    defaults = {"cwd": PROJECT, "capture_output": True, "text": True, "timeout": 400}
    return subprocess.run([*map(str, words)], **(defaults | options))


def run_python(*words: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    """As run_command, by this Python: `run_python("-m", "loaders.warehouse", "start")`."""
    return run_command(sys.executable, *words, **options)


def tuples(db: Any, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """The query's rows as tuples, whatever rows the connection itself gives."""
    return db.cursor(row_factory=tuple_row).execute(query, parameters).fetchall()


def column(db: Any, query: str, parameters: Any = None) -> list[Any]:
    """The values of a query for one column."""
    return [found for (found,) in tuples(db, query, parameters)]


def value(db: Any, query: str, parameters: Any = None) -> Any:
    """The value of a query for one column of one row."""
    (found,) = column(db, query, parameters)
    return found


def insert(db: Any, table: str, **row: Any) -> None:
    """Insert a row; a dict as JSON."""
    values = [json.dumps(each) if isinstance(each, dict) else each for each in row.values()]
    places = ", ".join(["%s"] * len(row))
    db.execute(f"insert into {table} ({', '.join(row)}) values ({places})", values)


class LostLock(Lock):
    """The lock of a run that has lost it: each check fails."""

    def __init__(self) -> None:
        return

    def check(self) -> None:
        raise LockedError("lost")


class InProcessWorker(Worker):
    """Works in this process: one of its own would import for seconds in each test."""

    def __enter__(self) -> InProcessWorker:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def ask(self, order: tuple[Any, ...], *_: Any) -> Any:
        work, *arguments = order
        return work(None, *arguments)


ROW = "Ada Lovelace"  # a value of data, which no message may repeat


def sleeps(_parent: Any) -> None:
    """An order that keeps a worker busy until it is killed."""
    time.sleep(600)


class OddError(Exception):
    """An error that pickle can't restore in another process."""

    def __init__(self, message: str, more: str) -> None:
        super().__init__(message + more)


def documented(_parent: Any) -> str | None:
    return until.__doc__


def dies(parent: Any) -> None:
    """An order during whose answer the worker is killed."""
    os.write(parent.fileno(), (100).to_bytes(4) + b"a part")
    os._exit(1)


def fails(_parent: Any, by_driver: bool) -> None:
    """An order that fails with an error whose message quotes data."""
    raise DriverError(ROW, "57P01") if by_driver else OddError(ROW, ROW)


def free_port() -> int:
    """A free port below those that the system gives to connections, which might take it soon."""
    for _ in range(100):
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", 10_000 + secrets.randbelow(20_000)))
            return one.getsockname()[1]
    raise OSError("no free port was found")


def is_gone(pid: int) -> bool:
    """Whether the process has ended. A zombie has: nobody has asked for its exit code yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def prefect(api: str, path: str, secret: str | None = None, **body: Any) -> Any:
    """Asks Prefect's API at this address: a POST if there is a body, else a GET. Without `secret`
    it takes that of this process's server."""
    headers = {"Content-Type": "application/json"} | basic(secret or os.environ[SECRET])
    if body:
        headers |= csrf(api, headers)
    data = json.dumps(body).encode() if body else None
    with opened(urllib.request.Request(api + path, data, headers)) as answer:
        return json.load(answer)


def opened(request: urllib.request.Request) -> Any:
    """A server's answer. Asks again on 503 (its database is busy), as Prefect's own client does;
    raises HTTPError for any other refusal."""

    def answered() -> Any:
        try:
            return urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            return None

    return until(answered)


def basic(secret: str) -> dict[str, str]:
    """The header of basic authentication with the secret."""
    return {"Authorization": f"Basic {b64encode(secret.encode()).decode()}"}


def csrf(api: str, headers: dict[str, str]) -> dict[str, str]:
    """The headers, with the CSRF token that the API wants for a change."""
    client = str(uuid4())
    request = urllib.request.Request(f"{api}/csrf-token?client={client}", headers=headers)
    with opened(request) as answer:
        return {"Prefect-Csrf-Client": client, "Prefect-Csrf-Token": json.load(answer)["token"]}


def run_log(api: str, flow_run_id: str) -> dict[str, str]:
    """A run's log in Prefect once the run has ended: level → its lines."""

    def ended_log() -> dict[str, str]:
        by_level = {"INFO": "", "WARNING": "", "ERROR": ""}
        wanted = {"flow_run_id": {"any_": [flow_run_id]}}
        for line in prefect(api, "/logs/filter", logs=wanted, limit=200):
            by_level[logging.getLevelName(line["level"])] += line["message"] + "\n"
        return by_level if "Finished in state" in "".join(by_level.values()) else {}

    return until(ended_log)


def runs(db: Connection) -> list[dict[str, Any]]:
    """The runs of days, oldest first: flow_run_id, day, status, error_message."""
    return db.execute(
        "select flow_run_id, day, status, error_message from metrics.pipeline_metrics"
        " where task_name = 'day-pipeline' order by id"
    ).fetchall()


def silver_and_marts(db: Connection) -> dict[str, list[str]]:
    """All rows of silver and the marts, by table, without lineage and times of runs."""
    tables = (
        "select table_schema || '.' || table_name,"
        " string_agg(quote_ident(column_name), ', ' order by column_name)"
        " from information_schema.columns"
        " where table_schema in ('silver', 'marts') and column_name not like '\\_%'"
        " and table_name <> 'transaction_pipeline_state' group by 1"
    )
    return {
        name: sorted(map(str, tuples(db, f"select {columns} from {name}")))
        for name, columns in tuples(db, tables)
    }


def unfinished(db: Connection) -> list[Any]:
    """Tables with a landing still open, or with a line of the row ledger that doesn't balance."""
    return column(
        db,
        "select table_name from bronze.load_batches where status = 'running'"
        " union all select table_name from metrics.row_ledger where not balanced",
    )


def failed_runs_before_success(db: Connection) -> list[str]:
    """The ids of the runs that failed before the last. Fails unless the last run succeeded, every
    earlier one is closed and nothing is unfinished."""
    *earlier, last = runs(db)
    assert {run["status"] for run in earlier} <= {"success", "failure"}
    assert (last["status"], last["error_message"]) == ("success", None)
    assert unfinished(db) == []
    return [run["flow_run_id"] for run in earlier if run["status"] == "failure"]


def is_waited_for(db: Connection, table: str) -> bool:
    """Whether a session waits for a lock on the table."""
    waiting = "select pid from pg_locks where relation = to_regclass(%s) and not granted"
    return column(db, waiting, [table]) != []
