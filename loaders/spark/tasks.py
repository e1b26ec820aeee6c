"""What runs in Python on the executors: the loaders' own readers, giving Arrow."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from loaders.errors import DaybookError
from loaders.raw_file import RawFile
from loaders.readers.formats import Scanned, read_rows, scan
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Found, KeylessError, Row, UnreadableError
from loaders.schema import Table
from loaders.slices import Slice, opened_slice

if TYPE_CHECKING:
    import pyarrow

BATCH = 5_000
LINEAGE = ("_extra", "_source_file", "_source_row")
ASIDE = ("_reason", "_raw_text", "_landed", "kind")
NUMBERS = {"_source_row": "long", "_landed": "boolean"}
# The kind of the row behind a slice's records: what there is to say of the slice.
SAID = "said"


def output_columns(table: Table) -> list[str]:
    """The columns of what Spark writes; `kind` is landed, rejected or said."""
    return [*table.column_names, *LINEAGE, *ASIDE]


def output_schema(table: Table) -> str:
    """The same as Spark's DDL."""
    names = output_columns(table)
    return ", ".join(f"`{name}` {NUMBERS.get(name, 'string')}" for name in names)


def answer(work: Callable[[Any, Table], Any], pickled: bytes) -> Any:
    """What `work` gives, or its error: one that is raised here would come back as Java's."""
    try:
        return work(*pickle.loads(pickled))
    except DaybookError as error:
        return error


def scan_file(file: RawFile, table: Table) -> Scanned:
    """Hash a file and read its header."""
    return scan(file, Mapping(table))


def read_slices(
    batches: Iterable[pyarrow.RecordBatch], table: Table
) -> Iterator[pyarrow.RecordBatch]:
    """The records of each pickled slice, and behind them what there is to say of it."""
    mapping = Mapping(table)
    for batch in batches:
        for one in batch.column(0).to_pylist():
            yield from _read(pickle.loads(one), mapping)


def _read(part: Slice, mapping: Mapping) -> Iterator[pyarrow.RecordBatch]:
    table, path = mapping.table, part.scanned.file.path
    none = [None] * (len(table.columns) + 1)
    found = Found()
    read = 0
    error: DaybookError | None = None
    rows: list[tuple[Any, ...]] = []
    try:
        opening = partial(opened_slice, part, table.encoding)
        for one in read_rows(part.scanned, mapping, found, opening, part.first):
            if isinstance(one, Row):
                rows.append((*one.values, one.extra, path, one.number, None, None, None, "landed"))
            else:
                about = (one.reason, one.raw, one.landed, "rejected")
                rows.append((*none, path, one.number, *about))
            # a repaired record is a row, noted among the rejects beside
            read += isinstance(one, Row) or not one.landed
            if len(rows) == BATCH:
                yield _batch(rows, table)
                rows = []
    except DaybookError as failure:
        error = failure
    said = json.dumps(_said(found, read, error))
    yield _batch([*rows, (*none, path, part.start, None, said, None, SAID)], table)


def _said(found: Found, read: int, error: DaybookError | None) -> dict[str, Any]:
    return {
        "records": read,
        "seen": sorted(found.seen),
        "unknown": sorted(found.unknown),
        "json_records": found.json_records,
        "blank": found.blank,
        "keyless": isinstance(error, KeylessError),
        "error": error and words_of(error),
    }


def words_of(error: DaybookError) -> tuple[str, str]:
    """What an error says, and what its file begins with, which is for people alone."""
    if isinstance(error, UnreadableError):
        return error.said, error.begins
    return str(error), ""


def _batch(rows: list[tuple[Any, ...]], table: Table) -> pyarrow.RecordBatch:
    import pyarrow

    kinds = {"long": pyarrow.int64(), "boolean": pyarrow.bool_()}
    names = output_columns(table)
    arrays = [
        pyarrow.array(column, type=kinds.get(NUMBERS.get(name, ""), pyarrow.string()))
        for name, column in zip(names, zip(*rows, strict=True), strict=True)
    ]
    return pyarrow.RecordBatch.from_arrays(arrays, names=names)
