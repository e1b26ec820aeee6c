"""The transactions model, a day's delta into a large target, against one SQL script by hand."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.raw_days import day_text, write_day
from benchmarks.stage import Measure, alternate, build, scratch_warehouse, seconds
from loaders.days import parse_day
from loaders.landing import land_day
from loaders.rates import refresh_rates

if TYPE_CHECKING:
    from psycopg import Connection

BY_HAND = Path(__file__).with_name("transactions_by_hand.sql")
NODES = ("int_transactions_pending", "quarantine_transactions", "transactions")
SELECT = ["run", "--select", "+transactions"]


def run(folder: Path, *, quick: bool) -> list[Measure]:
    rows, delta, rounds = (2_000, 400, 1) if quick else (1_000_000, 100_000, 3)
    data = folder / "data"
    nodes: list[dict[str, float]] = []
    with scratch_warehouse(folder) as conn:
        refresh_rates()
        write_day(data, 0, transactions=range(rows), flaws=True)
        land_day(data, parse_day(day_text(0)))
        build("seed", day=day_text(0))
        build(*SELECT, day=day_text(0))
        conn.execute("create table bench.transactions (like silver.transactions including all)")
        conn.execute("insert into bench.transactions select * from silver.transactions")
        conn.execute("create table bench.quarantine (like quarantine.transactions)")
        conn.execute("create table bench.metrics (like metrics.pipeline_metrics including all)")
        conn.execute("vacuum analyze")
        for number in range(1, rounds + 1):  # half of each delta is new, half newer versions
            start = rows + (number - 1) * delta // 2 - delta // 2
            write_day(data, number, transactions=range(start, start + delta), flaws=True)
            land_day(data, parse_day(day_text(number)))

        def ours(turn: int) -> float:
            conn.execute("checkpoint")
            took = build(*SELECT, day=day_text(turn + 1))
            nodes.append({name: took[name] for name in NODES})
            return sum(nodes[-1].values())

        def theirs(turn: int) -> float:
            conn.execute("checkpoint")
            return seconds(lambda: _by_hand(conn, day_text(turn + 1)))

        took = alternate({"ours": ours, "theirs": theirs}, rounds)
        _must_agree(conn)
    shutil.rmtree(data, ignore_errors=True)
    size = f"{delta:,} into {rows:,} rows"
    parts = ", ".join(f"{name} {nodes[-1][name]:.2f}" for name in NODES)
    print(f"transactions, the last round's nodes: {parts}")
    return [
        Measure(
            "transactions",
            "typing, quarantine, upsert, metrics against SQL by hand",
            size,
            took["ours"],
            took["theirs"],
            "<= 1.4",
        )
    ]


def _by_hand(conn: Connection, day: str) -> None:
    script = BY_HAND.read_text(encoding="utf-8").replace(":'day'", f"'{day}'")
    with conn.transaction():
        conn.execute(script)


def _must_agree(conn: Connection) -> None:
    """A contestant that does less would win: both must have come to the same rows."""
    for ours, theirs in (
        ("silver.transactions", "bench.transactions"),
        ("quarantine.transactions", "bench.quarantine"),
    ):
        where = "true" if ours.startswith("silver") else f"_day > '{day_text(0)}'"
        compared = []
        for table in (ours, theirs):
            query = (
                "select count(*), sum(hashtextextended((to_jsonb(held) - '_updated_at')::text, 0))"
                f" from {table} as held where {where}"
            )
            compared.append(conn.execute(query).fetchone())
        if compared[0] != compared[1]:
            raise RuntimeError(f"{ours} and {theirs} differ: {compared}")
