"""The flow's build, each node a task run in Prefect, against plain `dbt build`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from benchmarks.stage import Measure, alternate, scratch_warehouse, seconds
from loaders import warehouse
from loaders.days import parse_day
from loaders.landing import land_day
from loaders.sources import PROJECT

DAY = "day1"


def run(folder: Path, *, quick: bool) -> list[Measure]:
    from flows import transform
    from flows.server import start_server

    with scratch_warehouse(folder) as conn:
        start_server(meanwhile=transform.manifest)
        from loaders.rates import refresh_rates

        refresh_rates()
        land_day(PROJECT / "tests" / "sample", parse_day(DAY))
        _command_line()  # dbt's parsed project is there, as on any later day
        conn.close()
        _admin("create database landed template daybook")
        contestants = {"flow": _in_flow, "bare": _in_process, "cli": _command_line}
        took = alternate(
            {name: _on_landed(contestant) for name, contestant in contestants.items()},
            1 if quick else 3,
        )
    size = f"{DAY} of tests/sample"
    return [
        Measure(
            "flow", "transform-day against `dbt build`", size, took["flow"], took["cli"], "<= 1.5"
        ),
        Measure(
            "flow",
            "transform-day against dbt without Prefect in the same process",
            size,
            took["flow"],
            took["bare"],
        ),
    ]


def _on_landed(contestant: Any) -> Any:
    """Each works on a database that has landed the day and built nothing."""

    def measured(_turn: int) -> float:
        _admin("drop database daybook with (force)")
        _admin("create database daybook template landed")
        return contestant()

    return measured


def _admin(statement: str) -> None:
    with warehouse.connect(dbname="postgres", autocommit=True) as conn:
        conn.execute(statement)
        conn.execute("checkpoint")


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
