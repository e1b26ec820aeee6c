"""Parquet rows as the text that a CSV of them would have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from loaders.raw_file import RawFile, seekable
from loaders.readers.heading import check_names, keyed
from loaders.readers.mapping import Header, Mapping, Node
from loaders.readers.parquet_footer import chunks_of
from loaders.readers.parquet_values import plain, too_large
from loaders.readers.rows import (
    RECORD_LIMIT,
    UNSTORABLE,
    Records,
    Reject,
    UnreadableError,
    json_text,
    raw_text,
    repaired,
    text_of,
    why_unstorable,
)
from loaders.s3 import S3Path, error_of

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import ParquetFile, ParquetSchema

BATCH = 10_000
# Packed tighter than this and larger than a value may be, it is one value or a bomb.
RATIO = 200


def scan_parquet(file: RawFile, mapping: Mapping) -> tuple[Header, int]:
    """What the columns stand for and the number of rows, from the file's own metadata."""
    with opened_parquet(file) as parquet:
        paths = _paths(parquet.schema_arrow, mapping.tree)
        rows = int(parquet.metadata.num_rows)
    check_names([path[0] for path in paths if len(path) == 1], file)
    names = [".".join(path) for path in paths]
    return keyed(names, file, mapping, f"Its columns: {', '.join(names)}"), rows


def _paths(schema: Any, tree: Node) -> list[tuple[str, ...]]:
    """The columns; of a struct below which columns are declared, its fields."""
    import pyarrow

    paths: list[tuple[str, ...]] = []
    for field in schema:
        node = tree.children.get(field.name)
        if node is not None and node.children and pyarrow.types.is_struct(field.type):
            paths += [(field.name, *inner) for inner in _paths(field.type, node)]
        else:
            paths.append((field.name,))
    return paths


def structs_of(file: RawFile) -> set[tuple[str, ...]]:
    """The paths of the columns, and of fields of structs, that are structs themselves."""
    with opened_parquet(file) as parquet:
        return set(_structs(parquet.schema_arrow, ()))


def _structs(fields: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    import pyarrow

    for field in fields:
        if pyarrow.types.is_struct(field.type):
            yield (*path, field.name)
            yield from _structs(field.type, (*path, field.name))


def read_parquet(file: RawFile, mapping: Mapping) -> Records:
    """The file's rows: numbers with all digits, times as ISO 8601, nested values as JSON text.

    UnreadableError for a value over 64 MiB.
    """
    number = 0
    with opened_parquet(file) as about:
        metadata, once_each = about.metadata, _check_sizes(about.schema, file)
    options: Any = {"read_dictionary": once_each, "coerce_int96_timestamp_unit": "us"}
    with opened_parquet(file, metadata=metadata, **options) as parquet:
        paths = _paths(parquet.schema_arrow, mapping.tree)
        header = Header([".".join(path) for path in paths], mapping)
        declared = {index for places in header.places for index in places}
        for batch in parquet.iter_batches(batch_size=BATCH):
            columns = [plain(_at(batch, path), file) for path in paths]
            mended = [_repaired(column) for column in columns]
            odd = {
                place
                for column, values in zip(columns, mended, strict=True)
                for place in (range(len(column)) if values is not column else ())
                if values[place] != column[place]
            }
            for index in declared:
                mended[index] = list(map(text_of, mended[index]))
            for place, fields in enumerate(zip(*mended, strict=True)):
                number += 1
                if place in odd:
                    record = zip(header.names, [column[place] for column in columns], strict=True)
                    shown = json_text(dict(record))
                    why = why_unstorable(shown) or "nul byte"  # which is an escape in JSON
                    yield Reject(number, why, raw_text(shown), landed=True)
                yield header.row(number, fields)


def _repaired(column: list[Any]) -> list[Any]:
    """Values that Postgres can store; the very column where all are. One look at a whole column
    costs a hundredth of one at each of its texts."""
    if all(value is None or isinstance(value, str) for value in column):
        joined = "".join(filter(None, column))
        if "\0" not in joined and (joined.isascii() or not UNSTORABLE.search(joined)):
            return column
    return list(map(repaired, column))


def _at(batch: pyarrow.RecordBatch, path: tuple[str, ...]) -> pyarrow.Array:
    from pyarrow import compute

    column = batch.column(path[0])
    return compute.struct_field(column, list(path[1:])) if path[1:] else column


@contextmanager
def opened_parquet(file: RawFile, **options: Any) -> Iterator[ParquetFile]:
    """The file, open; UnreadableError when it is not Parquet."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with seekable(file) as source, ParquetFile(source, **options) as parquet:
            yield parquet
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        gone = isinstance(error, FileNotFoundError) or "AWS Error" in str(error)
        if isinstance(file.location, S3Path) and gone:
            raise error_of(file.location, error) from None
        raise UnreadableError(f"{file.location}: not readable as Parquet ({error}).") from error


def _check_sizes(schema: ParquetSchema, file: RawFile) -> list[str]:
    """The text columns whose values are kept once each: so they are read, too. A value is not
    seen before it is unpacked, but how tight its column is packed is."""
    paths = [column.path for column in schema]
    coded: set[str] = set()
    for chunks in chunks_of(file, len(paths)):
        for path, chunk in zip(paths, chunks, strict=True):
            if chunk.unpacked > RECORD_LIMIT and chunk.unpacked > RATIO * max(chunk.packed, 1):
                raise too_large(file, path)
            if chunk.coded:
                coded.add(path)
    return sorted(coded)
