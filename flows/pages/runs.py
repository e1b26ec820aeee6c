"""Runs and days as the pages and `flows.status` show them, read from metrics."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

from flows.pages.read import Row, ask
from loaders.days import Day

if TYPE_CHECKING:
    from psycopg import Connection

DAYS_SHOWN = 400


def day_text(numbered: bool) -> Callable[[date], str]:
    """A stored day as people write it."""
    return lambda day: Day(day, "numbered" if numbered else "dated").text


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


def runs(connection: Connection, limit: int | None, day: date | None = None) -> list[Row]:
    """The newest runs (all for None), of one day or any; `asked_day` is the day as it was asked
    for, where that is known, `changed` when there was last something new of the run."""
    return ask(
        connection,
        "metrics.pipeline_metrics metrics.phase_runs",
        """
        select
            runs.flow_run_id, runs.day, asked.settings ->> 'day' as asked_day, runs.status,
            runs.error_message, runs.started_at, runs.duration_seconds,
            coalesce(runs.finished_at, runs.started_at) as changed
        from metrics.pipeline_metrics as runs
        left join metrics.phase_runs as asked
            on runs.flow_run_id = asked.flow_run_id and asked.phase = 'day-pipeline'
        where runs.task_name = 'day-pipeline' and runs.day = coalesce(%s::date, runs.day)
        order by runs.id desc
        limit %s
        """,
        day,
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
    """What failed in a run: landings and models, in order, each message on one line and without
    dbt's first words, which repeat the node, and last, which name a place on this machine."""
    return ask(
        connection,
        "metrics.pipeline_metrics",
        r"""
        select
            pipeline_name, task_name,
            btrim(regexp_replace(
                regexp_replace(
                    error_message, '^\w+ Error in [^\n]*\n|\n\s*compiled code at [^\n]*', '', 'g'
                ),
                '\s+', ' ', 'g'
            )) as error_message,
            case when pipeline_name = 'landing' then table_name else task_name end as name
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
    runs that were asked for a day of the other calendar. A day is late that first landed after a
    later one had."""
    return ask(
        connection,
        "metrics.day_calendar metrics.phase_runs bronze.load_batches",
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
        ),

        arrivals as (
            select
                day,
                min(batch_id) > min(min(batch_id)) over (
                    order by day rows between 1 following and unbounded following
                ) as is_late
            from bronze.load_batches
            where status = 'succeeded'
            group by day
        )

        select
            day, tables.tables, coalesce(arrivals.is_late, false) as is_late,
            case
                when last_runs.status = 'failure' or tables.has_failed then 'failed'
                when last_runs.status = 'running' then 'running'
                when tables.is_missing then 'missing'
                when tables.is_again then 're-run'
                else 'done'
            end as state
        from tables
        full join last_runs using (day)
        left join arrivals using (day)
        where day is not null
        order by day desc
        limit %s
        """,
        is_numbered(connection),
        DAYS_SHOWN,
    )[::-1]
