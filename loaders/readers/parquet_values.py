"""Parquet's values as JSON has them: text, digits, true and false, lists and objects of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from loaders.raw_file import RawFile
from loaders.readers.rows import RECORD_LIMIT, Digits, Rounded, UnreadableError, json_text

if TYPE_CHECKING:
    import pyarrow

_SECONDS = re.compile(r"^(-?[0-9]+-[0-9-]+) ([0-9:]+)(?:\.0+|(\.[0-9]*?)0*)?(Z?)$")


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
        # a dictionary may hold all of a row group: of it what these rows have
        used = column.indices.unique()
        try:
            known = plain(column.dictionary.take(used), file)
        except pyarrow.ArrowIndexError:
            raise UnreadableError(
                f"{file.path} is damaged: fetch it again. Nothing was replaced."
            ) from None
        value_of = dict(zip(used.to_pylist(), known, strict=True))
        return [value_of[index] for index in column.indices.to_pylist()]
    if isinstance(kind, pyarrow.UuidType):
        return [None if v is None else str(v) for v in column.to_pylist()]
    if isinstance(column, pyarrow.ExtensionArray):
        return plain(column.storage, file)
    if types.is_struct(kind):
        names = [kind.field(i).name for i in range(kind.num_fields)]
        parts = [plain(part, file) for part in column.flatten()]
        valid = column.is_valid().to_pylist()
        return [
            {name: part[i] for name, part in zip(names, parts, strict=True)} if is_valid else None
            for i, is_valid in enumerate(valid)
        ]
    if types.is_map(kind):
        return [None if v is None else _pairs(v, file) for v in column]
    if types.is_nested(kind):  # a list of any kind
        return [None if not v.is_valid else plain(v.values, file) for v in column]
    if types.is_string_view(kind) or types.is_binary_view(kind):  # has no length for Arrow
        return plain(column.cast(pyarrow.large_binary()), file)
    if types.is_string(kind) or types.is_large_string(kind):
        _check_lengths(column, file, compute)
        try:
            return column.to_pylist()
        except UnicodeDecodeError:
            column = column.cast(pyarrow.binary())
    if types.is_binary(column.type) or types.is_large_binary(column.type):
        _check_lengths(column, file, compute)
        decoded = column.to_pylist()
        return [None if v is None else v.decode("utf-8", "surrogateescape") for v in decoded]
    return _scalars(column, kind)


def _scalars(column: pyarrow.Array, kind: Any) -> list[Any]:
    import pyarrow

    types, as_text = pyarrow.types, pyarrow.string()
    if types.is_boolean(kind) or types.is_null(kind):
        return column.to_pylist()
    if types.is_integer(kind):
        return _each(Digits, column)
    if types.is_floating(kind):
        # Arrow writes a float32 with the digits of a float32
        return _each(_float, column.cast(as_text) if kind.bit_width == 32 else column)
    if types.is_decimal(kind):
        return _each(_decimal, column)
    if types.is_fixed_size_binary(kind):
        return _each(_fixed, column)
    if types.is_duration(kind):
        return _each(Digits, column.cast(pyarrow.int64()))
    if types.is_timestamp(kind):
        texts = column.cast(pyarrow.timestamp(kind.unit, tz="UTC" if kind.tz else None))
        return [v and _time(v) for v in _with_numbers(texts.cast(as_text), column)]
    try:
        return list(_with_numbers(column.cast(as_text), column))
    except (pyarrow.ArrowNotImplementedError, pyarrow.ArrowInvalid):
        return _each(str, column)


def _each(write: Callable[[Any], str], column: pyarrow.Array) -> list[str | None]:
    return [None if value is None else write(value) for value in column.to_pylist()]


def _with_numbers(texts: pyarrow.Array, column: pyarrow.Array) -> Iterator[str | None]:
    """Texts; for a date or time that Arrow can't write (`<value out of range…`), its number."""
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
    """ISO 8601, the fraction without trailing zeros; typing cuts digits beyond microseconds."""
    match = _SECONDS.match(text)
    if match is None:
        return text
    return f"{match[1]}T{match[2]}{match[3] or ''}{match[4]}"


def _float(value: Any) -> str:
    number = float(value)
    if not math.isfinite(number):
        return Digits(number)
    if number.is_integer():
        whole, bits = (int(value), 53) if isinstance(value, float) else (int(Decimal(value)), 24)
        return (Digits if abs(whole) < 2**bits else Rounded)(whole)
    return Digits(value if isinstance(value, str) else repr(value))


def _decimal(value: Decimal) -> str:
    whole = value.to_integral_value()
    return Digits(f"{whole:f}" if whole == value else f"{value:f}")


def _fixed(value: bytes) -> str:
    """The bytes as text if they are UTF-8 without NUL; else, as for a UUID, in hexadecimal."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return value.hex()
    return value.hex() if "\0" in text else text
