"""What tests wait for and look at: a warehouse as it has been built, Prefect's own records."""

from __future__ import annotations

import json
import logging
import os
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psutil
import psycopg

from flows.api import SECRET
from loaders.errors import DriverError, LockedError
from loaders.lock import Lock
from loaders.workers import Worker

Connection = psycopg.Connection[dict[str, Any]]


def until(found: Callable[[], Any], seconds: float = 120) -> Any:
    """What `found` gives once it gives something."""
    deadline = time.monotonic() + seconds
    while not (it := found()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {found}"
        time.sleep(0.1)
    return it


class Lost(Lock):
    """The lock of a run that has lost it."""

    def __init__(self) -> None:
        return

    def check(self) -> None:
        raise LockedError("lost")


class Here(Worker):
    """A worker that is no process of its own: that one would import for seconds, test by test."""

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def ask(self, order: tuple[Any, ...], *_: Any) -> Any:
        work, *given = order
        return work(None, *given)


ROW = "Ada Lovelace"


def sleeps(_parent: Any) -> None:
    """What a worker may be told to do."""
    time.sleep(600)


class OddError(Exception):
    """One that pickle can't make anew."""

    def __init__(self, message: str, more: str) -> None:
        super().__init__(message + more)


def fails(_parent: Any, by_driver: bool) -> None:
    """Work that ends with an error."""
    raise DriverError(ROW, "57P01") if by_driver else OddError(ROW, ROW)


def is_gone(pid: int) -> bool:
    """Whether that process has ended: one that nobody waits for stays as a zombie."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def prefect(api: str, path: str, secret: str | None = None, **body: Any) -> Any:
    """What Prefect's API at that address answers: with a body to POST, else to GET. The secret is
    that of this process's server, unless another one is given."""
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
    """The header that says the secret."""
    return {"Authorization": f"Basic {b64encode(secret.encode()).decode()}"}


def csrf(api: str, headers: dict[str, str]) -> dict[str, str]:
    """The headers with which the API takes what changes something, from whom it lets in."""
    client = str(uuid4())
    asked = urllib.request.Request(f"{api}/csrf-token?client={client}", headers=headers)
    with opened(asked) as answer:
        return {"Prefect-Csrf-Client": client, "Prefect-Csrf-Token": json.load(answer)["token"]}


def run_log(api: str, flow_run_id: str) -> dict[str, str]:
    """Level → what a run's log in Prefect says at it, once the run has ended."""

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
    found = {}
    for table in db.execute(
        "select table_schema || '.' || table_name as name,"
        " string_agg(quote_ident(column_name), ', ' order by column_name) as columns"
        " from information_schema.columns"
        " where table_schema in ('silver', 'marts') and column_name not like '\\_%'"
        " and table_name <> 'transaction_pipeline_state' group by 1"
    ).fetchall():
        rows = db.execute(f"select {table['columns']} from {table['name']}").fetchall()
        found[table["name"]] = sorted(str(list(row.values())) for row in rows)
    return found


def left_open(db: Connection) -> list[Any]:
    """Landings that nobody has closed, and lines of the ledger that don't balance."""
    return db.execute(
        "select table_name from bronze.load_batches where status = 'running'"
        " union all select table_name from metrics.row_ledger where not balanced"
    ).fetchall()


def made_good(db: Connection) -> list[str]:
    """The last run ended well and nothing is left open; the ids of the runs before it that died,
    which are recorded as failures."""
    *earlier, last = runs(db)
    assert {one["status"] for one in earlier} <= {"success", "failure"}
    assert (last["status"], last["error_message"]) == ("success", None)
    assert left_open(db) == []
    return [one["flow_run_id"] for one in earlier if one["status"] == "failure"]


def is_waited_for(db: Connection, table: str) -> bool:
    """Whether someone waits for a lock on that table."""
    return bool(
        db.execute(
            "select 1 from pg_locks where relation = to_regclass(%s) and not granted", [table]
        ).fetchone()
    )
