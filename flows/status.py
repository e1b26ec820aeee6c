"""The last runs, who holds the warehouse, the last landings: `python -m flows.status`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from flows.day import guarded
from flows.report import aligned

DAY_TEXT = """case
    when exists (select from bronze.calendar where kind = 'numbered')
        then 'day' || (day - date '1970-01-01')
    else day::text
end"""


def read_runs(connection: Any, limit: int) -> list[list[str]]:
    """The newest runs: started, day, status, seconds, run id, why it failed."""
    return _texts(
        connection.execute(
            f"""
            select
                to_char(started_at, 'YYYY-MM-DD HH24:MI:SS'), {DAY_TEXT}, status,
                round(duration_seconds::numeric, 1), flow_run_id, error_message
            from metrics.pipeline_metrics
            where task_name = 'day-pipeline'
            order by id desc
            limit %s
            """,
            [limit],
        )
    )


def read_batches(connection: Any, limit: int) -> list[list[str]]:
    """The newest landings: batch, day, table, status, landed, rejected."""
    return _texts(
        connection.execute(
            f"""
            select batch_id, {DAY_TEXT}, table_name, status, rows_landed, rows_rejected
            from bronze.load_batches
            order by batch_id desc
            limit %s
            """,
            [limit],
        )
    )


def read_holder(connection: Any) -> str | None:
    """Who holds the run lock and since when, or None."""
    from loaders.lock import KEY

    row = connection.execute(
        """
        select sessions.application_name, to_char(sessions.backend_start, 'YYYY-MM-DD HH24:MI:SS')
        from pg_locks as locks
        join pg_stat_activity as sessions on sessions.pid = locks.pid
        where locks.locktype = 'advisory'
            and locks.database = (select oid from pg_database where datname = current_database())
            and locks.classid = 0
            and locks.objid = %s
            and locks.granted
        """,
        [KEY],
    ).fetchone()
    return f"{row[0]} since {row[1]} UTC" if row else None


def _texts(cursor: Any) -> list[list[str]]:
    return [["" if cell is None else str(cell) for cell in row] for row in cursor.fetchall()]


def show(limit: int) -> int:
    from loaders import warehouse

    with warehouse.connect(application_name="daybook status") as connection:
        warehouse.check_ready(connection)
        holder = read_holder(connection)
        runs, batches = read_runs(connection, limit), read_batches(connection, limit)
    print(f"lock: {holder or 'free'}\n\nlast runs")
    header = ["started (UTC)", "day", "status", "seconds", "run", "error"]
    print(aligned(header, runs, left=6) if runs else "  none yet: make demo")
    print("\nlast landings")
    header = ["batch", "day", "table", "status", "landed", "rejected"]
    print(aligned(header, batches, left=4) if batches else "  none yet")
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flows.status",
        description="The last runs, who holds the warehouse, the last landings.",
        epilog="example: python -m flows.status --limit 20",
    )
    parser.add_argument("--limit", type=int, default=10, help="rows of each (default 10)")
    given = parser.parse_args(argv)
    return guarded(lambda: show(given.limit))


if __name__ == "__main__":
    sys.exit(main())
