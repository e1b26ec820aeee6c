"""A whole day through `python -m flows.day`: where the time goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.raw_days import day_text, write_day
from benchmarks.stage import Measure, node_seconds, peak_of, scratch_warehouse, seconds

if TYPE_CHECKING:
    from psycopg import Connection


def run(folder: Path, *, quick: bool) -> list[Measure]:
    rows, delta, groups, agents = (
        (2_000, 200, 100, 50) if quick else (1_000_000, 20_000, 100_000, 50_000)
    )
    data = folder / "data"
    with scratch_warehouse(folder) as conn:
        write_day(data, 0, transactions=range(rows), groups=groups, agents=agents)
        first = _day(conn, data, 0, f"{rows:,} transactions, {groups:,} groups, {agents:,} agents")
        if quick:
            return first
        numbers = range(rows - delta // 2, rows + delta // 2)
        write_day(data, 1, transactions=numbers, groups=groups, agents=agents)
        second = _day(conn, data, 1, f"{delta:,} more, {groups:,} groups, {agents:,} agents")
    return [*first, *second]


def _day(conn: Connection, data: Path, number: int, size: str) -> list[Measure]:
    day, peaks = day_text(number), []
    arguments = ("flows.day", "--day", day, "--data", str(data))
    whole = seconds(lambda: peaks.append(peak_of(*arguments, PREFECT_API_URL=None)))
    phases = dict(
        conn.execute(
            "select phase, seconds from metrics.phase_runs join metrics.pipeline_metrics as runs"
            " using (flow_run_id) where task_name = 'day-pipeline' and day = %s"
            " and phase <> 'day-pipeline' order by seconds desc",
            [day],
        ).fetchall()
    )
    (pipeline,) = conn.execute(
        "select duration_seconds from metrics.pipeline_metrics"
        " where task_name = 'day-pipeline' and day = %s",
        [day],
    ).fetchone()
    nodes, _ = node_seconds()
    name = "first day" if number == 0 else "second day"
    parts = {
        "whole": whole,
        **{phase: took for phase, took in phases.items() if took > 0.02 * whole},
        "before and after the flow (imports, Prefect's server, pages, account)": whole - pipeline,
    }
    for node, took in sorted(nodes.items(), key=lambda found: -found[1]):
        if took > 0.02 * whole:
            parts[f"dbt node {node}"] = took
    found = [Measure("day", f"{name}: {part}", size, took) for part, took in parts.items()]
    return [*found, Measure("day", f"{name}: peak memory of the flow", size, peaks[0], unit="MB")]
