"""How long each of dbt's nodes took, kept for the pages: metrics.node_runs."""

from __future__ import annotations

import contextlib
from datetime import UTC
from typing import Any

from loaders import warehouse
from loaders.days import Day


def keep_node_runs(results: list[Any], day: Day, flow_run_id: str) -> None:
    """Write one row per node of a build. A record of times must not fail the day that they are of:
    errors are dropped."""
    rows = [_row(result, day, flow_run_id) for result in results]
    with (
        contextlib.suppress(Exception),
        warehouse.connect(
            application_name=f"daybook {flow_run_id}",
            flow_run_id=flow_run_id,
            day=day,
            role=warehouse.TRANSFORMER,
        ) as connection,
    ):
        connection.cursor().executemany(
            """
            insert into metrics.node_runs (
                flow_run_id, day, node, resource_type, status, started_at, finished_at, seconds,
                depends_on
            )
            values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
            on conflict (flow_run_id, node) do update set
                status = excluded.status, started_at = excluded.started_at,
                finished_at = excluded.finished_at, seconds = excluded.seconds
            """,
            rows,
        )


def _row(result: Any, day: Day, flow_run_id: str) -> tuple[Any, ...]:
    timed = [t for t in result.timing if t.started_at and t.completed_at]
    started = min((t.started_at for t in timed), default=None)
    ended = max((t.completed_at for t in timed), default=None)
    waited_for = getattr(getattr(result.node, "depends_on", None), "nodes", [])
    return (
        *(flow_run_id, day.date, result.node.name, str(result.node.resource_type)),
        *(str(result.status), started and started.replace(tzinfo=UTC)),
        *(ended and ended.replace(tzinfo=UTC), result.execution_time),
        [unique_id.split(".")[2] for unique_id in waited_for],
    )
