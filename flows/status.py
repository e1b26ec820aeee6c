"""Which days are done, missing, failed, and what the last runs did: `python -m flows.status`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from flows.command import guarded
from flows.pages import read, runs
from flows.pages.runs import DAY_TEXT, day_text
from flows.pages.verdict import troubles, verdict
from flows.report import aligned
from loaders import warehouse
from loaders.lock import KEY

if TYPE_CHECKING:
    from psycopg import Connection


def read_runs(connection: Connection, limit: int) -> list[list[str]]:
    """The newest runs: started, day, status, seconds, run id, why it failed."""
    return _texts(
        connection.execute(
            f"""
            select
                to_char(started_at, 'YYYY-MM-DD HH24:MI:SS'),
                coalesce(asked.settings ->> 'day', {DAY_TEXT}), status,
                round(duration_seconds::numeric, 1), runs.flow_run_id, error_message
            from metrics.pipeline_metrics as runs
            left join metrics.phase_runs as asked
                on runs.flow_run_id = asked.flow_run_id and asked.phase = 'day-pipeline'
            where task_name = 'day-pipeline'
            order by runs.id desc
            limit %s
            """,
            [limit],
        )
    )


def read_batches(connection: Connection, limit: int) -> list[list[str]]:
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


def read_holder(connection: Connection) -> str | None:
    """Who holds the run lock and since when, or None."""
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


def days_by_state(connection: Connection) -> list[str]:
    """A line per state that days are in, runs of days drawn together: `done  day1 to day3`."""
    text = day_text(runs.is_numbered(connection))
    spans: dict[str, list[list[Any]]] = {}
    for row in runs.calendar(connection):
        of_state = spans.setdefault(row["state"], [])
        if of_state and (row["day"] - of_state[-1][1]).days == 1:
            of_state[-1][1] = row["day"]
        else:
            of_state.append([row["day"], row["day"]])
    return [
        f"  {state:8} "
        + ", ".join(
            text(first) if first == last else f"{text(first)} to {text(last)}"
            for first, last in of_state
        )
        for state, of_state in sorted(spans.items())
    ]


def last_run(connection: Connection) -> list[str]:
    """What the newest run did, in words; nothing where none has run."""
    run = runs.newest_run(connection)
    if run is None:
        return []
    name = run["asked_day"] or day_text(runs.is_numbered(connection))(run["day"])
    run_id = run["flow_run_id"]
    failing = [row for row in read.checks(connection, run_id) if not row["success"]]
    ledger = read.ledger(connection, run["day"])
    quarantined = sum(row["rows_quarantined"] for row in ledger)
    said = verdict(run, name, failing, ledger, quarantined)
    failures, nodes = runs.failures(connection, run_id), runs.failed_nodes(connection, run_id)
    what, advice = troubles(run, failures, nodes, failing)
    warned = [
        f"{row['suite']}.{row['check_name']}: {row['observed']}"
        for row in failing
        if row["severity"] == "warn"
    ]
    return [f"{name} {said['word']}: {said['said']}", *what, *advice, *warned]


def _texts(cursor: Any) -> list[list[str]]:
    return [["" if cell is None else str(cell) for cell in row] for row in cursor.fetchall()]


def show(limit: int) -> int:
    with warehouse.connect(application_name="daybook status") as connection:
        warehouse.check_ready(connection)
        holder = read_holder(connection)
        runs, batches = read_runs(connection, limit), read_batches(connection, limit)
        days, last = days_by_state(connection), last_run(connection)
    print(f"lock: {holder or 'free'}")
    if last:
        print("\nlast run\n  " + "\n    ".join(last))
    if days:
        print("\ndays\n" + "\n".join(days))
    print("\nlast runs")
    header = ["started (UTC)", "day", "status", "seconds", "run", "error"]
    print(aligned(header, runs, left=6) if runs else "  none yet: make demo")
    print("\nlast landings")
    header = ["batch", "day", "table", "status", "landed", "rejected"]
    print(aligned(header, batches, left=4) if batches else "  none yet")
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flows.status",
        description="Which days are done, missing or failed; what the last runs did; the lock.",
        epilog="example: python -m flows.status --limit 20",
    )
    parser.add_argument("--limit", type=int, default=10, help="rows of each (default 10)")
    given = parser.parse_args(argv)
    return guarded(lambda: show(given.limit))


if __name__ == "__main__":
    sys.exit(main())
