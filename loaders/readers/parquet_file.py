"""Parquet rows as the text that a CSV of them would have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from loaders.files import RawFile
from loaders.opening import anywhere
from loaders.readers.csv_file import check_names
from loaders.readers.mapping import Header, Mapping, Node
from loaders.readers.rows import (
    RECORD_LIMIT,
    UNSTORABLE,
    Digits,
    Records,
    Reject,
    UnreadableError,
    json_text,
    raw_text,
    repaired,
)
from loaders.s3 import S3Path, error_of

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import ParquetFile

BATCH = 10_000
# Packed tighter than this and larger than a value may be, it is one value or a bomb.
RATIO = 200
_SECONDS = re.compile(r"^(-?[0-9]+-[0-9-]+) ([0-9:]+)(?:\.0+|(\.[0-9]*?)0*)?(Z?)$")


def scan_parquet(file: RawFile, mapping: Mapping) -> tuple[Header, int]:
    """What the columns stand for and the number of rows, from the file's own metadata."""
    with opened_parquet(file, foreign=True) as parquet:
        paths = _paths(parquet.schema_arrow, mapping.tree)
        rows = int(parquet.metadata.num_rows)
    check_names([path[0] for path in paths if len(path) == 1], file)
    return Header([".".join(path) for path in paths], mapping), rows


def _paths(schema: Any, tree: Node) -> list[tuple[str, ...]]:
    """The columns; of a struct below which columns are declared, its fields."""
    import pyarrow

    paths: list[tuple[str, ...]] = []
    for field in schema:
        node = tree.below.get(field.name)
        if node is not None and node.below and pyarrow.types.is_struct(field.type):
            paths += [(field.name, *inner) for inner in _paths(field.type, node)]
        else:
            paths.append((field.name,))
    return paths


def read_parquet(file: RawFile, mapping: Mapping) -> Records:
    """The file's rows: numbers with all digits, times as ISO 8601, nested values as JSON text.

    UnreadableError for a value over 64 MiB.
    """
    number = 0
    with opened_parquet(file, foreign=True) as parquet:
        paths = _paths(parquet.schema_arrow, mapping.tree)
        header = Header([".".join(path) for path in paths], mapping)
        declared = {index for places in header.places for index in places}
        for batch in parquet.iter_batches(batch_size=BATCH):
            columns = []
            for index, path in enumerate(paths):
                values = plain(_at(batch, path), file)
                columns.append(_texts(values) if index in declared else values)
            # one look at a whole column costs a hundredth of one at each of its values
            odd = any(_is_odd(column) for column in columns)
            for fields in zip(*columns, strict=True):
                number += 1
                if odd and (mended := [repaired(value) for value in fields]) != list(fields):
                    shown = json_text(dict(zip(header.names, fields, strict=True)))
                    yield Reject(number, _why(shown), raw_text(shown), landed=True)
                    fields = tuple(mended)
                yield header.row(number, fields)


def _why(shown: str) -> str:
    found = UNSTORABLE.search(shown)
    return "not utf-8" if found and found[0] >= "\udc80" else "nul byte"


def _is_odd(column: list[Any]) -> bool:
    if all(value is None or isinstance(value, str) for value in column):
        joined = "".join(filter(None, column))
        return ("\0" in joined) or (not joined.isascii() and bool(UNSTORABLE.search(joined)))
    return any(UNSTORABLE.search(json_text(value)) for value in column if value is not None)


def _texts(values: list[Any]) -> list[str | None]:
    return [v if v is None or isinstance(v, str) else json_text(v) for v in values]


def _at(batch: pyarrow.RecordBatch, path: tuple[str, ...]) -> pyarrow.Array:
    from pyarrow import compute

    column = batch.column(path[0])
    return compute.struct_field(column, list(path[1:])) if path[1:] else column


@contextmanager
def opened_parquet(file: RawFile, *, foreign: bool = False) -> Iterator[ParquetFile]:
    """The file, open; UnreadableError when it is not Parquet. One that is `foreign` is looked
    at before: for values over 64 MiB, and for those it holds once each."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        options: dict[str, Any] = {}
        if foreign:
            with anywhere(file) as source, ParquetFile(source) as about:
                options["read_dictionary"] = _check_sizes(about, file)
            options["coerce_int96_timestamp_unit"] = "us"
        with anywhere(file) as source, ParquetFile(source, **options) as parquet:
            yield parquet
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        gone = isinstance(error, FileNotFoundError) or "AWS Error" in str(error)
        if isinstance(file.location, S3Path) and gone:
            raise error_of(file.location, error) from None
        raise UnreadableError(f"{file.location}: not readable as Parquet ({error}).") from error


def _check_sizes(parquet: ParquetFile, file: RawFile) -> list[str]:
    """The text columns whose values are kept once each: so they are read, too. A value is not
    seen before it is unpacked, but how tight its column is packed is."""
    coded: set[str] = set()
    for group in range(parquet.metadata.num_row_groups):
        about = parquet.metadata.row_group(group)
        for place in range(about.num_columns):
            column = about.column(place)
            size = column.total_uncompressed_size
            if size > RECORD_LIMIT and size > RATIO * max(column.total_compressed_size, 1):
                raise too_large(file, column.path_in_schema)
            if column.physical_type == "BYTE_ARRAY" and any(
                "DICTIONARY" in encoding for encoding in column.encodings
            ):
                coded.add(column.path_in_schema)
    return sorted(coded)


def too_large(file: RawFile, column: str) -> UnreadableError:
    return UnreadableError(f"{file.path}: a value of {column} is larger than 64 MiB.")


def plain(column: pyarrow.Array, file: RawFile) -> list[Any]:
    """Values as JSON has them: text, digits, true and false, lists and objects of them.

    By column, since a value at a time is far slower; and never through Python's own dates, which
    hold fewer than the file does.
    """
    import pyarrow
    from pyarrow import compute

    kind, types = column.type, pyarrow.types
    if types.is_dictionary(kind):
        known = plain(column.dictionary, file)
        return [None if i is None else known[i] for i in column.indices.to_pylist()]
    if isinstance(column, pyarrow.ExtensionArray):
        return plain(column.storage, file)
    if types.is_struct(kind):
        names = [kind.field(i).name for i in range(kind.num_fields)]
        parts = [plain(part, file) for part in column.flatten()]
        there = column.is_valid().to_pylist()
        return [
            {name: part[i] for name, part in zip(names, parts, strict=True)} if known else None
            for i, known in enumerate(there)
        ]
    if types.is_map(kind):
        return [None if v is None else _pairs(v, file) for v in column]
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return [None if not v.is_valid else plain(v.values, file) for v in column]
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        _check_lengths(column, file, compute)
        try:
            return column.to_pylist()
        except UnicodeDecodeError:
            column = column.cast(pyarrow.binary())
    if types.is_binary(column.type) or types.is_large_binary(kind) or types.is_binary_view(kind):
        _check_lengths(column, file, compute)
        decoded = column.to_pylist()
        return [None if v is None else v.decode("utf-8", "surrogateescape") for v in decoded]
    return _scalars(column, kind)


def _scalars(column: pyarrow.Array, kind: Any) -> list[Any]:
    import pyarrow

    types = pyarrow.types
    if types.is_boolean(kind) or types.is_null(kind):
        return column.to_pylist()
    if types.is_integer(kind):
        return [None if v is None else Digits(v) for v in column.to_pylist()]
    if types.is_floating(kind):
        # Arrow writes a float32 with the digits of a float32
        texts = column.cast(pyarrow.string()).to_pylist() if kind.bit_width == 32 else None
        return [None if v is None else _float(v) for v in texts or column.to_pylist()]
    if types.is_decimal(kind):
        return [None if v is None else _decimal(v) for v in column.to_pylist()]
    if types.is_fixed_size_binary(kind):
        return [None if v is None else _fixed(v) for v in column.to_pylist()]
    if types.is_timestamp(kind):
        zone = "UTC" if kind.tz else None
        texts = column.cast(pyarrow.timestamp(kind.unit, tz=zone)).cast(pyarrow.string())
        return [None if v is None else _time(v) for v in _with_numbers(texts, column)]
    if types.is_duration(kind):
        return [None if v is None else Digits(v) for v in column.cast(pyarrow.int64()).to_pylist()]
    try:
        texts = column.cast(pyarrow.string())
    except (pyarrow.ArrowNotImplementedError, pyarrow.ArrowInvalid):
        return [None if v is None else str(v) for v in column.to_pylist()]
    return list(_with_numbers(texts, column))


def _with_numbers(texts: pyarrow.Array, column: pyarrow.Array) -> Iterator[str | None]:
    """Texts; where Arrow finds no calendar for a value, its bare number."""
    import pyarrow

    numbers = None
    for index, text in enumerate(texts.to_pylist()):
        if text is not None and text.startswith("<"):
            if numbers is None:
                width = pyarrow.int32() if column.type.bit_width == 32 else pyarrow.int64()
                numbers = column.view(width)
            text = str(numbers[index].as_py())
        yield text


def _pairs(value: Any, file: RawFile) -> Any:
    if not value.is_valid:
        return None
    names, items = plain(value.values.field(0), file), plain(value.values.field(1), file)
    return dict(zip(map(_name, names), items, strict=True))


def _name(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)


def _check_lengths(column: pyarrow.Array, file: RawFile, compute: Any) -> None:
    longest = compute.max(compute.binary_length(column)).as_py()
    if longest and longest > RECORD_LIMIT:
        raise too_large(file, "a column")


def _time(text: str) -> str:
    """ISO 8601, a fraction without the zeros at its end; typing cuts what Postgres can't keep."""
    found = _SECONDS.match(text)
    if found is None:
        return text
    return f"{found[1]}T{found[2]}{found[3] or ''}{found[4]}"


def _float(value: Any) -> str:
    # NaN and Infinity are no numbers in JSON: as text they land, and typing refuses them
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        return str(number)
    if number.is_integer():
        return Digits(int(number) if isinstance(value, float) else int(Decimal(value)))
    return Digits(value if isinstance(value, str) else repr(value))


def _decimal(value: Decimal) -> str:
    whole = value.to_integral_value()
    return Digits(f"{whole:f}" if whole == value else f"{value:f}")


def _fixed(value: bytes) -> str:
    """Text where it is some, else its hexadecimal digits: a UUID's bytes are none."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return value.hex()
    return value.hex() if "\0" in text else text
