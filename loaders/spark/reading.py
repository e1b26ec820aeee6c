"""Reads a day with Spark: plan, cut, look, read, write, check, and at last the manifest."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders import prepared, slices
from loaders.days import Day
from loaders.errors import DaybookError
from loaders.files import day_folder, unused_files
from loaders.plan import Plan, check_blank, plan_tables
from loaders.raw_file import RawFile, check_unchanged
from loaders.readers.formats import Scanned, scan
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Found, UnreadableError
from loaders.s3 import SCHEME
from loaders.schema import Table
from loaders.slices import Slice
from loaders.sources import declared_tables
from loaders.spark import tasks
from loaders.spark.session import session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Progress = Callable[[str, int, int], None]
# A table smaller than this is read by the driver: a job for it would take longer.
READ_HERE = 4 << 20
GROUP_BYTES = 16 << 20
GROUP_FILES = 2_000
FEW_FILES = 100  # to look at these here is quicker than a job
TABLES_AT_ONCE = 4


@dataclass
class TableSlices:
    """What is known of a table's files: their slices and, where those were counted, how many
    records they have; then what was read of them."""

    parts: dict[str, list[Slice]] = field(default_factory=dict)
    expected: dict[str, int] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    fields: Found = field(default_factory=Found)


def read_day(
    data: str | Path,
    day: Day,
    out: Path,
    *,
    allow_empty: bool = False,
    sources: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Read `day` below `data` into `<out>/<day>`, which is replaced whole; gives that folder.

    `out` must be a path that driver and executors share. DaybookError for all that plan_day
    refuses, with nothing written; a table that can't be read keeps its error for the landing.
    """
    # the executors work in other folders than this process
    folder = day_folder(data if str(data).startswith(SCHEME) else Path(data).absolute(), day)
    if prepared.is_prepared(folder):
        raise DaybookError(
            f"{folder}: Spark has read this already; land it with python -m loaders."
        )
    target = out.absolute() / day.text
    tables = declared_tables(sources)
    with session(f"daybook {day}") as spark, _written(target) as place:
        plans = plan_tables(
            folder,
            list(tables.values()),
            day,
            allow_empty=allow_empty,
            scan=partial(_scan, spark),
        )
        done = 0

        def read(plan: Plan) -> dict[str, Any]:
            nonlocal done
            entry = _read_table(spark, plan, place / plan.table.name, allow_empty)
            done += 1
            if progress:
                progress(plan.table.name, done, len(plans))
            return entry

        # most of a small table's time is waiting for the scheduler
        with ThreadPoolExecutor(TABLES_AT_ONCE) as pool:
            entries = list(pool.map(read, plans))
        prepared.write(place, entries, unused_files(folder, tables.values()))
    return target


@contextlib.contextmanager
def _written(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its place once all is in it."""
    place = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
    place.mkdir(parents=True)
    old = place.with_name(f"{place.name}-old")
    try:
        yield place
        with contextlib.suppress(FileNotFoundError):
            os.replace(target, old)  # noqa: PTH105
        os.replace(place, target)  # noqa: PTH105
    finally:
        shutil.rmtree(place, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _scan(spark: SparkSession, files: list[RawFile], table: Table) -> list[Scanned]:
    """Look at a table's files on the executors; the first error there is raised here."""
    if not files or (len(files) < FEW_FILES and sum(file.bytes for file in files) < GROUP_BYTES):
        return [scan(file, Mapping(table)) for file in files]
    return _answers(spark, tasks.scan_file, files, table)


def _answers(
    spark: SparkSession, work: Callable[[Any, Table], Any], of: list[Any], table: Table
) -> list[Any]:
    """What `work` gives of each on the executors; the first error there is raised here."""
    pickled = [pickle.dumps((one, table)) for one in of]
    many = min(len(of), 4 * spark.sparkContext.defaultParallelism)
    spread = spark.sparkContext.parallelize(pickled, many)
    found = spread.map(partial(tasks.answer, work)).collect()
    for one in found:
        if isinstance(one, DaybookError):
            raise one
    return found


def _read_table(spark: SparkSession, plan: Plan, place: Path, allow_empty: bool) -> dict[str, Any]:
    """Writes a table to `place`; its entry in the manifest."""
    reading, error = TableSlices(), plan.error
    if plan.files and not error:
        try:
            reading = _slices(spark, plan)
            if sum(scanned.file.bytes for scanned in plan.files) < READ_HERE:
                _read_here(plan.table, reading, place)
            else:
                _read_there(spark, plan.table, reading, place)
            _check(plan, reading, _taken(place), allow_empty)
            check_unchanged(*plan.to_read)
        except DaybookError as failure:
            error = failure
    elif plan.files is not None:
        place.mkdir()
        (place / "_SUCCESS").touch()
    fields = reading.fields
    return {
        "table": plan.table.name,
        "columns": prepared.describe(plan.table),
        "error": error and tasks.words_of(error),
        "files": None if plan.files is None else [_about(one, reading) for one in plan.files],
        "fields": {
            "seen": sorted(fields.seen),
            "absent": sorted(fields.absent),
            "unknown": sorted(fields.unknown),
            "records": fields.json_records,
        },
    }


def _about(scanned: Scanned, reading: TableSlices) -> dict[str, Any]:
    file = scanned.file
    return {
        "path": file.path,
        "format": file.format,
        "bytes": file.bytes,
        "sha256": scanned.sha256,
        "records": reading.records.get(file.path, 0),
    }


def _slices(spark: SparkSession, plan: Plan) -> TableSlices:
    """The slices of a table's files; those of big ones are counted on the executors."""
    reading, table = TableSlices(), plan.table
    for scanned in plan.files or ():
        reading.parts[scanned.file.path] = slices.cut(scanned, table)
        if scanned.records is not None:
            reading.expected[scanned.file.path] = scanned.records
    to_count = [part for parts in reading.parts.values() if len(parts) > 1 for part in parts]
    if not to_count:
        return reading
    counts = dict(zip(to_count, _answers(spark, slices.look, to_count, table), strict=True))
    for path, parts in reading.parts.items():
        if len(parts) > 1:
            found = [counts[part] for part in parts]
            reading.parts[path], records = slices.numbered(parts, found)
            if records is not None:
                reading.expected[path] = records
    return reading


def _read_here(table: Table, reading: TableSlices, place: Path) -> None:
    """As _read_there, in this process: the same reader, the same layout."""
    import pyarrow
    from pyarrow import compute
    from pyarrow.parquet import ParquetWriter

    pickled = [pickle.dumps(part) for parts in reading.parts.values() for part in parts]
    with contextlib.ExitStack() as stack:
        writers: dict[str, ParquetWriter] = {}
        for batch in tasks.read_slices([pyarrow.record_batch({"slice": pickled})], table):
            for kind in compute.unique(batch.column("kind")).to_pylist():
                rows = batch.filter(compute.equal(batch.column("kind"), kind))
                rows = rows.drop_columns(["kind"])
                if kind not in writers:
                    (place / f"kind={kind}").mkdir(parents=True)
                    path = place / f"kind={kind}" / "part-00000.parquet"
                    writers[kind] = stack.enter_context(ParquetWriter(path, rows.schema))
                writers[kind].write_batch(rows)
    (place / "_SUCCESS").touch()


def _read_there(spark: SparkSession, table: Table, reading: TableSlices, place: Path) -> None:
    """One task for each big slice and for each handful of small files."""
    groups: list[list[bytes]] = []
    size = GROUP_BYTES
    for part in (part for parts in reading.parts.values() for part in parts):
        if size + part.bytes > GROUP_BYTES or len(groups[-1]) >= GROUP_FILES:
            groups.append([])
            size = 0
        groups[-1].append(pickle.dumps(part))
        size += part.bytes
    spread = spark.sparkContext.parallelize(groups, len(groups)).flatMap(_each)
    read = partial(tasks.read_slices, table=table)
    frame = spark.createDataFrame(spread, "slice binary")
    rows = frame.mapInArrow(read, tasks.output_schema(table))
    rows.write.partitionBy("kind").parquet(str(place))


def _each(group: list[bytes]) -> list[tuple[bytes]]:
    return [(one,) for one in group]


def _taken(place: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """What there is to say of each slice, by path and start; no longer there for the landing."""
    from pyarrow.parquet import read_table

    where = place / f"kind={tasks.SAID}"
    rows = read_table(
        where, columns=["_source_file", "_source_row", "_raw_text"], partitioning=None
    )
    shutil.rmtree(where)
    return {
        (row["_source_file"], row["_source_row"]): json.loads(row["_raw_text"])
        for row in rows.to_pylist()
    }


def _check(
    plan: Plan, reading: TableSlices, said: dict[tuple[str, int], dict[str, Any]], allow_empty: bool
) -> None:
    """Joins what was said of the slices; DaybookError as reading the whole files would end in."""
    mapping, fields = Mapping(plan.table), reading.fields
    for scanned in plan.files or ():
        path = scanned.file.path
        if scanned.header is not None:
            mapping.header(scanned.header).note(fields)
        of_file = [said[path, part.start] for part in reading.parts[path]]
        # a slice without the key is one of a file with it, unless all are
        keyless = all(one["keyless"] for one in of_file)
        for one in of_file:
            if one["error"] and (keyless or not one["keyless"]):
                raise UnreadableError(*one["error"])
            fields.seen.update(one["seen"])
            fields.json_records += one["json_records"]
            for name in one["unknown"]:
                fields.know(name)
        if of_file[0]["blank"]:
            check_blank(scanned, plan, allow_empty)
        read = reading.records[path] = sum(one["records"] for one in of_file)
        if (counted := reading.expected.get(path, read)) != read:
            raise DaybookError(f"{path}: {counted} records counted, {read} read.")
