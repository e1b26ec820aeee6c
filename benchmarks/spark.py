"""Landing with Python against reading with Spark on this machine and landing what it made.

Runs only when it is named: `python -m benchmarks spark`; needs `make setup SPARK=1` and Java.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.raw_days import day_text, write_day
from benchmarks.stage import Measure, scratch_warehouse
from loaders.days import parse_day
from loaders.partition import partition_name
from loaders.sources import PROJECT

if TYPE_CHECKING:
    from psycopg import Connection

MASTER = "local[2]"
TABLE = "stg_transactions"
STATE = (
    "select count(*), sum(hashtextextended((to_jsonb(t) - '_batch_id' - '_loaded_at')::text, 0))"
    f" from bronze.{TABLE} t"
)


def run(folder: Path, *, quick: bool) -> list[Measure]:
    sizes = [(2_000, "csv")] if quick else [(1_000_000, "csv"), (1_000_000, "jsonl")]
    sizes += [] if quick else [(10_000_000, "csv")]
    found: list[Measure] = []
    for rows, form in sizes:
        data, out = folder / "data", folder / "spark"
        with scratch_warehouse(folder) as conn:
            path = write_day(data, 0, transactions=range(rows))
            if form == "jsonl":
                path = _as_json_lines(path)
            size = f"{rows:,} rows of {form}, {path.stat().st_size / 1e6:,.0f} MB"
            found += _sized(conn, data, out, size)
        shutil.rmtree(out, ignore_errors=True)
    return found


def _sized(conn: Connection, data: Path, out: Path, size: str) -> list[Measure]:
    day = parse_day(day_text(0))
    where = ("--day", day.text, "--data")
    python, python_cpu, python_peak = _watched("loaders", *where, str(data))
    state = conn.execute(STATE).fetchone()
    _forget(conn)
    read = _watched("loaders.spark", *where, str(data), "--out", str(out))
    landed = _watched("loaders", *where, str(out), "--force")
    if conn.execute(STATE).fetchone() != state:
        raise RuntimeError("Spark's rows are not those of Python")
    both, cpu = read[0] + landed[0], read[1] + landed[1]
    return [
        Measure("spark", f"read on {MASTER} and landed, against Python", size, both, python),
        Measure("spark", "of it: read, with Spark's start", size, read[0]),
        Measure("spark", "of it: landed", size, landed[0]),
        Measure("spark", "CPU seconds outside the warehouse", size, cpu, python_cpu),
        Measure("spark", "peak memory", size, max(read[2], landed[2]), python_peak, unit="MB"),
    ]


def _forget(conn: Connection) -> None:
    name = partition_name(TABLE, parse_day(day_text(0)))
    conn.execute(f"drop table if exists bronze.{name}")
    conn.execute("checkpoint")


def _as_json_lines(path: Path) -> Path:
    """The same records as an API would give them: nested, numbers as numbers."""
    target = path.with_suffix(".jsonl")
    with path.open(encoding="utf-8") as rows, target.open("w", encoding="utf-8") as lines:
        next(rows)
        lines.writelines(map(_line, rows))
    path.unlink()
    return target


def _line(row: str) -> str:
    cells = row.rstrip("\n").split(",")
    names = ["id", "uuid", "transactionType", "occurredTime", "updatedTime", "userId", "userUuid"]
    names += ["userName", "rawMerchantName", "merchantName", "cardId", "cardUuid", "budgetId"]
    record = {name: cell or None for name, cell in zip(names, cells, strict=False)}
    record["currencyData"] = {
        "originalCurrencyAmount": int(cells[14]),
        "exponent": int(cells[16]),
        "originalCurrencyCode": cells[17],
        "exchangeRate": float(cells[18]),
    }
    return json.dumps(record | {"childTransactionIds": []}) + "\n"


def _watched(module: str, *arguments: str) -> tuple[float, float, float]:
    """Run `python -m module …`: seconds, and of it and all below it the CPU seconds (the warehouse
    is not among them) and the most memory they held together, in MB."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=PROJECT,
            env={**os.environ, "SPARK_MASTER": MASTER},
            stdout=said,
            stderr=said,
        )
        peak, ticks = 0.0, dict[int, int]()
        while process.poll() is None:
            family = _family(process.pid)
            peak = max(peak, sum(size for size, _ in family.values()))
            ticks |= {pid: spent for pid, (_, spent) in family.items()}
            time.sleep(0.1)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{module} failed:\n{said.read()[-3000:]}")
    taken = time.perf_counter() - started
    return taken, sum(ticks.values()) / os.sysconf("SC_CLK_TCK"), peak


def _family(root: int) -> dict[int, tuple[float, int]]:
    """Resident MB and CPU ticks of a process and of all below it."""
    parents: dict[int, int] = {}
    found: dict[int, tuple[float, int]] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            told = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        pid = int(place.parent.name)
        parents[pid] = int(told[1])
        found[pid] = (int(told[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6, sum(map(int, told[11:13])))
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return {pid: found[pid] for pid in family if pid in found}
