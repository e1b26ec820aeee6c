"""A day's build on a short history and on a long one.

Runs only when it is named: `python -m benchmarks history` (ten minutes, 12 GB of disk).
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.raw_days import day_text, write_day
from benchmarks.stage import Measure, build, scratch_warehouse, server_cpu
from loaders.days import parse_day
from loaders.landing import land_day
from loaders.match import match_names
from loaders.rates import refresh_rates

if TYPE_CHECKING:
    from psycopg import Connection

ROUNDS = 3
DAYS_A_MONTH = 10
BUILD = ["build", "--exclude-resource-type", "unit_test"]
NODES = (
    "int_transactions_records",
    "transactions",
    "int_spend_monthly",
    "application_spend_monthly",
)
# What a build leaves of a day's transactions, and which rows of the first day's are copied.
LEFT = {
    "bronze.load_batches": "table_name = 'stg_transactions'",
    "metrics.applied_batches": "table_name = 'stg_transactions'",
    "metrics.pipeline_metrics": "table_name = 'stg_transactions'",
    "intermediate.int_transactions_records": "true",
    "silver.transactions": "true",
    "intermediate.int_transactions_named": "true",
    "intermediate.int_spend_monthly": f":back % {DAYS_A_MONTH} = 0",
}
# How the day that is :back days before the first differs from it. Its ids are as if days had come
# in order; those below ten days' worth are for the days that are measured.
NUMBER = "'t' || lpad((substr({}, 2)::int + (:back + 10) * :rows)::text, 9, '0')"
MOVED = {
    "day": "day - :back",
    "_day": "_day - :back",
    "batch_id": "batch_id + 1000 * :back",
    "_batch_id": "_batch_id + 1000 * :back",
    "updated_time": "updated_time - :back * interval '1 day'",
    "occurred_time": f"occurred_time - :back / {DAYS_A_MONTH} * interval '1 month'",
    "month": f"(month - :back / {DAYS_A_MONTH} * interval '1 month')::date",
    "transaction_id": NUMBER.format("transaction_id"),
    "child_transaction_ids": (
        "case when child_transaction_ids <> '[]' then"
        f" jsonb_build_array({NUMBER.format('child_transaction_ids ->> 0')}) else '[]' end"
    ),
}


def run(folder: Path, *, quick: bool, rows: int | None = None) -> list[Measure]:
    """`rows`: of the longer history."""
    delta, most, rounds = (200, 4_000, 1) if quick else (100_000, rows or 10_000_000, ROUNDS)
    longer = _measure(folder, delta, rounds, days=most // delta)
    short = longer if quick else _measure(folder, delta, rounds, days=DAYS_A_MONTH)
    size = f"{delta:,} into {most:,} rows"
    against = f"against {DAYS_A_MONTH * delta:,} rows of history"
    aims = {f"a day's build {against}": ("build", "<= 1.15"), "of it: CPU": ("cpu", "<= 1.15")}
    aims |= {f"of it: {node}": (node, None) for node in NODES}
    units = {"cpu": "CPU s"}
    return [
        Measure(what, size, longer[name], short[name], aim, units.get(name, "s"))
        for what, (name, aim) in aims.items()
    ]


def _measure(folder: Path, delta: int, rounds: int, *, days: int) -> dict[str, float]:
    """Medians of a day's build after as many days of history: seconds of each node and of all
    ("build"), and the server's CPU ("cpu")."""
    data = folder / "data"
    taken: list[dict[str, float]] = []
    with scratch_warehouse(folder) as conn:
        refresh_rates()
        _land(data, 0, range(delta))
        build(*BUILD, day=day_text(0))
        _fill(conn, delta, days)
        for number in range(1, rounds + 2):
            # half newer versions, half new
            _land(data, number, range(number * delta // 2, number * delta // 2 + delta))
            conn.execute("checkpoint")
            before = server_cpu()
            nodes = build(*BUILD, day=day_text(number))
            taken.append(nodes | {"build": sum(nodes.values()), "cpu": server_cpu() - before})
    # the first of them adds up the month that was filled
    return {name: statistics.median(each[name] for each in taken[1:]) for name in taken[0]}


def _land(data: Path, number: int, transactions: range) -> None:
    write_day(data, number, transactions=transactions, groups=1_000, agents=1_000, flaws=True)
    day = parse_day(day_text(number))
    land_day(data, day)
    match_names(day, flow_run_id="bench")


def _fill(conn: Connection, rows: int, days: int) -> None:
    """The days before the first: copies of what its build left, moved back in time."""
    for table, which in LEFT.items():
        first = "bench." + table.partition(".")[2]
        conn.execute(f"create table {first} as table {table}")
        cursor = conn.execute(f"select * from {first} limit 0")
        columns = [column.name for column in cursor.description or () if column.name != "id"]
        statement = f"""
            insert into {table} ({", ".join(columns)}) overriding system value
            select {", ".join(MOVED.get(name, name) for name in columns)} from {first}
            where {which}
        """
        for back in range(1, days):
            conn.execute(statement.replace(":back", str(back)).replace(":rows", str(rows)))
    conn.execute("vacuum analyze")
