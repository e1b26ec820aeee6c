"""CSV landing against `psql \\copy` of the same file into a plain table of text columns; JSON lines
against Python's json and COPY."""

from __future__ import annotations

import json
import shutil
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.raw_days import day_text, write_day, write_json_day
from benchmarks.stage import Measure, alternate, peak_of, psql, scratch_warehouse, seconds, unland
from loaders.days import parse_day
from loaders.landing import land_day
from loaders.sources import declared_tables

if TYPE_CHECKING:
    from psycopg import Connection

TABLE = "stg_transactions"


def run(folder: Path, *, quick: bool) -> list[Measure]:
    rows, rounds = (2_000, 1) if quick else (1_000_000, 5)
    data = folder / "data"
    with scratch_warehouse(folder) as conn:
        path = write_day(data, 0, transactions=range(rows))
        size = f"{rows:,} rows, {path.stat().st_size / 1e6:.0f} MB"
        day = parse_day(day_text(0))

        def ours(_turn: int) -> float:
            unland(conn, TABLE, day.text)
            return seconds(lambda: land_day(data, day, tables=[TABLE]))

        def theirs(_turn: int) -> float:
            columns = ", ".join(f"{name} text" for name in declared_tables()[TABLE].column_names)
            conn.execute("drop table if exists bench.plain")
            conn.execute(f"create table bench.plain ({columns})")
            conn.execute("checkpoint")
            command = f"\\copy bench.plain from '{path}' (format csv, header true)"
            return seconds(lambda: psql("-c", command))

        took = alternate({"ours": ours, "theirs": theirs}, rounds)
        speed = Measure("CSV against psql \\copy", size, took["ours"], took["theirs"], ">= 0.85")
        unland(conn, TABLE, day.text)
        write_day(data, 1, transactions=range(rows // 10))
        # at first rates are loaded and names are matched, which takes more memory
        *_, small, large = (_peak_landing(data, number) for number in (1, 0, 1, 0))
        what, size = "peak memory against a tenth of the rows", f"{rows:,} rows"
        memory = Measure(what, size, large, small, "<= 1.1", unit="MB")
        shutil.rmtree(data)
        json_cpu = _json(conn, data, rows, rounds)
        several = _several(conn, data, rows, rounds)
    return [speed, memory, json_cpu, several]


def _several(conn: Connection, data: Path, rows: int, rounds: int) -> Measure:
    """JSON lines: taking them apart is what takes the time, and what workers share."""
    many = rows // 2
    path = write_json_day(data, 0, range(many))
    day = parse_day(day_text(0))

    def landed_by(workers: int, _turn: int) -> float:
        unland(conn, TABLE, day.text)
        return seconds(lambda: land_day(data, day, tables=[TABLE], force=True, workers=workers))

    took = alternate({"two": partial(landed_by, 2), "one": partial(landed_by, 1)}, rounds)
    size = f"{many:,} rows, {path.stat().st_size / 1e6:.0f} MB"
    what = "JSON lines by two workers against one"
    return Measure(what, size, took["two"], took["one"], "<= 0.6")


def _json(conn: Connection, data: Path, rows: int, rounds: int) -> Measure:
    """This process's CPU alone: what the server does is the same for both, and no other work on
    the machine changes it much."""
    many = rows // 5
    path = write_json_day(data, 0, range(many))
    day = parse_day(day_text(0))
    paths = [column.places[0] for column in declared_tables()[TABLE].columns]

    def ours(_turn: int) -> float:
        unland(conn, TABLE, day.text)
        land = partial(land_day, data, day, tables=[TABLE], force=True)
        return seconds(land, time.process_time)

    def copy() -> None:
        with (
            path.open("rb") as lines,
            conn.cursor().copy("copy bench.plain from stdin") as copied,
        ):
            for line in lines:
                record = json.loads(line)
                copied.write_row([_at(record, path) for path in paths])

    def theirs(_turn: int) -> float:
        conn.execute("truncate bench.plain")
        return seconds(copy, time.process_time)

    taken = alternate({"ours": ours, "theirs": theirs}, rounds)
    size = f"{many:,} rows, {path.stat().st_size / 1e6:.0f} MB"
    what = "JSON lines of mixed shapes against json.loads and COPY: CPU of the process"
    return Measure(what, size, taken["ours"], taken["theirs"], "<= 1", unit="CPU s")


def _at(record: dict[str, Any], path: tuple[str, ...]) -> str | None:
    value: Any = record
    for name in path:
        value = value.get(name) if value else None
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _peak_landing(data: Path, number: int) -> float:
    day = day_text(number)
    return peak_of("loaders", "--day", day, "--data", str(data), "--table", TABLE, "--force")
