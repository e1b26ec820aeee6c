"""Parquet rows as the text that a CSV of them would have."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from loaders.errors import DaybookError
from loaders.files import RawFile, UnreadableError
from loaders.records import (
    Digits,
    Records,
    Reject,
    Row,
    Unlandable,
    json_text,
    raw_text,
    unstorable,
)
from loaders.s3 import S3Path, error_of
from loaders.sources import Table

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import ParquetFile

BATCH = 10_000


def scan_parquet(file: RawFile) -> tuple[tuple[str, ...], int]:
    """Column names and number of rows, from the file's own metadata."""
    with opened_parquet(file) as parquet:
        names = tuple(parquet.schema_arrow.names)
        rows = parquet.metadata.num_rows
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DaybookError(f"{file.path}: the columns repeat {', '.join(twice)}.")
    return names, rows


def read_parquet(file: RawFile, table: Table) -> Records:
    """The file's rows: numbers with all digits, times as ISO 8601, nested values as JSON text."""
    names = table.column_names
    number = 0
    with opened_parquet(file) as parquet:
        header = parquet.schema_arrow.names
        unknown = [name for name in header if name not in names]
        for batch in parquet.iter_batches(batch_size=BATCH):
            declared = [
                _texts(batch.column(name)) if name in header else [None] * batch.num_rows
                for name in names
            ]
            others = [[_plain(v) for v in _python(batch.column(name))] for name in unknown]
            # one look at a whole column costs a hundredth of one at each of its values
            has_nul = any("\0" in "".join(filter(None, column)) for column in declared)
            for index, values in enumerate(zip(*declared, strict=True)):
                number += 1
                extra = {
                    name: column[index]
                    for name, column in zip(unknown, others, strict=True)
                    if column[index] is not None
                }
                try:
                    if bad := (has_nul and unstorable(values)) or (extra and unstorable(extra)):
                        raise Unlandable(bad)
                    text = json_text(extra, for_jsonb=True) if extra else None
                except Unlandable as error:
                    yield Reject(number, str(error), raw_text(repr(values)))
                else:
                    yield Row(number, [value or None for value in values], text)


@contextmanager
def opened_parquet(file: RawFile) -> Iterator[ParquetFile]:
    """The file, open; UnreadableError when it is not Parquet."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with _source(file) as source, ParquetFile(source) as parquet:
            yield parquet
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        gone = isinstance(error, FileNotFoundError) or "AWS Error" in str(error)
        if isinstance(file.location, S3Path) and gone:
            raise error_of(file.location, error) from None
        raise UnreadableError(f"{file.location}: not readable as Parquet ({error}).") from error


def _source(file: RawFile) -> Any:
    if isinstance(file.location, S3Path):
        return file.location.open_anywhere()
    return nullcontext(file.location)


def _texts(column: pyarrow.Array) -> list[str | None]:
    import pyarrow

    kind = column.type
    types = pyarrow.types
    if types.is_timestamp(kind):
        return _times(column)
    if (
        types.is_integer(kind)
        or types.is_boolean(kind)
        or types.is_string(kind)
        or types.is_date(kind)
    ):
        return column.cast(pyarrow.string()).to_pylist()
    return [None if value is None else _text(_plain(value)) for value in _python(column)]


def _times(column: pyarrow.Array) -> list[str | None]:
    """ISO 8601 with Z, or without an offset; by column, since a value at a time is far slower."""
    import pyarrow
    from pyarrow import compute

    zone = "UTC" if column.type.tz else None
    texts = column.cast(pyarrow.timestamp("us", tz=zone), safe=False).cast(pyarrow.string())
    texts = compute.replace_substring(texts, " ", "T")
    return compute.replace_substring_regex(texts, r"\.0+(Z?)$", r"\1").to_pylist()


def _python(column: pyarrow.Array) -> list[Any]:
    """Python values; nanoseconds are cut to the microseconds that Postgres keeps."""
    import pyarrow

    kind = column.type
    if pyarrow.types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pyarrow.timestamp("us", tz=kind.tz), safe=False)
    return column.to_pylist()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)


def _plain(value: Any) -> Any:
    """`value` as JSON has it: text, digits, true and false, lists and objects of them."""
    if value is None or isinstance(value, (str, bool)):
        return value
    convert = next((how for kind, how in _PLAIN.items() if isinstance(value, kind)), str)
    return convert(value)


def _time(value: datetime) -> str:
    if value.tzinfo is None:
        return value.isoformat()
    from datetime import UTC

    return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _float(value: float) -> str:
    # NaN and Infinity are no numbers in JSON: as text they land, and typing refuses them
    text = repr(value)
    return Digits(text.removesuffix(".0")) if text[-1].isdigit() else text


def _decimal(value: Decimal) -> str:
    return Digits(f"{value:f}")


_PLAIN: dict[type, Callable[[Any], Any]] = {
    int: lambda value: Digits(value),
    float: _float,
    Decimal: _decimal,
    datetime: _time,
    date: date.isoformat,
    time: time.isoformat,
    bytes: lambda value: base64.b64encode(value).decode(),
    dict: lambda value: {str(name): _plain(item) for name, item in value.items()},
    list: lambda value: [_plain(item) for item in value],
    tuple: lambda value: [_plain(item) for item in value],
}
