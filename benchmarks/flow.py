"""The flow's build, each node a task run in Prefect, against plain `dbt build`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.stage import Measure, admin, alternate, begin_from, scratch_warehouse, seconds
from loaders.days import parse_day
from loaders.landing import land_day
from loaders.sources import PROJECT

DAY = "day1"


def run(folder: Path, *, quick: bool) -> list[Measure]:
    from flows import transform
    from flows.server import start_server, stop_server

    with scratch_warehouse(folder) as conn:
        start_server(meanwhile=transform.manifest)
        from loaders.rates import refresh_rates

        refresh_rates()
        land_day(PROJECT / "tests" / "sample", parse_day(DAY))
        _command_line()  # dbt's parsed project is there, as on any later day
        conn.close()
        admin("create database landed template daybook")
        contestants = {"flow": _in_flow, "bare": _in_process, "cli": _command_line}
        contestants = {name: partial(_on_landed, work) for name, work in contestants.items()}
        took = alternate(contestants, 1 if quick else 3)
        stop_server()  # a day by hand starts its own
    size, bare = f"{DAY} of tests/sample", "dbt without Prefect in the same process"
    return [
        Measure("transform-day against `dbt build`", size, took["flow"], took["cli"], "<= 1.5"),
        Measure(f"transform-day against {bare}", size, took["flow"], took["bare"]),
    ]


def _on_landed(contestant: Callable[[], float], _turn: int) -> float:
    """Each works on a database that has landed the day and built nothing."""
    begin_from("landed")
    return contestant()


def _in_flow() -> float:
    from prefect import flow
    from prefect.context import FlowRunContext
    from prefect.utilities.annotations import quote

    from flows.run import Run
    from flows.tasks import transform_day

    took: list[float] = []

    @flow(name="bench")
    async def only_transform() -> None:
        run = Run.of(DAY, "", flow_run_id=str(FlowRunContext.get().flow_run.id))
        took.append(seconds(lambda: transform_day.submit(quote(run)).result()))

    asyncio.run(only_transform())
    return took[0]


def _in_process() -> float:
    from flows import transform

    return seconds(lambda: transform.build(parse_day(DAY), str(uuid.uuid4())))


def _command_line() -> float:
    from flows.transform import BUILD

    dbt = Path(sys.executable).with_name("dbt")
    command = [str(dbt), "--quiet", *BUILD, "--project-dir", str(PROJECT)]
    return seconds(lambda: subprocess.run(command, cwd=PROJECT, check=True, capture_output=True))
