"""A whole day through `python -m flows.day`: what it costs, and where the time goes."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from itertools import chain
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.raw_days import day_text, write_json_day
from benchmarks.stage import Measure, cpu_of_all, node_seconds, peak_of, scratch_warehouse

if TYPE_CHECKING:
    from psycopg import Connection


def run(folder: Path, *, quick: bool) -> list[Measure]:
    """The median of three rounds, each in warehouses of its own: days can't be run anew in one."""
    rounds = [_round(folder / f"round{n}", quick=quick) for n in range(1 if quick else 3)]
    found: dict[str, list[Measure]] = {}
    for measure in chain(*rounds):
        found.setdefault(measure.what, []).append(measure)
    return [
        replace(measures[0], ours=median(each.ours for each in measures))
        for measures in found.values()
        if len(measures) == len(rounds)  # a small part may be left out of one
    ]


def _round(folder: Path, *, quick: bool) -> list[Measure]:
    agents, groups, many = (50, 100, 300) if quick else (20_000, 10_000, 300_000)
    data = folder / "data"
    # a first day parses the project
    shutil.rmtree(os.environ["DBT_TARGET_PATH"], ignore_errors=True)
    with scratch_warehouse(folder) as conn:
        write_json_day(data, 0, range(many), groups=groups, agents=agents)
        size = f"{many:,} transactions, {groups:,} groups, {agents:,} agents"
        found = _day(conn, data, 0, "first day", size, "<= 40")
        # half of it is new, half newer versions
        later = range(many // 2, many // 2 + many)
        write_json_day(data, 1, later, groups=groups, agents=agents)
        found += _day(conn, data, 1, "second day", size, "<= 30")
        found += _day(conn, data, 1, "second day again, with nothing new", size, "<= 12")
    with scratch_warehouse(folder) as conn:
        size = "2,000 transactions, 100 groups, 200 agents"
        for number in range(2):
            start = number * 1_000
            write_json_day(data, number, range(start, start + 2_000), groups=100, agents=200)
            tiny = _day(conn, data, number, "tiny day, the second", size, "<= 12")
    return found + tiny


def _day(
    conn: Connection, data: Path, number: int, name: str, size: str, aim: str
) -> list[Measure]:
    """CPU of the whole, wall-clock seconds of its greater parts, and peak memory."""
    day, peaks = day_text(number), []
    arguments = ("flows.day", "--day", day, "--data", str(data))
    spent = cpu_of_all(lambda: peaks.append(peak_of(*arguments)))
    phases = conn.execute(
        "select phase, seconds from metrics.phase_runs where flow_run_id = ("
        " select flow_run_id from metrics.pipeline_metrics"
        " where task_name = 'day-pipeline' and day = %s order by started_at desc limit 1"
        ") order by seconds desc",
        [day],
    ).fetchall()
    parts = [*phases, *((f"dbt node {node}", took) for node, took in node_seconds().items())]
    return [
        Measure(name, size, spent, aim=aim, unit="CPU s"),
        *(
            Measure(f"{name}: {part}", size, took)
            for part, took in sorted(parts, key=lambda found: -found[1])
            if took > 0.03 * spent
        ),
        Measure(f"{name}: peak memory of its largest process", size, peaks[0], unit="MB"),
    ]
