"""Going on where a failed run ended: which phases are done, and which of dbt's nodes are not."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from flows import took
from loaders.errors import UsageError

if TYPE_CHECKING:
    from psycopg import Connection

    from flows.phases import Run

    P = ParamSpec("P")
    T = TypeVar("T")
    Phase = Callable[Concatenate[Run, P], T]

# What a failed test holds back is not behind it, for dbt's graph operators: skipped says it.
UNDONE_NODES = ["error", "fail", "runtime error", "skipped"]


def failed_run(flow_run_id: str) -> dict[str, Any]:
    """What a failed run was asked for: day, data and options. UsageError when no run of that id
    failed, or another has run since (the day is then run as a whole)."""
    from flows.status import DAY_TEXT
    from loaders import warehouse

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


def begin(
    connection: Connection, flow_run_id: str, settings: dict[str, Any], resumes: str | None
) -> None:
    """Note what a run is asked for; one that resumes another starts with what that had done."""
    import json

    connection.execute(
        "insert into metrics.phase_runs (flow_run_id, phase, seconds, settings)"
        " values (%s, 'day-pipeline', 0, %s)",
        [flow_run_id, json.dumps(settings)],
    )
    if resumes:
        connection.execute(
            "insert into metrics.phase_runs (flow_run_id, phase, seconds)"
            " select %s, phase, 0 from metrics.phase_runs"
            " where flow_run_id = %s and phase <> 'day-pipeline'",
            [flow_run_id, resumes],
        )


def done_phases(connection: Connection, flow_run_id: str) -> set[str]:
    """The phases of a run that are done."""
    found = connection.execute(
        "select phase from metrics.phase_runs where flow_run_id = %s", [flow_run_id]
    ).fetchall()
    return {phase for (phase,) in found}


def way_on(flow_run_id: str) -> str | None:
    """How to go on from a run that failed once its day had landed; else None."""
    from flows.pages import verdict
    from loaders import warehouse

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


def kept(name: str) -> Callable[[Phase[P, T]], Phase[P, T]]:
    """A phase that notes when it is done, with its seconds."""

    def around(phase: Phase[P, T]) -> Phase[P, T]:
        @functools.wraps(phase)
        def noted(run: Run, *arguments: P.args, **named: P.kwargs) -> T:
            started = time.monotonic()
            outcome = phase(run, *arguments, **named)
            _note(run, name, time.monotonic() - started)
            return outcome

        return cast("Phase[P, T]", noted)

    return around


def _note(run: Run, phase: str, seconds: float) -> None:
    from loaders import warehouse

    with warehouse.connect(
        application_name=f"daybook {run.flow_run_id}", autocommit=True
    ) as connection:
        connection.execute(
            "insert into metrics.phase_runs (flow_run_id, phase, seconds) values (%s, %s, %s)"
            " on conflict (flow_run_id, phase) do update set"
            " seconds = excluded.seconds, finished_at = excluded.finished_at",
            [run.flow_run_id, phase, seconds],
        )
        note_parts(connection, run.flow_run_id)


def note_parts(connection: Connection, flow_run_id: str) -> None:
    """Keep what this process has spent beside the phases; those of a run's processes add up."""
    for part, seconds in took.taken().items():
        connection.execute(
            "insert into metrics.phase_runs (flow_run_id, phase, seconds) values (%s, %s, %s)"
            " on conflict (flow_run_id, phase) do update set"
            " seconds = phase_runs.seconds + excluded.seconds",
            [flow_run_id, part, seconds],
        )
