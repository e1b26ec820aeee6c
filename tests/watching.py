"""What tests wait for and look at: commands, a built warehouse, Prefect's records."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
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
    """`run_python("-m", "loaders.warehouse", "start")`."""
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


class Lost(Lock):
    """The lock of a run that has lost it."""

    def __init__(self) -> None:
        return

    def check(self) -> None:
        raise LockedError("lost")


class Here(Worker):
    """A worker in this process: another process would import for seconds in each test."""

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def ask(self, order: tuple[Any, ...], *_: Any) -> Any:
        work, *arguments = order
        return work(None, *arguments)


ROW = "Ada Lovelace"


def sleeps(_parent: Any) -> None:
    """An order that keeps a worker busy until it is killed."""
    time.sleep(600)


class OddError(Exception):
    """An error that pickle can't restore."""

    def __init__(self, message: str, more: str) -> None:
        super().__init__(message + more)


def fails(_parent: Any, by_driver: bool) -> None:
    """An order that ends with an error, whose message quotes a row."""
    raise DriverError(ROW, "57P01") if by_driver else OddError(ROW, ROW)


def is_gone(pid: int) -> bool:
    """Whether that process has ended; it may be left as a zombie, which nobody waited for."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def prefect(api: str, path: str, secret: str | None = None, **body: Any) -> Any:
    """The answer of Prefect's API at that address, to a POST with that body, or else to a GET. The
    secret is that of this process's server unless another is given."""
    headers = {"Content-Type": "application/json"} | basic(secret or os.environ[SECRET])
    if body:
        headers |= csrf(api, headers)
    data = json.dumps(body).encode() if body else None
    with opened(urllib.request.Request(api + path, data, headers)) as answer:
        return json.load(answer)


def opened(request: urllib.request.Request) -> Any:
    """A server's answer, asked for again while its database is held, as Prefect's own client does.
    HTTPError for any other refusal."""

    def answered() -> Any:
        try:
            return urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            return None

    return until(answered, 30)


def basic(secret: str) -> dict[str, str]:
    """The header with the secret."""
    return {"Authorization": f"Basic {b64encode(secret.encode()).decode()}"}


def csrf(api: str, headers: dict[str, str]) -> dict[str, str]:
    """These headers with those that the API wants for a change."""
    client = str(uuid4())
    request = urllib.request.Request(f"{api}/csrf-token?client={client}", headers=headers)
    with opened(request) as answer:
        return {"Prefect-Csrf-Client": client, "Prefect-Csrf-Token": json.load(answer)["token"]}


def run_log(api: str, flow_run_id: str) -> dict[str, str]:
    """A run's log in Prefect once the run has ended: level → its lines."""

    def written() -> dict[str, str]:
        by_level = {"INFO": "", "WARNING": "", "ERROR": ""}
        wanted = {"flow_run_id": {"any_": [flow_run_id]}}
        for line in prefect(api, "/logs/filter", logs=wanted, limit=200):
            by_level[logging.getLevelName(line["level"])] += line["message"] + "\n"
        return by_level if "Finished in state" in "".join(by_level.values()) else {}

    return until(written, 20)


def runs(db: Connection) -> list[dict[str, Any]]:
    """The runs of days, oldest first: flow_run_id, day, status, error_message."""
    return db.execute(
        "select flow_run_id, day, status, error_message from metrics.pipeline_metrics"
        " where task_name = 'day-pipeline' order by id"
    ).fetchall()


def holds(db: Connection) -> dict[str, list[str]]:
    """What silver and the marts hold, apart from lineage and times of runs."""
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


def left_open(db: Connection) -> list[Any]:
    """Tables with a landing that is not closed, or a line of the ledger that doesn't balance."""
    return column(
        db,
        "select table_name from bronze.load_batches where status = 'running'"
        " union all select table_name from metrics.row_ledger where not balanced",
    )


def made_good(db: Connection) -> list[str]:
    """Fails unless the last run succeeded and nothing is left open. Returns the ids of the runs
    before it that failed."""
    *earlier, last = runs(db)
    assert {one["status"] for one in earlier} <= {"success", "failure"}
    assert (last["status"], last["error_message"]) == ("success", None)
    assert left_open(db) == []
    return [one["flow_run_id"] for one in earlier if one["status"] == "failure"]


def is_waited_for(db: Connection, table: str) -> bool:
    """Whether someone waits for a lock on that table."""
    waiting = "select pid from pg_locks where relation = to_regclass(%s) and not granted"
    return column(db, waiting, [table]) != []
