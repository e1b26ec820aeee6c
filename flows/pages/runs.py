"""Runs and days as the pages and `flows.status` show them, read from metrics."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

from flows.pages.read import Row, ask

if TYPE_CHECKING:
    from psycopg import Connection

DAYS_SHOWN = 400
DAY_TEXT = """case
    when exists (select from bronze.calendar where kind = 'numbered')
        then 'day' || (day - date '1970-01-01')
    else day::text
end"""


def day_text(numbered: bool) -> Callable[[date], str]:
    """A stored day as people write it."""
    epoch = date(1970, 1, 1)
    return lambda day: f"day{(day - epoch).days}" if numbered else day.isoformat()


def newest_run(connection: Connection) -> Row | None:
    """The newest run of a day, or None."""
    return next(iter(runs(connection, 1)), None)


def is_numbered(connection: Connection) -> bool:
    """Whether days are numbers, not dates: by what was asked for while nothing has landed."""
    return bool(
        ask(
            connection,
            "bronze.calendar metrics.phase_runs",
            """
            select from bronze.calendar where kind = 'numbered'
            union all
            select from metrics.phase_runs
            where settings ->> 'day' like 'day%' and not exists (select from bronze.calendar)
            """,
        )
    )


def runs(connection: Connection, limit: int) -> list[Row]:
    """The newest runs; `asked_day` is the day as it was asked for, where that is known."""
    return ask(
        connection,
        "metrics.pipeline_metrics metrics.phase_runs",
        """
        select
            runs.flow_run_id, runs.day, asked.settings ->> 'day' as asked_day, runs.status,
            runs.error_message, runs.started_at, runs.duration_seconds
        from metrics.pipeline_metrics as runs
        left join metrics.phase_runs as asked
            on runs.flow_run_id = asked.flow_run_id and asked.phase = 'day-pipeline'
        where runs.task_name = 'day-pipeline'
        order by runs.id desc
        limit %s
        """,
        limit,
    )


def newest_proof(connection: Connection) -> Row | None:
    """When what the days built was last held against what they build anew, and what parted."""
    found = ask(
        connection,
        "metrics.proofs",
        """
        select finished_at, is_equal, tables, days, partings from metrics.proofs
        order by id desc
        limit 1
        """,
    )
    return next(iter(found), None)


def failures(connection: Connection, flow_run_id: str) -> list[Row]:
    """What failed in a run: landings and models, in order."""
    return ask(
        connection,
        "metrics.pipeline_metrics",
        """
        select pipeline_name, task_name, coalesce(table_name, task_name) as name, error_message
        from metrics.pipeline_metrics
        where flow_run_id = %s and status = 'failure' and task_name <> 'day-pipeline'
        order by id
        """,
        flow_run_id,
    )


def failed_nodes(connection: Connection, flow_run_id: str) -> list[Row]:
    """dbt's nodes that failed, tests among them."""
    return ask(
        connection,
        "metrics.node_runs",
        """
        select node, resource_type, status from metrics.node_runs
        where flow_run_id = %s and status in ('error', 'fail', 'runtime error')
        order by started_at, node
        """,
        flow_run_id,
    )


def calendar(connection: Connection) -> list[Row]:
    """The last 400 days with the worst that a table of the day, or its last run, came to; without
    runs that were asked for a day of the other calendar."""
    return ask(
        connection,
        "metrics.day_calendar metrics.phase_runs",
        """
        with last_runs as (
            select distinct on (runs.day) runs.day, runs.status
            from metrics.pipeline_metrics as runs
            left join metrics.phase_runs as asked
                on runs.flow_run_id = asked.flow_run_id and asked.phase = 'day-pipeline'
            where runs.task_name = 'day-pipeline'
                and coalesce((asked.settings ->> 'day' like 'day%%') = %s, true)
            order by runs.day, runs.id desc
        ),

        tables as (
            select
                day,
                bool_or(state in ('failed', 'running')) as has_failed,
                bool_and(state in ('missing', 'skipped')) as is_missing,
                bool_or(state = 're-run') as is_again,
                count(*) filter (where state in ('done', 're-run')) as tables
            from metrics.day_calendar
            group by day
        )

        select
            day, tables.tables,
            case
                when last_runs.status = 'failure' or tables.has_failed then 'failed'
                when last_runs.status = 'running' then 'running'
                when tables.is_missing then 'missing'
                when tables.is_again then 're-run'
                else 'done'
            end as state
        from tables
        full join last_runs using (day)
        where day is not null
        order by day desc
        limit %s
        """,
        is_numbered(connection),
        DAYS_SHOWN,
    )[::-1]
