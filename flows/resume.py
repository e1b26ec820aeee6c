"""Going on where a failed run ended: which phases are done, and which of dbt's nodes are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flows.pages import verdict
from flows.pages.runs import DAY_TEXT, done_phases
from loaders import warehouse
from loaders.errors import UsageError

if TYPE_CHECKING:
    from psycopg import Connection

# What a failed test holds back is not behind it, for dbt's graph operators: skipped says it.
UNDONE_NODES = ["error", "fail", "runtime error", "skipped"]


def failed_run(flow_run_id: str) -> dict[str, Any]:
    """What a failed run was asked for: day, data and options. UsageError when no run of that id
    failed, or another has run since (the day is then run as a whole)."""
    with warehouse.connect(application_name="daybook resume", autocommit=True) as connection:
        warehouse.check_ready(connection)
        row = connection.execute(
            f"""
            select {DAY_TEXT}, runs.status, phase_runs.settings, runs.id = newest.id
            from metrics.pipeline_metrics as runs
            cross join (
                select max(id) as id from metrics.pipeline_metrics where task_name = 'day-pipeline'
            ) as newest
            left join metrics.phase_runs
                on phase_runs.flow_run_id = runs.flow_run_id and phase = 'day-pipeline'
            where runs.task_name = 'day-pipeline' and runs.flow_run_id = %s
            """,
            [flow_run_id],
        ).fetchone()
    if row is None:
        raise UsageError(f"No run {flow_run_id} is known here: make status shows the last ones.")
    day, status, settings, is_newest = row
    if status == "success":
        raise UsageError(f"Run {flow_run_id} succeeded: there is nothing to go on from.")
    if not is_newest:
        raise UsageError(
            f"Another run has changed the warehouse since {flow_run_id}: run {day} as a whole."
        )
    return {"day": day, **(settings or {})}


def way_on(flow_run_id: str) -> str | None:
    """How to go on from a run that failed once its day had landed; else None."""
    with warehouse.connect(application_name="daybook resume", autocommit=True) as connection:
        has_landed = "land-day" in done_phases(connection, flow_run_id)
    return verdict.way_on(flow_run_id) if has_landed else None


def undone_nodes(connection: Connection, flow_run_id: str) -> list[str]:
    """dbt's nodes that failed or were held back in a run, as selectors with all behind them."""
    found = connection.execute(
        "select node from metrics.node_runs where flow_run_id = %s and status = any(%s)"
        " and resource_type <> 'exposure' order by node",
        [flow_run_id, UNDONE_NODES],
    ).fetchall()
    return [f"{node}+" for (node,) in found]
