"""Landing with Python against reading with Spark, in one process and on a master with two workers,
and landing what it made.

Runs only when it is named: `python -m benchmarks spark`; needs `make setup SPARK=1` and Java. With
`--rows 1000000` without the days of ten million, which take 15 GB of disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from benchmarks.cluster import Cluster
from benchmarks.raw_days import day_text, write_day
from benchmarks.stage import Measure, scratch_warehouse, unland
from loaders.sources import PROJECT

if TYPE_CHECKING:
    from psycopg import Connection

LOCAL, CLUSTER = "local[2]", "two workers"
# Spark's own default, and what a worker must have to give it.
EXECUTOR_MEMORY = "1g"
TABLE = "stg_transactions"
STATE = (
    "select count(*), sum(hashtextextended((to_jsonb(t) - '_batch_id' - '_loaded_at')::text, 0))"
    f" from bronze.{TABLE} t"
)


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds, CPU seconds outside the warehouse, and the most memory in MB
    of its own processes, and of a cluster's workers, executors and their Python."""

    seconds: float
    cpu: float
    driver: float
    executors: float


def run(folder: Path, *, quick: bool, rows: int | None = None) -> list[Measure]:
    """Days of at most `rows` transactions."""
    sizes = [(count, form) for count in (1_000_000, 10_000_000) for form in ("csv", "jsonl")]
    if quick:  # smaller files would be read by the driver
        sizes = [(30_000, "csv"), (10_000, "jsonl")]
    found: list[Measure] = []
    for count, form in sizes:
        if rows is not None and count > rows:
            continue
        data = folder / "data"
        with scratch_warehouse(folder) as conn:
            path = write_day(data, 0, transactions=range(count))
            if form == "jsonl":
                path = as_json_lines(path)
            size = f"{count:,} rows of {form}, {path.stat().st_size / 1e6:,.0f} MB"
            found += _sized(conn, data, folder, size)
    return found


def _sized(conn: Connection, data: Path, folder: Path, size: str) -> list[Measure]:
    """Read with Spark and land, on this machine and on a cluster, and compare with the rows that
    Python landed."""
    python = _watched("loaders", *_where(data))
    state = conn.execute(STATE).fetchone()
    unland(conn, TABLE, day_text(0))
    found = []

    def compare(name: str, cluster: Cluster | None = None) -> None:
        out = folder / "spark"
        read = _watched("loaders.spark", *_where(data), "--out", str(out), cluster=cluster)
        landed = _watched("loaders", *_where(out), "--force")
        if conn.execute(STATE).fetchone() != state:
            raise RuntimeError(f"the rows of Spark on {name} are not those of Python")
        unland(conn, TABLE, day_text(0))
        shutil.rmtree(out)

        def note(what: str, ours: float, theirs: float | None = None, unit: str = "s") -> None:
            found.append(Measure(f"{name}: {what}", size, ours, theirs, unit=unit))

        note("read and landed, against Python", read.seconds + landed.seconds, python.seconds)
        note("of it: read, with Spark's start", read.seconds)
        note("of it: landed", landed.seconds)
        note("CPU outside the warehouse, against Python", read.cpu + landed.cpu, python.cpu)
        note("peak memory of the driver, against Python", read.driver, python.driver, "MB")
        note("peak memory of the landing, against Python", landed.driver, python.driver, "MB")
        if cluster:
            note("peak memory of workers and executors", read.executors, unit="MB")

    compare(LOCAL)
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as place:
        cluster = Cluster(Path(place), EXECUTOR_MEMORY)
        try:
            compare(CLUSTER, cluster)
        finally:
            cluster.stop()
    return found


def _where(data: Path) -> tuple[str, ...]:
    return ("--day", day_text(0), "--data", str(data))


def as_json_lines(path: Path) -> Path:
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


def _watched(module: str, *arguments: str, cluster: Cluster | None = None) -> Cost:
    """Run `python -m module …`, Spark on `cluster` or on this machine."""
    workers = [process.pid for process in cluster.processes] if cluster else []
    before = {pid: cpu for pid, (_, cpu) in _family(*workers).items()}
    environment = {"SPARK_MASTER": cluster.master if cluster else LOCAL}
    if cluster:
        environment |= {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_HOSTNAME": "127.0.0.1"}
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=PROJECT,
            env={**os.environ, **environment},
            stdout=said,
            stderr=said,
        )
        peaks, last, spent = [0.0, 0.0], [0.0, 0.0], dict[int, float]()
        while process.poll() is None:
            for place, family in enumerate((_family(process.pid), _family(*workers))):
                size = sum(size for size, _ in family.values())
                # what was there twice: for a moment a forked process has its parent's memory
                peaks[place] = max(peaks[place], min(size, last[place]))
                last[place] = size
                spent |= {pid: cpu for pid, (_, cpu) in family.items()}
            time.sleep(0.1)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{module} failed:\n{said.read()[-3000:]}")
    taken = time.perf_counter() - started
    return Cost(taken, sum(spent.values()) - sum(before.values()), *peaks)


def _family(*roots: int) -> dict[int, tuple[float, float]]:
    """Resident MB and CPU seconds of processes and of all below them."""
    found = {}
    for root in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in (psutil.Process(root), *psutil.Process(root).children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):  # it has ended
                    found[each.pid] = each.memory_info().rss / 1e6, sum(each.cpu_times()[:2])
    return found
