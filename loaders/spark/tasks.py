"""What runs in Python on the executors: the loaders' own readers, giving Arrow."""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders.errors import DaybookError
from loaders.files import RawFile, opened
from loaders.plan import Scanned, scan
from loaders.read_csv import line_parser, read_csv
from loaders.read_json import read_json
from loaders.read_parquet import read_parquet
from loaders.records import Fields, Reject, Row
from loaders.sources import Table

if TYPE_CHECKING:
    import pyarrow

BATCH = 5_000
LINEAGE = ("_extra", "_source_file", "_source_row")
ASIDE = ("_reason", "_raw_text", "_weight", "_shape", "kind")
NUMBERS = {"_source_row": "long", "_weight": "int", "_shape": "int"}
# The kind of rows that stand for lines which Spark leaves to Python.
LEFT = "left"
# What a line reader says of a file whose lines are not its records: it must be read whole.
NOT_LINES = "not lines"

Note = Callable[[Fields], None]


def output_columns(table: Table) -> list[str]:
    """The columns of what Spark writes; `kind` is landed, rejected, failed or left."""
    return [*table.column_names, *LINEAGE, *ASIDE]


def output_schema(table: Table) -> str:
    """The same as Spark's DDL."""
    names = output_columns(table)
    return ", ".join(f"`{name}` {NUMBERS.get(name, 'string')}" for name in names)


def scan_files(pickled: Iterable[bytes]) -> Iterator[Scanned | DaybookError]:
    """Hash files and read their headers; what is wrong with one comes back as its error."""
    for one in pickled:
        file, table = pickle.loads(one)
        try:
            yield scan(file, table)
        except DaybookError as error:
            yield error


def read_files(
    batches: Iterable[pyarrow.RecordBatch], table: Table, note: Note
) -> Iterator[pyarrow.RecordBatch]:
    """Each pickled file read whole by its reader; one that can't be read gives a `failed` row."""
    for batch in batches:
        for one in batch.column(0).to_pylist():
            scanned = pickle.loads(one)
            path = scanned.file.path
            yield from _batches(_read(scanned, table, note), path, table)


def _read(scanned: Scanned, table: Table, note: Note) -> Iterator[Row | Reject | DaybookError]:
    file, fields = scanned.file, Fields()
    try:
        if file.format == "parquet":
            yield from read_parquet(file, table)
        else:
            with opened(file) as stream:
                if file.format == "json":
                    yield from read_json(file, stream, table, fields)
                elif scanned.header is not None:
                    yield from read_csv(file, stream, table, scanned.header)
    except DaybookError as error:
        yield error
    note(fields)


def read_json_lines(
    batches: Iterable[pyarrow.RecordBatch], table: Table, note: Note
) -> Iterator[pyarrow.RecordBatch]:
    """Records of JSON lines: (path, number, line). A piece of a file is read as the file would be;
    unless it has as many records as lines, or is cut, the file is told to be none of lines."""
    for path, numbers, lines in _pieces(batches):
        fields = Fields()
        stub = RawFile(path, Path(path), "json", False, 0, 0)
        found: list[Row | Reject] = []
        with contextlib.suppress(DaybookError):
            found = list(read_json(stub, io.BytesIO(b"".join(lines)), table, fields))
        if len(found) == len(lines):
            note(fields)
            numbered = (_numbered(one, numbers[one.number - 1]) for one in found)
            yield from _batches(numbered, path, table)
        else:
            yield from _batches(iter([DaybookError(NOT_LINES)]), path, table)


def read_csv_lines(
    batches: Iterable[pyarrow.RecordBatch], table: Table, header: tuple[str, ...]
) -> Iterator[pyarrow.RecordBatch]:
    """Lines of CSV that Spark has doubts about: (path, number, line)."""
    parse = line_parser(table, header)
    for path, numbers, lines in _pieces(batches):
        yield from _batches(map(parse, numbers, lines), path, table)


def _numbered(found: Row | Reject, number: int) -> Row | Reject:
    if isinstance(found, Row):
        return found._replace(number=number)
    return Reject(number, found.reason, found.raw, found.weight)


def _pieces(
    batches: Iterable[pyarrow.RecordBatch],
) -> Iterator[tuple[str, list[int], list[bytes]]]:
    for batch in batches:
        rows = zip(*(batch.column(place).to_pylist() for place in range(3)), strict=True)
        for path, piece in groupby(rows, key=lambda row: row[0]):
            _, numbers, lines = zip(*piece, strict=True)
            yield path, list(numbers), list(lines)


def _batches(
    found: Iterator[Row | Reject | DaybookError], path: str, table: Table
) -> Iterator[pyarrow.RecordBatch]:
    width = len(table.columns)
    rows: list[tuple[Any, ...]] = []
    aside: tuple[Any, ...]
    for one in found:
        if isinstance(one, Row):
            aside = (None, None, None, None, "landed")
            rows.append((*one.values, one.extra, path, one.number, *aside))
        elif isinstance(one, Reject):
            aside = (one.reason, one.raw, one.weight, None, "rejected")
            rows.append((*[None] * (width + 1), path, one.number, *aside))
        else:
            aside = (str(one), None, None, None, "failed")
            rows.append((*[None] * (width + 1), path, None, *aside))
        if len(rows) == BATCH:
            yield _batch(rows, table)
            rows = []
    if rows:
        yield _batch(rows, table)


def _batch(rows: list[tuple[Any, ...]], table: Table) -> pyarrow.RecordBatch:
    import pyarrow

    kinds = {"long": pyarrow.int64(), "int": pyarrow.int32()}
    names = output_columns(table)
    arrays = [
        pyarrow.array(column, type=kinds.get(NUMBERS.get(name, ""), pyarrow.string()))
        for name, column in zip(names, zip(*rows, strict=True), strict=True)
    ]
    return pyarrow.RecordBatch.from_arrays(arrays, names=names)
