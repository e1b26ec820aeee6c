"""The transactions model, a day's delta into a large target, against one SQL script by hand."""

from __future__ import annotations

import shutil
import statistics
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
NODES = ("int_transactions_records", "transactions", "row_ledger")
SELECT = ["run", "--select", "+transactions", "quarantine_transactions", "row_ledger"]


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
        # half of each delta is new, half newer versions; the days between are to come late
        starts = [rows + (turn - 1) * delta // 2 for turn in range(rounds)]
        for turn, start in enumerate(starts):
            _land(data, rounds + 1 + turn, range(start, start + delta))

        def ours(turn: int) -> float:
            conn.execute("checkpoint")
            number = rounds + 1 + turn
            nodes.append(_build(number))
            # the finish of each day reads its ledger
            query = f"select * from metrics.row_ledger where day = '{day_text(number)}'"
            nodes[-1]["reading the ledger"] = seconds(lambda: conn.execute(query).fetchall())
            return sum(nodes[-1].values())

        def theirs(turn: int) -> float:
            conn.execute("checkpoint")
            return seconds(lambda: _by_hand(conn, day_text(rounds + 1 + turn)))

        took = alternate({"ours": ours, "theirs": theirs}, rounds)
        _must_agree(conn)
        last = 2 * rounds

        def late(turn: int) -> float:
            _land(data, 1 + turn, range(starts[turn], starts[turn] + delta))
            conn.execute("checkpoint")
            return sum(_build(1 + turn).values())

        def again(turn: int) -> float:
            shutil.rmtree(data / day_text(last))
            start = starts[-1] + 7 * (1 + turn)
            _land(data, last, range(start, start + delta))
            conn.execute("checkpoint")
            return sum(_build(last).values())

        def unchanged(_turn: int) -> float:
            return sum(_build(last).values())

        size = f"{delta:,} into {rows:,} rows"
        others = []
        for what, contestant, aim in (
            ("a late day", late, "<= 2"),
            ("a day landed again", again, "<= 2"),
            ("an unchanged day", unchanged, "<= 0.33"),
        ):
            cost = statistics.median(contestant(turn) for turn in range(rounds))
            others.append(Measure(f"{what} against one in order", size, cost, took["ours"], aim))
        _land(data, last + 1, range(2 * delta))
        typing = _typing(conn, day_text(last + 1), rounds)
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in nodes[-1].items())
    print(f"transactions, the last round's nodes: {parts}")
    by_hand = "typing, records, quarantine, upsert, ledger against SQL by hand"
    alone, typed = "typing by parallel workers against one process", f"{2 * delta:,} rows"
    return [
        Measure(by_hand, size, took["ours"], took["theirs"], "<= 1.6"),
        *others,
        Measure(alone, typed, typing["workers"], typing["alone"], "<= 0.6"),
    ]


def _land(data: Path, number: int, transactions: range) -> None:
    write_day(data, number, transactions=transactions, flaws=True)
    land_day(data, parse_day(day_text(number)))


def _build(number: int) -> dict[str, float]:
    took = build(*SELECT, day=day_text(number))
    return {name: took[name] for name in NODES}


def _typing(conn: Connection, day: str, rounds: int) -> dict[str, float]:
    """A landed day typed into a temporary table, as the first of what a build runs."""
    typed = f"select * from intermediate.int_transactions_typed where _day = '{day}'"

    def with_workers(workers: str) -> float:
        conn.execute(f"set max_parallel_workers_per_gather = {workers}")
        took = seconds(lambda: conn.execute(f"create temporary table typed as {typed}"))
        conn.execute("drop table typed")
        return took

    return alternate(
        {"workers": lambda _: with_workers("default"), "alone": lambda _: with_workers("0")}, rounds
    )


def _by_hand(conn: Connection, day: str) -> None:
    script = BY_HAND.read_text(encoding="utf-8").replace(":'day'", f"'{day}'")
    with conn.transaction():
        conn.execute(script)


def _must_agree(conn: Connection) -> None:
    """A contestant that does less would win: both must have come to the same rows."""
    for ours, theirs, where in (
        ("silver.transactions", "bench.transactions", "true"),
        ("quarantine.transactions", "bench.quarantine", f"_day > '{day_text(0)}'"),
    ):
        compared = [
            conn.execute(
                "select count(*), sum(hashtextextended((to_jsonb(held) - '_updated_at')::text, 0))"
                f" from {table} as held where {where}"
            ).fetchone()
            for table in (ours, theirs)
        ]
        if compared[0] != compared[1]:
            raise RuntimeError(f"{ours} and {theirs} differ: {compared}")
