"""What the pages show, read from metrics, marts and the ledgers, each question on its own.

Each function gives [] where the relation it asks is not built yet: a first day, a failed one.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from flows.checks.accepted import read_accepted

if TYPE_CHECKING:
    from datetime import date

    from psycopg import Connection

Row = dict[str, Any]

TREE_ROWS = 1000  # groups in the tree: the page stays below 300 kB
TREE_DEPTH = 25
DISPOSITIONS = ("inserted", "updated", "unchanged", "stale", "duplicate", "quarantined", "rejected")


def ask(connection: Connection, relations: str, query: str, *parameters: Any) -> list[Row]:
    """Rows as dicts; [] when one of the named relations does not exist."""
    from psycopg.rows import dict_row

    names = relations.split()
    [(missing,)] = connection.execute(
        "select count(*) from unnest(%s::text[]) as n where to_regclass(n) is null", [names]
    ).fetchall()
    if missing:
        return []
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters or None).fetchall()


def ledger(connection: Connection, day: date) -> list[Row]:
    """The day's row ledger, with the median of the days before."""
    return ask(
        connection,
        "metrics.row_ledger metrics.volume_history",
        """
        select ledger.*, history.median_of_14_days_before as median
        from metrics.row_ledger as ledger
        left join metrics.volume_history as history
            on ledger.table_name = history.table_name and ledger.day = history.day
        where ledger.day = %s
        order by ledger.table_name, ledger.target
        """,
        day,
    )


def landings(connection: Connection, flow_run_id: str | None, day: date) -> list[Row]:
    """What a run landed of a day, or any run (None): the last of each table."""
    return ask(
        connection,
        "bronze.load_batches",
        """
        select distinct on (table_name)
            table_name, status, rows_in_files, rows_rejected, started_at, finished_at, drift,
            coalesce(rows_landed, rows_in_files - rows_rejected) as rows_landed
        from bronze.load_batches
        where flow_run_id = coalesce(%s::text, flow_run_id) and day = %s
        order by table_name, batch_id desc
        """,
        flow_run_id,
        day,
    )


def parts(connection: Connection, flow_run_id: str) -> list[Row]:
    """A run's phases, and what it spent beside them: imports, parsing, the wait for Prefect."""
    return ask(
        connection,
        "metrics.phase_runs",
        """
        select phase, finished_at - seconds * interval '1 second' as started_at, finished_at
        from metrics.phase_runs
        where flow_run_id = %s and phase <> 'day-pipeline'
        """,
        flow_run_id,
    )


def nodes(connection: Connection, flow_run_id: str) -> list[Row]:
    """The run's dbt nodes with their times and the median of their last 14 days."""
    return ask(
        connection,
        "metrics.node_runs",
        """
        select
            here.node, here.resource_type, here.status, here.started_at, here.finished_at,
            here.seconds, here.depends_on, former.median
        from metrics.node_runs as here
        left join (
            select
                earlier.node,
                percentile_cont(0.5) within group (order by earlier.seconds) as median
            from metrics.node_runs as earlier
            where earlier.started_at is not null and earlier.day in (
                select distinct days.day from metrics.node_runs as days
                where days.day < (select max(day) from metrics.node_runs where flow_run_id = %s)
                order by days.day desc
                limit 14
            )
            group by earlier.node
        ) as former on here.node = former.node
        where here.flow_run_id = %s and here.started_at is not null
            and here.resource_type not in ('operation', 'exposure')
        order by here.started_at, here.node
        """,
        flow_run_id,
        flow_run_id,
    )


def checks(connection: Connection, flow_run_id: str | None) -> list[Row]:
    """What the checks of a run, or of the last that checked (None), found; failures first. A
    warning that was known when it was found says as `accepted` why, and until when."""
    rows = ask(
        connection,
        "metrics.check_results",
        """
        select * from metrics.check_results
        where flow_run_id = coalesce(
            %s, (select flow_run_id from metrics.check_results order by id desc limit 1)
        )
        order by success, severity, suite, id
        """,
        flow_run_id,
    )
    known, _ = read_accepted() if rows else ({}, {})
    for row in rows:
        row["name"] = f"{row['suite']}.{row['check_name']}"
        of_it = known.get(row["name"]) if row["severity"] == "warn" and not row["success"] else None
        in_time = of_it and row["checked_at"].astimezone(UTC).date() <= of_it.until
        row["accepted"] = of_it if in_time else None
    return rows


def failing(checks: list[Row]) -> list[Row]:
    """Those that failed and are not accepted."""
    return [row for row in checks if not row["success"] and not row["accepted"]]


def accepted(row: Row) -> str:
    """What a check found that is accepted, in words."""
    known = row["accepted"]
    return f"accepted until {known.until}: {row['name']}: {row['observed']} ({known.reason})"


def groups(connection: Connection) -> list[Row]:
    """The upper part of the tree: groups with the number of their children, roots first."""
    return ask(
        connection,
        "metrics.group_activity",
        """
        with shown as (
            select * from metrics.group_activity
            where depth <= %s
            order by depth, inactive, group_id
            limit %s
        ),

        children as (
            select parent_group_id as group_id, count(*) as children
            from metrics.group_activity
            group by parent_group_id
        )

        select shown.*, coalesce(children.children, 0) as children
        from shown
        left join children on shown.group_id = children.group_id
        order by shown.depth, shown.inactive, shown.group_id
        """,
        TREE_DEPTH,
        TREE_ROWS,
    )


def group_totals(connection: Connection) -> Row:
    """How many groups there are, active, inactive, in a cycle, below one."""
    rows = ask(
        connection,
        "metrics.group_activity",
        """
        select
            count(*) as groups,
            count(*) filter (where not inactive) as active,
            count(*) filter (where inactive) as inactive,
            count(*) filter (where in_cycle) as in_cycle,
            count(*) filter (where depth is null and not in_cycle) as below_a_cycle
        from metrics.group_activity
        """,
    )
    return rows[0] if rows else {"groups": 0}


def in_cycles(connection: Connection) -> list[Row]:
    """Groups in a cycle or below one, up to 100."""
    return ask(
        connection,
        "metrics.group_activity",
        """
        select group_id, name, parent_group_id, inactive, active_members, in_cycle
        from metrics.group_activity
        where depth is null
        order by in_cycle desc, group_id
        limit 100
        """,
    )


def spend(connection: Connection, months: int = 12) -> list[Row]:
    """US dollars per application and month, for the last months with spend."""
    return ask(
        connection,
        "marts.application_spend_monthly",
        """
        select application, month, usd, transactions
        from marts.application_spend_monthly
        where month in (
            select distinct month from marts.application_spend_monthly order by month desc limit %s
        )
        order by month, usd desc
        """,
        months,
    )


def converted(connection: Connection, day: date) -> list[Row]:
    """The day's transactions by currency: original amounts, dollars, and how they were rated."""
    return ask(
        connection,
        "silver.transactions intermediate.int_transactions_records",
        """
        select
            transactions.original_currency as currency, count(*) as transactions,
            sum(transactions.original_amount) as original, sum(transactions.amount_usd) as usd,
            count(*) filter (where transactions.fx_source = 'reference') as by_reference,
            count(*) filter (where transactions.fx_source = 'payload') as by_payload
        from (
            select distinct transaction_id from intermediate.int_transactions_records
            where _day = %s
        ) as of_the_day
        inner join silver.transactions as transactions
            on of_the_day.transaction_id = transactions.transaction_id
        group by transactions.original_currency
        order by count(*) desc, transactions.original_currency
        """,
        day,
    )
