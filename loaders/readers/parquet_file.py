"""Parquet rows as the text that a CSV of them would have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from loaders.raw_file import RawFile, seekable
from loaders.readers import guess, rows
from loaders.readers.heading import check_names, keyed
from loaders.readers.mapping import Header, Mapping, Node
from loaders.readers.parquet_footer import chunks_of
from loaders.readers.parquet_values import plain, too_large
from loaders.readers.rows import Records, Reject, UnreadableError
from loaders.s3 import S3Path, error_of

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import ParquetFile, ParquetSchema

BATCH = 10_000  # rows
# A column over RECORD_LIMIT that is packed tighter than this is one huge value or a zip bomb.
RATIO = 200
# Values of a dictionary that was given up: as many bytes are gathered, in each column.
GATHERED = 4 << 20


def scan_parquet(file: RawFile, mapping: Mapping) -> tuple[Header, int]:
    """The header and the number of rows, from the file's metadata."""
    with opened_parquet(file) as parquet:
        paths = _paths(parquet.schema_arrow, mapping.tree)
        count = int(parquet.metadata.num_rows)
    check_names([path[0] for path in paths if len(path) == 1], file)
    names = [".".join(path) for path in paths]
    return keyed(names, file, mapping, f"Its columns: {', '.join(names)}"), count


def _paths(schema: Any, tree: Node) -> list[tuple[str, ...]]:
    """The path of each column; of a struct with declared fields, those of its fields."""
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
    """The paths of all structs: columns and, inside of them, fields."""
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
    with opened_parquet(file) as footer:
        metadata, dictionaries = footer.metadata, _check_sizes(footer.schema, file)
    options: Any = {"read_dictionary": dictionaries, "coerce_int96_timestamp_unit": "us"}
    with opened_parquet(file, metadata=metadata, **options) as parquet:
        paths = _paths(parquet.schema_arrow, mapping.tree)
        header = Header([".".join(path) for path in paths], mapping)
        declared = {index for places in header.places for index in places}
        for batch in _batches(parquet, dictionaries):
            columns = [plain(_at(batch, path), file) for path in paths]
            mended = [_repaired(column) for column in columns]
            odd = {
                place
                for column, values in zip(columns, mended, strict=True)
                for place in (range(len(column)) if values is not column else ())
                if values[place] != column[place]
            }
            for index in declared:
                mended[index] = list(map(rows.text_of, mended[index]))
            for place, fields in enumerate(zip(*mended, strict=True)):
                number += 1
                if place in odd:
                    record = zip(header.names, [column[place] for column in columns], strict=True)
                    shown = rows.json_text(dict(record))
                    why = rows.why_unstorable(shown) or "nul byte"  # which is an escape in JSON
                    yield Reject(number, why, rows.raw_text(shown), landed=True)
                yield header.row(number, fields)


def _batches(parquet: ParquetFile, dictionaries: list[str]) -> Iterator[pyarrow.RecordBatch]:
    """The rows. By row group where a nested column has dictionaries, one for each group: Arrow
    can't read two into one batch."""
    groups: list[list[int] | None] = [None]
    if any("." in path for path in dictionaries):
        groups = [[number] for number in range(parquet.num_row_groups)]
    for group in groups:
        yield from parquet.iter_batches(batch_size=BATCH, row_groups=group)


def _repaired(column: list[Any]) -> list[Any]:
    """The values, repaired for Postgres; `column` itself when none needs it. Joined texts are
    searched first, at a hundredth of the cost of searching each."""
    if all(value is None or isinstance(value, str) for value in column):
        joined = "".join(filter(None, set(column)))  # a few long ones may come often
        if "\0" not in joined and (joined.isascii() or not rows.UNSTORABLE.search(joined)):
            return column
    return list(map(rows.repaired, column))


def _at(batch: pyarrow.RecordBatch, path: tuple[str, ...]) -> pyarrow.Array:
    from pyarrow import compute

    column = batch.column(path[0])
    return compute.struct_field(column, list(path[1:])) if path[1:] else column


@contextmanager
def opened_parquet(file: RawFile, **options: Any) -> Iterator[ParquetFile]:
    """Open the file; UnreadableError when it is not Parquet."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with seekable(file) as source, ParquetFile(source, **options) as parquet:
            yield parquet
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        gone = isinstance(error, FileNotFoundError) or "AWS Error" in str(error)
        if isinstance(file.location, S3Path) and gone:
            raise error_of(file.location, error) from None
        why = guess.kind_of_file(file, b"PAR1") or f"not readable as Parquet ({error})"
        raise UnreadableError(f"{file.location}: {why}.") from error


def _check_sizes(schema: ParquetSchema, file: RawFile) -> list[str]:
    """The dictionary-coded text columns, to be read as dictionaries. UnreadableError for a column
    so tightly packed that it may unpack to a huge value."""
    paths = [column.path for column in schema]
    coded: set[str] = set()
    large: set[str] = set()  # Arrow would gather all values of a row group
    for chunks in chunks_of(file, len(paths)):
        for path, chunk in zip(paths, chunks, strict=True):
            if chunk.unpacked > rows.RECORD_LIMIT and chunk.unpacked > RATIO * max(chunk.packed, 1):
                raise too_large(file, path)
            if chunk.coded:
                coded.add(path)
            if chunk.given_up and chunk.unpacked > GATHERED:
                large.add(path)
    return sorted(coded - large)
