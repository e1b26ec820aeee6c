"""Reads a day with Spark: plan, cut into slices, read, check, and write the manifest last."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from loaders import prepared, s3, slices, warehouse
from loaders.days import Day
from loaders.errors import DaybookError, UsageError
from loaders.files import day_folder, unused_files
from loaders.plan import Plan, plan_tables
from loaders.raw_file import Place, RawFile, check_unchanged, versions
from loaders.readers.formats import scan
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Observed, UnreadableError
from loaders.schema import Table
from loaders.sources import declared_tables
from loaders.spark import tasks
from loaders.spark.session import session
from loaders.workers import Worker

# Up to so many bytes in fewer files are read by the driver: a Spark job would take longer.
READ_HERE, FEW_FILES = 4 << 20, 100
GROUP_BYTES, GROUP_FILES = 16 << 20, 2_000  # at most, in one Spark task
TABLES_AT_ONCE = 4
TURN = 0.5  # seconds between two calls of `check`


def read_apart(
    data: str,
    day: Day,
    *,
    allow_empty: bool = False,
    sources: str | None = None,
    check: Callable[[], None] = lambda: None,
) -> str:
    """As `read_day`, in a process of its own, with which its JVM ends; returns the path to land
    from. `check` is called twice a second; when it raises, Spark is ended. An earlier run's output
    is deleted."""
    out = str(warehouse.own_folder("spark") / "flow")
    shutil.rmtree(out, ignore_errors=True)
    # the process ends first: the pool waits for the thread that listens to it
    with ThreadPoolExecutor(1) as thread, Worker(f"Spark could not read {day}.") as worker:
        answer = thread.submit(worker.ask, (_read_quietly, data, day, out, allow_empty, sources))
        while not wait([answer], TURN).done:
            check()
        answer.result()
    return out


def _read_quietly(
    _parent: Any, data: str, day: Day, out: str, allow_empty: bool, sources: str | None
) -> None:
    for stream in (1, 2):  # on which the JVM tells of itself
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    read_day(data, day, out, allow_empty=allow_empty, sources=sources)


def read_day(
    data: str | Path,
    day: Day,
    out: str | Path,
    *,
    allow_empty: bool = False,
    sources: str | Path | None = None,
    progress: Callable[[str, int, int], None] = lambda table, done, total: None,
) -> Place:
    """Read `day` below `data` into `<out>/<day>`, in place of what was there; returns that place.

    Driver and executors must share `out`: a path, or s3://bucket/prefix. DaybookError for all that
    plan_day refuses, with nothing written. The error of a table that can't be read is kept in the
    manifest, and landing raises it.
    """
    # absolute paths: the executors have other working folders
    folder, target = day_folder(data, day), s3.place(out) / day.text
    if f"{target}/".startswith(f"{folder}/"):
        raise UsageError(f"{target}: the raw files are there; give --out another place.")
    if prepared.is_prepared(folder):
        raise DaybookError(f"{folder}: Spark has read this already; land it with daybook land.")
    tables = list(declared_tables(sources).values())
    done: list[dict[str, Any]] = []
    with session(f"daybook {day}") as spark:

        def scan_all(files: list[RawFile], table: Table) -> list[RawFile]:
            return _spread(spark, partial(tasks.each, partial(scan, mapping=Mapping(table))), files)

        plans = plan_tables(folder, tables, day, allow_empty=allow_empty, scan_all=scan_all)
        try:
            if isinstance(target, Path):
                for table in tables:
                    (target / table.name).mkdir(parents=True, exist_ok=True)
            # in threads: a small table mostly waits for the scheduler
            with ThreadPoolExecutor(TABLES_AT_ONCE) as pool:
                for table_read in pool.map(partial(_read, spark, target), plans):
                    done.append(table_read)
                    progress(table_read["name"], len(done), len(plans))
            # another reading of the day, which ended meanwhile, may have swept them away
            parts = [part + prepared.ROWS for table in done for part in table["parts"]]
            versions([target / part for part in parts])
            prepared.write(target, done, unused_files(folder, tables))
            prepared.sweep(target)
        except ConnectionError:  # to Spark's Java process, or of our output
            raise
        except OSError as error:
            raise tasks.unwritable(target, error) from None
    return target


def _spread(
    spark: Any, work: Callable[[list[RawFile]], list[Any]], items: Sequence[RawFile]
) -> list[Any]:
    """The results of `work`, in the items' order; raises the first error among them. Items are
    grouped, a big file or slice alone, and go to the executors unless there is little to read."""
    groups: list[list[RawFile]] = []
    size = 0
    for item in items:
        if not groups or size + item.size > GROUP_BYTES or len(groups[-1]) >= GROUP_FILES:
            groups.append([])
            size = 0
        groups[-1].append(item)
        size += item.size
    if len(items) < FEW_FILES and sum(item.size for item in items) <= READ_HERE:
        answers = list(map(work, groups))
    else:
        answers = spark.parallelize(groups, len(groups)).map(work).collect()
    results = [one for answer in answers for one in answer]
    if error := next((one for one in results if isinstance(one, DaybookError)), None):
        raise error
    return results


def _read(spark: Any, target: Place, plan: Plan) -> dict[str, Any]:
    """Read a table into files below `target`; returns what the manifest says of it."""

    def counted(cut: list[RawFile], table: Table) -> list[int | None]:
        return _spread(spark, partial(tasks.each, partial(slices.count_records, table=table)), cut)

    read, parts = Observed(), []
    try:
        if plan.error:
            raise plan.error
        work = partial(tasks.read, plan=plan, folder=target)
        cut = chain.from_iterable(slices.slices_of(plan.files or (), plan.table, counted))
        for name, read_part in _spread(spark, work, list(cut)):
            parts.append(name)
            read.add(read_part)
        read.check_keys()
        check_unchanged(*plan.to_read)
    except DaybookError as error:
        failure = error if isinstance(error, UnreadableError) else UnreadableError(str(error))
        return prepared.entry(plan.table, plan.files, Observed(), (), failure)
    return prepared.entry(plan.table, plan.files, read, parts)
