"""Reads a day with Spark: plan, look, read, write, count, and at last the manifest."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders import prepared
from loaders.days import Day
from loaders.errors import DaybookError
from loaders.files import RawFile, day_folder, unused_files
from loaders.opening import check_unchanged
from loaders.plan import Plan, Scanned, plan_tables, scan
from loaders.readers.header import Header
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Found
from loaders.s3 import SCHEME
from loaders.sources import Table, declared_tables
from loaders.spark import lines, tasks
from loaders.spark.session import session
from loaders.spark.shapes import Shape, find_shapes, needs_python

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Progress = Callable[[str, int, int], None]
# A smaller file is read whole, together with others: a look at its lines would cost more.
SPLIT_FROM = 4 << 20
# A table smaller than this is read by the driver: a job for it would take longer.
READ_HERE = 4 << 20
GROUP_BYTES = 16 << 20
GROUP_FILES = 2_000
FEW_FILES = 100  # to look at these here is quicker than a job
TABLES_AT_ONCE = 4
# Spark takes other characters in a path for patterns.
_PLAIN_PATH = re.compile(r"[\w/.,=+@ -]+")


@dataclass
class Reading:
    """What is known of a table while it is read; `whole` are the paths not read by lines."""

    plan: Plan
    whole: set[str] = field(default_factory=set)
    expected: dict[str, int] = field(default_factory=dict)
    fields: Found = field(default_factory=Found)
    shapes: list[Shape] = field(default_factory=list)


@dataclass(frozen=True)
class Counts:
    """What was written: records by path and by shape, and why a path could not be read."""

    records: dict[str, int]
    failed: dict[str, str]
    shapes: Counter[int]


def read_day(
    data: str | Path,
    day: Day,
    out: Path,
    *,
    allow_empty: bool = False,
    sources: str | Path | None = None,
    split_from: int | None = None,
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
            entry = _read_table(spark, plan, place / plan.table.name, split_from or SPLIT_FROM)
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
    pickled = [pickle.dumps((file, table)) for file in files]
    many = min(len(files), 4 * spark.sparkContext.defaultParallelism)
    found = spark.sparkContext.parallelize(pickled, many).mapPartitions(tasks.scan_files).collect()
    for one in found:
        if isinstance(one, DaybookError):
            raise one
    return found


def _read_table(spark: SparkSession, plan: Plan, place: Path, split_from: int) -> dict[str, Any]:
    reading = Reading(plan)
    error = str(plan.error) if plan.error else None
    records: dict[str, int] = {}
    if plan.files and not error:
        try:
            if sum(scanned.file.bytes for scanned in plan.files) < READ_HERE:
                records = _read_here(reading, place)
            else:
                records = _read_files(spark, reading, place, split_from)
            check_unchanged(*plan.to_read)
        except DaybookError as failure:
            error = str(failure)
    elif plan.files is not None:
        place.mkdir()
        (place / "_SUCCESS").touch()
    fields = reading.fields
    return {
        "table": plan.table.name,
        "columns": prepared.describe(plan.table),
        "error": error,
        "files": None if plan.files is None else [_about(one, records) for one in plan.files],
        "fields": {
            "seen": sorted(fields.seen),
            "absent": sorted(fields.absent),
            "unknown": sorted(fields.unknown),
            "records": fields.json_records,
        },
    }


def _about(scanned: Scanned, records: dict[str, int]) -> dict[str, Any]:
    file = scanned.file
    return {
        "path": file.path,
        "format": file.format,
        "bytes": file.bytes,
        "sha256": scanned.sha256,
        "records": records.get(file.path, 0),
    }


def _read_here(reading: Reading, place: Path) -> dict[str, int]:
    """As _read_files, in this process: the same reader, the same layout."""
    import pyarrow
    from pyarrow import compute
    from pyarrow.parquet import ParquetWriter

    files, table = reading.plan.files or (), reading.plan.table
    _note_headers(reading)
    pickled = pyarrow.record_batch({"file": [pickle.dumps(scanned) for scanned in files]})
    records = {scanned.file.path: 0 for scanned in files}
    with contextlib.ExitStack() as stack:
        writers: dict[str, ParquetWriter] = {}
        for batch in tasks.read_files([pickled], table, partial(_add, reading.fields)):
            for kind in compute.unique(batch.column("kind")).to_pylist():
                rows = batch.filter(compute.equal(batch.column("kind"), kind))
                if kind == "failed":
                    raise DaybookError(rows.column("_reason")[0].as_py())
                rows = rows.drop_columns(["kind"])
                if kind not in writers:
                    (place / f"kind={kind}").mkdir(parents=True)
                    path = place / f"kind={kind}" / "part-00000.parquet"
                    writers[kind] = stack.enter_context(ParquetWriter(path, rows.schema))
                writers[kind].write_batch(rows)
                # a repaired record is a row, noted among the rejects beside
                columns = (rows.column(name).to_pylist() for name in ("_source_file", "_landed"))
                pairs = zip(*columns, strict=True)
                for path, count in Counter(path for path, landed in pairs if not landed).items():
                    records[path] += count
    place.mkdir(exist_ok=True)
    (place / "_SUCCESS").touch()
    return _checked(reading, records)


def _note_headers(reading: Reading) -> None:
    for scanned in reading.plan.files or ():
        if scanned.file.format != "json" and scanned.header is not None:
            Header(scanned.header, Mapping(reading.plan.table)).note(reading.fields)
        if scanned.records is not None:
            reading.expected[scanned.file.path] = scanned.records


def _checked(reading: Reading, records: dict[str, int]) -> dict[str, int]:
    table, fields = reading.plan.table, reading.fields
    if fields.json_records and not set(table.key) <= fields.seen:
        raise DaybookError(f"{table.name}: none of its records has the key {', '.join(table.key)}.")
    for path, expected in reading.expected.items():
        if records[path] != expected:
            raise DaybookError(f"{path}: {expected} records counted, {records[path]} read.")
    return records


def _read_files(
    spark: SparkSession, reading: Reading, place: Path, split_from: int
) -> dict[str, int]:
    """Writes a table; its records by file. Again, when lines turn out to be no records."""
    files = reading.plan.files or ()
    while True:
        reading.fields, reading.expected = Found(), {}
        gathered = spark.sparkContext.accumulator(Found(), _gathering())
        rows, doubtful = _rows(spark, reading, gathered.add, split_from)
        rows.write.mode("overwrite").partitionBy("kind").parquet(str(place))
        left = place / f"kind={tasks.LEFT}"
        if doubtful is not None and left.exists():
            shutil.rmtree(left)
            doubtful.write.mode("append").partitionBy("kind").parquet(str(place))
        counts = _counts(spark, reading.plan.table, place)
        again = {path for path, reason in counts.failed.items() if reason == tasks.NOT_LINES}
        if not again:
            break
        reading.whole |= again
    _add(reading.fields, gathered.value)
    for index, many in counts.shapes.items():
        shape = reading.shapes[index]
        _add(
            reading.fields,
            Found(seen=set(shape.seen), unknown=set(shape.unknown), json_records=many),
        )
    for reason in counts.failed.values():
        raise DaybookError(reason)
    records = {scanned.file.path: counts.records.get(scanned.file.path, 0) for scanned in files}
    return _checked(reading, records)


def _rows(
    spark: SparkSession, reading: Reading, note: Callable[[Found], None], split_from: int
) -> tuple[DataFrame, DataFrame | None]:
    """All rows of a table, good and bad, from all that reads its files; and those of the lines for
    which the first have rows of the kind LEFT, if there are any."""
    table = reading.plan.table
    files = reading.plan.files or ()
    schema = tasks.output_schema(table)
    _note_headers(reading)
    by_lines: dict[Any, list[Scanned]] = {}
    whole = []
    for scanned in files:
        file = scanned.file
        lines_do = scanned.file.format == "json" and not Mapping(table).declared
        if scanned.streamed and set(scanned.streamed) == set(scanned.header or ()):
            lines_do = table.delimiter == ","
        if file.path not in reading.whole and lines_do and _splits(file, split_from):
            by_lines.setdefault((file.format, scanned.header), []).append(scanned)
        else:
            whole.append(scanned)
    found: list[DataFrame] = []
    doubtful = None
    for (form, header), group in by_lines.items():
        every = lines.lines_of(spark, group)
        looked = lines.look(every, group)
        whole += [scanned for scanned in group if scanned.file.path in looked.whole]
        kept = {path: n for path, n in looked.records.items() if path not in looked.whole}
        reading.expected.update(kept)
        if not kept:
            continue
        records = lines.numbered(spark, every, looked, group)
        if form == "json":
            read = partial(tasks.read_json_lines, table=table, note=note)
            reading.shapes = find_shapes([one for one in group if one.file.path in kept], table)
            if reading.shapes:
                found.append(lines.json_rows(records, table, reading.shapes))
                bad = lines.for_python(records.where(needs_python(reading.shapes)))
                doubtful = bad.mapInArrow(read, schema)
            else:
                found.append(lines.for_python(records).mapInArrow(read, schema))
            continue
        good = records
        if looked.doubtful:
            doubt = lines.csv_doubt(len(header))
            good = records.where(~doubt)
            read = partial(tasks.read_csv_lines, table=table, header=header)
            bad = lines.for_python(records.where(doubt))
            found.append(bad.mapInArrow(read, schema))
        found.append(lines.csv_rows(good, table, header))
    if whole:
        read = partial(tasks.read_files, table=table, note=note)
        found.append(_groups(spark, whole).mapInArrow(read, schema))
    return reduce(lambda one, other: one.unionByName(other), found), doubtful


def _splits(file: RawFile, split_from: int) -> bool:
    plain = isinstance(file.location, Path) and _PLAIN_PATH.fullmatch(str(file.location))
    return (
        bool(plain)
        and not file.compressed
        and file.format in ("csv", "json")
        and (file.bytes > 0 and file.bytes >= split_from)
    )


def _groups(spark: SparkSession, files: list[Scanned]) -> DataFrame:
    """Files to be read whole, one task for each large one and for each handful of small ones."""
    groups: list[list[bytes]] = []
    size = GROUP_BYTES
    for scanned in files:
        if size + scanned.file.bytes > GROUP_BYTES or len(groups[-1]) >= GROUP_FILES:
            groups.append([])
            size = 0
        groups[-1].append(pickle.dumps(scanned))
        size += scanned.file.bytes
    spread = spark.sparkContext.parallelize(groups, len(groups))
    return spark.createDataFrame(spread.flatMap(_each), "file binary")


def _each(group: list[bytes]) -> list[tuple[bytes]]:
    return [(one,) for one in group]


def _counts(spark: SparkSession, table: Table, place: Path) -> Counts:
    from pyspark.sql import functions as F

    written = spark.read.schema(tasks.output_schema(table)).parquet(str(place))
    # a repaired record is a row, noted among the rejects beside
    once = written.where(~F.coalesce(F.col("_landed"), F.lit(False)))
    counted = once.groupBy("kind", "_source_file", "_shape").agg(
        F.count(F.lit(1)).alias("records"), F.min("_reason").alias("reason")
    )
    records: dict[str, int] = {}
    failed: dict[str, str] = {}
    shapes: Counter[int] = Counter()
    for row in counted.collect():
        path = row["_source_file"]
        if row["kind"] == "failed":
            failed[path] = row["reason"]
        else:
            records[path] = records.get(path, 0) + row["records"]
            if row["_shape"] is not None:
                shapes[row["_shape"]] += row["records"]
    return Counts(records, failed, shapes)


def _gathering() -> Any:
    """An accumulator of Found: what each task saw, joined. A task that ran twice adds the same."""
    from pyspark.accumulators import AccumulatorParam

    class Gathering(AccumulatorParam):
        def zero(self, _value: Found) -> Found:
            return Found()

        def addInPlace(self, one: Found, other: Found) -> Found:
            _add(one, other)
            return one

    return Gathering()


def _add(one: Found, other: Found) -> None:
    one.seen |= other.seen
    one.absent |= other.absent
    one.json_records += other.json_records
    for name in sorted(other.unknown):
        one.know(name)
