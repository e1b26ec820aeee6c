"""What runs in Python on the executors: the loaders' own readers, giving Arrow."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from loaders.errors import DaybookError
from loaders.files import RawFile
from loaders.opening import opened
from loaders.plan import Scanned, scan
from loaders.readers.csv_file import Lines, read_csv, record_parser, records_of
from loaders.readers.header import Header
from loaders.readers.json_file import read_json_rows
from loaders.readers.json_strict import Strict
from loaders.readers.json_window import Broken
from loaders.readers.mapping import Mapping
from loaders.readers.parquet_file import read_parquet
from loaders.readers.rows import Found, Reject, Row, UnreadableError
from loaders.readers.sheet_file import read_sheet
from loaders.sources import Table

if TYPE_CHECKING:
    import pyarrow

BATCH = 5_000
LINEAGE = ("_extra", "_source_file", "_source_row")
ASIDE = ("_reason", "_raw_text", "_landed", "_shape", "kind")
NUMBERS = {"_source_row": "long", "_landed": "boolean", "_shape": "int"}
# The kind of rows that stand for lines which Spark leaves to Python.
LEFT = "left"
# What a line reader says of a file whose lines are not its records: it must be read whole.
NOT_LINES = "not lines"

Note = Callable[[Found], None]


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
            yield scan(file, Mapping(table))
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
    file, found, mapping = scanned.file, Found(), Mapping(table)
    header = Header(scanned.header or (), mapping)
    try:
        if file.format == "parquet":
            yield from read_parquet(file, mapping)
        elif file.format == "xlsx":
            yield from read_sheet(file, mapping, header) if scanned.header else ()
        else:
            with opened(file, encoding=table.encoding) as stream:
                if file.format == "json":
                    yield from read_json_rows(file, stream, mapping, found)
                elif scanned.header is not None:
                    yield from read_csv(file, stream, mapping, header)
        if found.blank or (scanned.header is None and file.format != "json"):
            yield from _blank(file, table)
    except DaybookError as error:
        yield error
    note(found)


def _blank(file: RawFile, table: Table) -> Iterator[DaybookError]:
    if table.kind == "snapshot" or "/" in file.path:
        yield UnreadableError(f"{file.path}: it has no bytes: fetch it again.")


def read_json_lines(
    batches: Iterable[pyarrow.RecordBatch], table: Table, note: Note
) -> Iterator[pyarrow.RecordBatch]:
    """Records of JSON lines: (path, number, line). A file whose lines are not its records is told
    to be none of lines."""
    mapping = Mapping(table)
    for path, numbers, lines in _pieces(batches):
        found = Found()
        strict = Strict(mapping, found)
        records: list[Row | Reject | DaybookError] = []
        try:
            for number, line in zip(numbers, lines, strict=True):
                strict.number = number - 1
                text = line.decode("utf-8", "surrogateescape")
                records += strict.line(text, cut=not text.endswith("\n"))
                if strict.number != number:
                    raise Broken(NOT_LINES)
        except Broken:
            records = [DaybookError(NOT_LINES)]
        note(found)
        yield from _batches(iter(records), path, table)


def read_csv_lines(
    batches: Iterable[pyarrow.RecordBatch], table: Table, header: tuple[str, ...]
) -> Iterator[pyarrow.RecordBatch]:
    """Lines of CSV that Spark has doubts about: (path, number, line)."""
    parse = record_parser(Header(header, Mapping(table)))
    for path, numbers, lines in _pieces(batches):
        records: list[Row | Reject | DaybookError] = []
        for number, line in zip(numbers, lines, strict=True):
            found = list(records_of(Lines(io.BytesIO(line), path), table.delimiter))
            if len(found) != 1 or found[0][2] or not line.endswith(b"\n"):
                records = [DaybookError(NOT_LINES)]
                break
            records += parse(number, *found[0][:2])
        yield from _batches(iter(records), path, table)


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
            aside = (one.reason, one.raw, one.landed, None, "rejected")
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

    kinds = {"long": pyarrow.int64(), "int": pyarrow.int32(), "boolean": pyarrow.bool_()}
    names = output_columns(table)
    arrays = [
        pyarrow.array(column, type=kinds.get(NUMBERS.get(name, ""), pyarrow.string()))
        for name, column in zip(names, zip(*rows, strict=True), strict=True)
    ]
    return pyarrow.RecordBatch.from_arrays(arrays, names=names)
