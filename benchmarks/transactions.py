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
        for number in range(2, rounds + 2):  # half of each delta is new, half newer versions
            _land(data, number, rows, delta)

        def ours(turn: int) -> float:
            conn.execute("checkpoint")
            nodes.append(_build(turn + 2))
            _ledger(conn, turn + 2, nodes[-1])
            return sum(nodes[-1].values())

        def theirs(turn: int) -> float:
            conn.execute("checkpoint")
            return seconds(lambda: _by_hand(conn, day_text(turn + 2)))

        took = alternate({"ours": ours, "theirs": theirs}, rounds)
        _must_agree(conn)
        other = {"a late day": _late, "a day landed again": _again, "an unchanged day": _unchanged}
        others = {}
        for what, prepare in other.items():
            number = prepare(data, rows, delta, rounds + 1)
            conn.execute("checkpoint")
            others[what] = sum(_build(number).values())
    shutil.rmtree(data, ignore_errors=True)
    size = f"{delta:,} into {rows:,} rows"
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in nodes[-1].items())
    print(f"transactions, the last round's nodes: {parts}")
    in_order = took["ours"]
    aims = dict(zip(others, ("<= 2", "<= 2", "<= 0.33"), strict=True))
    return [
        Measure(
            "transactions",
            "typing, records, quarantine, upsert, ledger against SQL by hand",
            size,
            in_order,
            took["theirs"],
            "<= 1.6",
        ),
        *(
            Measure(
                "transactions", f"{what} against one in order", size, cost, in_order, aims[what]
            )
            for what, cost in others.items()
        ),
    ]


def _land(data: Path, number: int, rows: int, delta: int, *, shift: int = 0) -> None:
    start = rows + (number - 1) * delta // 2 - delta // 2 + shift
    write_day(data, number, transactions=range(start, start + delta), flaws=True)
    land_day(data, parse_day(day_text(number)))


def _late(data: Path, rows: int, delta: int, _last: int) -> int:
    _land(data, 1, rows, delta)
    return 1


def _again(data: Path, rows: int, delta: int, last: int) -> int:
    shutil.rmtree(data / day_text(last))
    _land(data, last, rows, delta, shift=7)
    return last


def _unchanged(_data: Path, _rows: int, _delta: int, last: int) -> int:
    return last


def _build(number: int) -> dict[str, float]:
    took = build(*SELECT, day=day_text(number))
    return {name: took[name] for name in NODES}


def _ledger(conn: Connection, number: int, nodes: dict[str, float]) -> None:
    """Reading the day's ledger, which the finish of each day does, is part of the work."""
    query = f"select * from metrics.row_ledger where day = '{day_text(number)}'"
    nodes["reading the ledger"] = seconds(lambda: conn.execute(query).fetchall())


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
