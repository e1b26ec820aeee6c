"""What pages, `daybook status` and a run's account show, read from metrics and the ledgers."""

from __future__ import annotations

import contextlib
from datetime import UTC
from typing import TYPE_CHECKING, Any, Literal

from flows.checks.accepted import read_accepted

if TYPE_CHECKING:
    from datetime import date

    from psycopg import Connection

Row = dict[str, Any]

DISPOSITIONS = ("inserted", "updated", "unchanged", "stale", "duplicate", "quarantined", "rejected")
DAYS = 400  # of the calendar


def ask(connection: Connection, query: str, parameters: Any = None) -> list[Row]:
    """Rows as dicts; [] while something that is asked is not built: a first day, a failed one."""
    from psycopg.errors import UndefinedTable
    from psycopg.rows import dict_row

    with (
        contextlib.suppress(UndefinedTable),
        connection.transaction(),
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        return cursor.execute(query, parameters).fetchall()
    return []


def kind_of_days(connection: Connection) -> Literal["dated", "numbered"]:
    """Whether days are dates or numbers: by what was asked for while nothing has landed."""
    found = ask(
        connection,
        """
        select from bronze.calendar where kind = 'numbered'
        union all
        select from metrics.phase_runs
        where settings ->> 'day' like 'day%' and not exists (select from bronze.calendar)
        """,
    )
    return "numbered" if found else "dated"


def runs(connection: Connection, limit: int | None, day: date | None = None) -> list[Row]:
    """The newest runs (all for None), of one day or any; `asked_day` is the day as it was asked
    for, where that is known, `changed` when there was last something new of the run."""
    return ask(
        connection,
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
        [day, limit],
    )


def calendar(connection: Connection) -> list[Row]:
    """The last days, each with the worst `state` of its tables and its last run, but for runs that
    were asked for a day of the other calendar. A day is late that first landed after a later one
    had."""
    return ask(
        connection,
        """
        with states as (
            select day, state from metrics.day_calendar
            union all
            (
                select distinct on (runs.day)
                    runs.day, case runs.status when 'failure' then 'failed' else runs.status end
                from metrics.pipeline_metrics as runs
                left join metrics.phase_runs as asked
                    on runs.flow_run_id = asked.flow_run_id and asked.phase = 'day-pipeline'
                where runs.task_name = 'day-pipeline'
                    and coalesce((asked.settings ->> 'day' like 'day%%') = %s, true)
                order by runs.day, runs.id desc
            )
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
            day, coalesce(bool_or(arrivals.is_late), false) as is_late,
            case
                when bool_or(state = 'failed') then 'failed'
                when bool_or(state = 'running') then 'running'
                when bool_or(state = 're-run') then 're-run'
                when bool_or(state in ('done', 'success')) then 'done'
                else 'missing'
            end as state
        from states
        left join arrivals using (day)
        where day is not null
        group by day
        order by day desc
        limit %s
        """,
        [kind_of_days(connection) == "numbered", DAYS],
    )[::-1]


def ledger(connection: Connection, day: date) -> list[Row]:
    """The day's row ledger, with the median of the days before."""
    return ask(
        connection,
        """
        select ledger.*, history.median_of_14_days_before as median
        from metrics.row_ledger as ledger
        left join metrics.volume_history as history
            on ledger.table_name = history.table_name and ledger.day = history.day
        where ledger.day = %s
        order by ledger.table_name, ledger.target
        """,
        [day],
    )


def landings(connection: Connection, flow_run_id: str | None, day: date) -> list[Row]:
    """What a run landed of a day, or any run (None): the last of each table, in order; a file that
    no table uses has a row as well, with status `unused`."""
    return ask(
        connection,
        """
        select
            table_name, status, rows_in_files, rows_rejected, started_at, finished_at, drift, error,
            coalesce(rows_landed, rows_in_files - rows_rejected) as rows_landed,
            (
                select count(*) from bronze.load_rejects as rejects
                where rejects.batch_id = batches.batch_id and rejects.landed
            ) as rows_repaired
        from bronze.load_batches as batches
        where batch_id in (
            select max(batch_id) from bronze.load_batches
            where flow_run_id = coalesce(%s::text, flow_run_id) and day = %s
            group by table_name
        )
        order by table_name
        """,
        [flow_run_id, day],
    )


def failures(connection: Connection, flow_run_id: str) -> list[Row]:
    """What failed in a run: landings and models, in order, each message on one line and without
    dbt's first words, which repeat the node, and last, which name a place on this machine."""
    return ask(
        connection,
        r"""
        select
            pipeline_name,
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
        [flow_run_id],
    )


def bars(connection: Connection, flow_run_id: str) -> list[Row]:
    """What a run's time went into, in order: phases and what was spent beside them (imports,
    parsing), landings and dbt nodes, with what they waited for. `begins` and `ends`: seconds from
    the first beginning. The phases that are all landings or nodes are left out."""
    return ask(
        connection,
        """
        with bars as (
            select
                'phase' as kind, phase as name, null::text[] as depends_on,
                finished_at - seconds * interval '1 second' as started_at, finished_at
            from metrics.phase_runs
            where flow_run_id = %(run)s
                and phase not in ('day-pipeline', 'land-day', 'transform-day')
            union all
            select 'landing', table_name, null, started_at, finished_at
            from bronze.load_batches
            where flow_run_id = %(run)s and status not in ('skipped', 'unused')
            union all
            select 'dbt', node, depends_on, started_at, finished_at
            from metrics.node_runs
            where flow_run_id = %(run)s and resource_type not in ('operation', 'exposure')
        ),

        on_one_clock as (
            select
                kind, name, coalesce(depends_on, '{}') as waited_for,
                extract(epoch from started_at - min(started_at) over ())::float8 as begins,
                extract(epoch from finished_at - min(started_at) over ())::float8 as ends
            from bars
            where started_at is not null and finished_at is not null
        )

        select *, ends - begins as seconds from on_one_clock
        order by begins, ends, name
        """,
        {"run": flow_run_id},
    )


def nodes(connection: Connection, flow_run_id: str) -> list[Row]:
    """The run's dbt nodes with their times and the median of their last 14 days."""
    return ask(
        connection,
        """
        select here.*, former.median
        from metrics.node_runs as here
        left join (
            select node, percentile_cont(0.5) within group (order by seconds) as median
            from metrics.node_runs
            where started_at is not null and day in (
                select distinct day from metrics.node_runs
                where day < (select max(day) from metrics.node_runs where flow_run_id = %(run)s)
                order by day desc
                limit 14
            )
            group by node
        ) as former on here.node = former.node
        where here.flow_run_id = %(run)s and here.resource_type not in ('operation', 'exposure')
        order by here.started_at, here.node
        """,
        {"run": flow_run_id},
    )


def checks(connection: Connection, flow_run_id: str | None) -> list[Row]:
    """What the checks of a run, or of the last that checked (None), found; failures first. A
    warning that was known when it was found says as `accepted` why, and until when."""
    rows = ask(
        connection,
        """
        select *, suite || '.' || check_name as name from metrics.check_results
        where flow_run_id = coalesce(
            %s, (select flow_run_id from metrics.check_results order by id desc limit 1)
        )
        order by success, severity, suite, id
        """,
        [flow_run_id],
    )
    known, _ = read_accepted() if rows else ({}, {})
    for row in rows:
        of_it = known.get(row["name"]) if row["severity"] == "warn" and not row["success"] else None
        in_time = of_it and row["checked_at"].astimezone(UTC).date() <= of_it.until
        row["accepted"] = of_it if in_time else None
    return rows


def converted(connection: Connection, day: date) -> list[Row]:
    """The day's transactions by currency: original amounts, dollars, and how they were rated."""
    return ask(
        connection,
        """
        select
            original_currency as currency, count(*) as transactions,
            sum(original_amount) as original, sum(amount_usd) as usd,
            count(*) filter (where fx_source = 'reference') as by_reference,
            count(*) filter (where fx_source = 'payload') as by_payload
        from silver.transactions
        where transaction_id in (
            select transaction_id from intermediate.int_transactions_records where _day = %s
        )
        group by original_currency
        order by count(*) desc, original_currency
        """,
        [day],
    )


def newest_proof(connection: Connection) -> Row | None:
    """When what the days built was last held against what they build anew, and what parted."""
    found = ask(connection, "select * from metrics.proofs order by id desc limit 1")
    return found[0] if found else None
