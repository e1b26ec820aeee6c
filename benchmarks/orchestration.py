"""A day of some twenty rows a table: what is spent on it that is not SQL, in both modes."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.stage import Measure, admin, begin_from, python, scratch_warehouse
from flows.api import ADDRESS, SECRET, connection
from loaders import warehouse
from loaders.sources import PROJECT

SAMPLE = PROJECT / "tests" / "sample"
BEFORE, DAY = "day1", "day2"
LANDING = ("land-day", "sweep-orphans", "match-names", "finish-day", "expire-days")
IN_ORDER = ("land-day", "match-names", "transform-day", "check-day", "finish-day", "expire-days")


def run(folder: Path, *, quick: bool) -> list[Measure]:
    with scratch_warehouse(folder) as conn:
        _run_day(BEFORE, "local")  # dbt's parsed project is there, as on any later day
        conn.close()
        admin("create database before template daybook")
        local = _medians([_local() for _ in range(1 if quick else 3)])
        with _stack():
            distributed = _medians([_distributed() for _ in range(1 if quick else 3)])
    return [
        Measure(f"{mode}: {part}", f"{DAY} of tests/sample", seconds)
        for mode, parts in (("local", local), ("distributed", distributed))
        for part, seconds in parts.items()
    ]


def _medians(turns: list[dict[str, float]]) -> dict[str, float]:
    return {part: statistics.median(turn[part] for turn in turns) for part in turns[0]}


@contextlib.contextmanager
def _stack() -> Iterator[None]:
    with socket.create_server(("127.0.0.1", 0)) as any_free:
        os.environ["PREFECT_SERVER_API_PORT"] = str(any_free.getsockname()[1])
    try:
        python("flows.stack", "up")
        yield
    finally:
        python("flows.stack", "down")
        del os.environ["PREFECT_SERVER_API_PORT"]
        warehouse.start()


def _local() -> dict[str, float]:
    whole, took, nodes = _measured("local")
    named = {
        "warehouse's handshake": took["warehouse"],
        "Prefect: temporary server, waited for after dbt's parsing": took["prefect-server"],
        "imports of dbt and Prefect": took["dbt-import"] + took["prefect-import"],
        "dbt: parsing": took["parse"],
        "landing, matching, ledger, expiry": sum(took[name] for name in LANDING),
        "dbt: nodes": nodes,
        "dbt: around its nodes": took["transform-day"] - nodes,
        "checks": took["check-day"],
        "pages": took["pages"],
    }
    rest = whole - sum(named.values())
    return {"whole": whole, **named, "the rest (Python's start and end, Prefect's tasks)": rest}


def _distributed() -> dict[str, float]:
    whole, took, nodes = _measured("distributed")
    runs = _runs_of_the_newest_day()
    named = {
        "runs: worker's poll, process, import": sum(runs[name][0] for name in IN_ORDER),
        "landing, each table a run": runs["land-day"][1],
        "dbt: nodes": nodes,
        "dbt: around its nodes, with parsing": took["transform-day"] - nodes,
        "checks": took["check-day"],
        "pages": took["pages"],
    }
    rest = whole - sum(named.values())
    return {"whole": whole, **named, "the rest (Python's start and end, Prefect's runs)": rest}


def _measured(mode: str) -> tuple[float, dict[str, float], float]:
    """Run the day anew: seconds of the whole, of each phase and part, and from dbt's first node
    to its last."""
    begin_from("before")
    # the verdicts of the turn before are kept there
    shutil.rmtree(warehouse.home() / "site" / "checks", ignore_errors=True)
    began = time.perf_counter()
    _run_day(DAY, mode)
    whole = time.perf_counter() - began
    with warehouse.connect() as conn:
        took = dict(
            conn.execute(
                "select phase, seconds from metrics.phase_runs join metrics.pipeline_metrics"
                " using (flow_run_id) where task_name = 'day-pipeline' and day = '1970-01-03'"
            ).fetchall()
        )
        (nodes,) = conn.execute(
            "select extract(epoch from max(finished_at) - min(started_at))::float"
            " from metrics.node_runs where day = '1970-01-03'"
        ).fetchone()
    return whole, took, nodes


def _runs_of_the_newest_day() -> dict[str, tuple[float, float]]:
    """Of each phase's run: seconds from when it was due until it ran, and until it had ended."""
    with warehouse.connect() as conn:
        (day_run,) = conn.execute(
            "select flow_run_id from metrics.pipeline_metrics"
            " where task_name = 'day-pipeline' order by id desc limit 1"
        ).fetchone()
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    here = connection()
    told = {PREFECT_API_URL: here[ADDRESS], PREFECT_API_AUTH_STRING: here[SECRET]}
    with temporary_settings(told), get_client(sync_client=True) as client:
        runs = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC)
    found = {}
    for run in runs:
        if run.parameters.get("run_id") == day_run and "table" not in run.parameters:
            due, began, ended = (
                moment.timestamp()
                for moment in (run.expected_start_time, run.start_time, run.end_time)
            )
            found[run.name.removesuffix(f" {DAY}")] = (began - due, ended - began)
    return found


def _run_day(day: str, mode: str) -> None:
    python("flows.day", "--day", day, "--data", str(SAMPLE), "--mode", mode)
