"""What every benchmark stands on: a throw-away warehouse, dbt's timings, and peak memory."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from loaders import cluster, warehouse
from loaders.days import parse_day
from loaders.partition import partition_name
from loaders.server import reset
from loaders.sources import PROJECT

if TYPE_CHECKING:
    from psycopg import Connection

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@dataclass(frozen=True)
class Measure:
    """One line of the result: medians in seconds (or MB, by `unit`), and ours over theirs."""

    benchmark: str = field(default="", kw_only=True)  # said by who runs it
    what: str
    size: str
    ours: float
    theirs: float | None = None
    # "<= 1.4" of ours over theirs, ">= 0.85" of theirs over ours, or "<= 40" of ours alone
    aim: str | None = None
    unit: str = "s"

    @property
    def ratio(self) -> float | None:
        """Time over time; for an aim of at least so much of their speed, the other way round."""
        if self.theirs is None:
            return None
        speed = (self.aim or "").startswith(">=")
        return self.theirs / self.ours if speed else self.ours / self.theirs

    @property
    def held(self) -> bool | None:
        """Whether the aim was reached; None without one."""
        if self.aim is None:
            return None
        sign, limit = self.aim.split()
        value = self.ours if self.ratio is None else self.ratio
        return value >= float(limit) if sign == ">=" else value <= float(limit)


@contextlib.contextmanager
def surroundings() -> Iterator[Path]:
    """A temporary folder for warehouse, dbt and Prefect, and an environment that names no other."""
    with (
        tempfile.TemporaryDirectory(prefix="db-bench-", ignore_cleanup_errors=True) as made,
        patch.dict(os.environ),
    ):
        folder = Path(made)
        folder.chmod(0o755)  # the server's user must be able to enter
        for name in list(os.environ):
            if name.startswith(("PG", "DBT_", "PREFECT_", "DAYBOOK_", "DATA")):
                del os.environ[name]
        (folder / "dbt").mkdir()
        shutil.copy(PROJECT / "profiles.example.yml", folder / "dbt" / "profiles.yml")
        os.environ |= {
            "DAYBOOK_HOME": str(folder / "home"),
            "DBT_PROFILES_DIR": str(folder / "dbt"),
            "DBT_TARGET_PATH": str(folder / "dbt" / "target"),
            "DBT_LOG_PATH": str(folder / "dbt" / "logs"),
            "PREFECT_HOME": str(folder / "prefect"),
            "DO_NOT_TRACK": "1",
        }
        yield folder


@contextlib.contextmanager
def scratch_warehouse(folder: Path) -> Iterator[Connection]:
    """A new embedded warehouse and an autocommit connection to it; both gone at the end.

    Its path is the same for each benchmark of a run: dbt's parsed project can be kept.
    """
    warehouse.start()
    try:
        with warehouse.connect(application_name="daybook bench", autocommit=True) as conn:
            conn.execute("create schema bench")
            yield conn
    finally:
        reset(warehouse.home())
        shutil.rmtree(folder / "data", ignore_errors=True)


def admin(*statements: str) -> None:
    """Run statements from beside the warehouse's database, which they drop or copy."""
    with warehouse.connect(dbname="postgres", autocommit=True) as conn:
        for statement in (*statements, "checkpoint"):
            conn.execute(statement)


def begin_from(database: str) -> None:
    """Put a copy of `database` in the place of the warehouse's."""
    admin("drop database daybook with (force)", f"create database daybook template {database}")


def unland(conn: Connection, table: str, day: str) -> None:
    """Drop what has landed of a table's day."""
    conn.execute(f"drop table if exists bronze.{partition_name(table, parse_day(day))}")
    conn.execute("checkpoint")


def seconds(work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one call by a clock: time.process_time is the CPU of this process."""
    started = clock()
    work()
    return clock() - started


def cpu_of_all(work: Callable[[], Any]) -> float:
    """CPU seconds that one call took of this process, all that it started, and the embedded server.
    Prefect's temporary server outlives the flow that started it: on Linux this process adopts such
    orphans, and waits for them."""
    import psutil

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    before, known = sum(os.times()[:4]) + server_cpu(), psutil.Process().children()
    work()
    psutil.wait_procs([one for one in psutil.Process().children() if one not in known], timeout=60)
    return sum(os.times()[:4]) + server_cpu() - before


def server_cpu() -> float:
    """CPU seconds that the embedded server and its sessions have spent so far."""
    import psutil

    note = cluster.Cluster(warehouse.home()).data / "postmaster.pid"
    server = psutil.Process(int(note.read_text().splitlines()[0]))
    # sessions that have ended are in the server's own figures
    spent = sum(server.cpu_times()[:4])
    for session in server.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            spent += sum(session.cpu_times()[:2])
    return spent


def alternate(contestants: dict[str, Callable[[int], float]], rounds: int) -> dict[str, float]:
    """Median per contestant. Each gets the round's number and gives its own figure; who begins
    changes with each round, so that neither always finds the warm machine."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds):
        order = list(contestants)
        for name in order if turn % 2 == 0 else reversed(order):
            taken[name].append(contestants[name](turn))
    return {name: statistics.median(values) for name, values in taken.items()}


def build(*arguments: str, day: str | None = None) -> dict[str, float]:
    """Run dbt in this process, with the manifest that is kept; seconds per node, by name."""
    from flows import transform

    transform.build(parse_day(day) if day else None, "bench", arguments=list(arguments))
    return node_seconds()


def node_seconds() -> dict[str, float]:
    """Of dbt's last build: seconds per node, by name."""
    found = json.loads((Path(os.environ["DBT_TARGET_PATH"]) / "run_results.json").read_text())
    return {each["unique_id"].split(".")[2]: each["execution_time"] for each in found["results"]}


def psql(*arguments: str) -> None:
    """Run psql, the embedded server's own, against the warehouse."""
    options = ("-qX", "-v", "ON_ERROR_STOP=1", *arguments)
    command = [cluster.program("psql"), warehouse.uri(), *options]
    subprocess.run(command, check=True, capture_output=True)


def peak_of(module: str, *arguments: str) -> float:
    """Run `python -m module …` in a process of its own; the most memory that it, or one that it
    started, held, in MB."""
    return float(python("benchmarks.peak", module, *arguments).splitlines()[-1])


def python(*arguments: str) -> str:
    """Run `python -m …`; what it printed. RuntimeError when it fails."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        said = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{said}")
    return done.stdout
