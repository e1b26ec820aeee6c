"""Reads a day with Spark: plan, cut, look, read, check, and at last the manifest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders import prepared, s3, slices
from loaders.days import Day
from loaders.errors import DaybookError, UsageError
from loaders.files import day_folder, unused_files
from loaders.plan import Plan, check_blank, plan_tables
from loaders.prepared import ReadFile, ReadTable
from loaders.raw_file import Place, RawFile, check_unchanged
from loaders.readers.formats import Scanned, scan
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Found, KeylessError, UnreadableError
from loaders.schema import Table
from loaders.slices import Slice
from loaders.sources import declared_tables
from loaders.spark import tasks
from loaders.spark.session import session

if TYPE_CHECKING:
    from pyspark import SparkContext

# Fewer bytes than this, in fewer files, are read by the driver: a job would take longer.
READ_HERE, FEW_FILES = 4 << 20, 100
GROUP_BYTES, GROUP_FILES = 16 << 20, 2_000
TABLES_AT_ONCE = 4


def read_day(
    data: str | Path,
    day: Day,
    out: str | Path,
    *,
    allow_empty: bool = False,
    sources: str | Path | None = None,
    progress: Callable[[str, int, int], None] = lambda table, done, total: None,
) -> Place:
    """Read `day` below `data` into `<out>/<day>`, in place of what Spark read before; that place.

    `out` must be one that driver and executors share: a path, or s3://bucket/prefix. DaybookError
    for all that plan_day refuses, with nothing written; a table that can't be read keeps its error
    for the landing.
    """
    # absolute: the executors work in other folders than this process
    folder, target = day_folder(str(s3.place(data)), day), s3.place(out) / day.text
    if folder == target:
        raise UsageError(f"{target}: the raw files are there; give --out another place.")
    if prepared.is_prepared(folder):
        raise DaybookError(
            f"{folder}: Spark has read this already; land it with python -m loaders."
        )
    tables = list(declared_tables(sources).values())
    found: list[ReadTable] = []
    with session(f"daybook {day}") as spark:

        def scan_all(files: list[RawFile], table: Table) -> list[Scanned]:
            return _spread(spark, partial(tasks.each, partial(scan, mapping=Mapping(table))), files)

        plans = plan_tables(folder, tables, day, allow_empty=allow_empty, scan=scan_all)
        try:
            if isinstance(target, Path):
                for table in tables:
                    (target / table.name).mkdir(parents=True, exist_ok=True)
            # most of a small table's time is waiting for the scheduler
            with ThreadPoolExecutor(TABLES_AT_ONCE) as pool:
                for one in pool.map(partial(_read, spark, target, allow_empty), plans):
                    found.append(one)
                    progress(one.name, len(found), len(plans))
            prepared.write(target, found, unused_files(folder, tables))
            prepared.sweep(target)
        except OSError as error:
            raise tasks.unwritable(target, error) from None
    return target


def _spread(
    spark: SparkContext, work: Callable[[list[Any]], list[Any]], items: Sequence[Any]
) -> list[Any]:
    """What `work` gives of the items, in their order: a big file or slice alone, small ones by the
    handful, on the executors unless all that is little. The first error is raised."""
    groups: list[list[Any]] = []
    size = GROUP_BYTES
    for item in items:
        if size + item.bytes > GROUP_BYTES or len(groups[-1]) >= GROUP_FILES:
            groups.append([])
            size = 0
        groups[-1].append(item)
        size += item.bytes
    if len(items) < FEW_FILES and sum(item.bytes for item in items) < READ_HERE:
        answers = list(map(work, groups))
    else:
        answers = spark.parallelize(groups, len(groups)).map(work).collect()
    found = [one for answer in answers for one in answer]
    for one in found:
        if isinstance(one, DaybookError):
            raise one
    return found


def _read(spark: SparkContext, target: Place, allow_empty: bool, plan: Plan) -> ReadTable:
    """What the manifest says of a table, whose rows are below `target` then."""
    table, described = plan.table, prepared.describe(plan.table)
    if plan.files is None:
        return ReadTable(table.name, described, None)
    files = [
        ReadFile(one.file.path, one.file.format, one.file.bytes, one.sha256) for one in plan.files
    ]
    try:
        if plan.error:
            raise plan.error
        parts, counted = _slices(spark, plan)
        groups = _spread(spark, partial(tasks.read, table=table, folder=target), parts)
        found, records = _joined(plan, groups, counted, allow_empty)
        check_unchanged(*plan.to_read)
    except DaybookError as error:
        said = (
            (error.said, error.begins) if isinstance(error, UnreadableError) else (f"{error}", "")
        )
        return ReadTable(table.name, described, files, said)
    return ReadTable(
        table.name,
        described,
        files,
        None,
        records,
        [name for name, _ in groups],
        None if found.never is None else sorted(found.never.values()),
        sorted(found.absent),
        sorted(found.unknown),
    )


def _slices(spark: SparkContext, plan: Plan) -> tuple[list[Slice], dict[str, int | None]]:
    """The slices of a table's files, and how many records each file has, where that was counted:
    those of big ones are, on the executors."""
    found: list[Slice] = []
    counted: dict[str, int | None] = {}
    cut = [(scanned, slices.cut(scanned, plan.table)) for scanned in plan.files or ()]
    look = partial(tasks.each, partial(slices.look, table=plan.table))
    several = [part for _, parts in cut if len(parts) > 1 for part in parts]
    counts = iter(_spread(spark, look, several))
    for scanned, parts in cut:
        records = scanned.records
        if len(parts) > 1:
            parts, records = slices.numbered(parts, [next(counts) for _ in parts])
        counted[scanned.file.path] = records
        found += parts
    return found, counted


def _joined(
    plan: Plan, groups: list[tasks.GroupRead], counted: dict[str, int | None], allow_empty: bool
) -> tuple[Found, dict[str, int]]:
    """What the files' fields are, and the records of each, from what was said of the slices;
    DaybookError as reading the whole files would end in."""
    by_path = defaultdict(list)
    for part in (part for _, parts in groups for part in parts):
        by_path[part.path].append(part)
    mapping, found, records = Mapping(plan.table), Found(), {}
    for scanned in plan.files or ():
        path = scanned.file.path
        if scanned.header is not None:
            mapping.header(scanned.header).note(found)
        # a slice without the key is one of a file with it, unless all are
        keyless = all(isinstance(part.error, KeylessError) for part in by_path[path])
        for part in by_path[path]:
            if part.error and (keyless or not isinstance(part.error, KeylessError)):
                raise part.error
            found.add(part.found)
        if by_path[path][0].found.blank:
            check_blank(scanned, plan, allow_empty)
        read = records[path] = sum(part.records for part in by_path[path])
        if counted[path] not in (None, read):
            raise DaybookError(f"{path}: {counted[path]} records counted, {read} read.")
    return found, records
