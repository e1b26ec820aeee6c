"""Reads a sample of an entity's files: its fields and their types."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from loaders.errors import UsageError
from loaders.files import sample_files
from loaders.raw_file import RawFile
from loaders.readers import guess
from loaders.readers.formats import read_pieces, scan
from loaders.readers.json_blocks import decode
from loaders.readers.mapping import Mapping
from loaders.readers.parquet_file import structs_of
from loaders.readers.rows import Digits, Observed, has_value
from loaders.schema import Table

SAMPLED = 10_000  # records
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_ -]*")
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"([Tt ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?([Zz]| ?UTC| ?[-+]\d\d(:?\d\d)?)?)?"
)
# Digits with a leading zero, or more than a bigint holds, are a code and no number.
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][-+]?[0-9]{1,3})?")
# Amounts that are all whole in a sample seldom stay so: they are numeric, not bigint.
_MONEY = re.compile(r"amount|price|total|cost|fee|tax|limit|balance|spent|rate|share", re.I)


class Field(NamedTuple):
    """A path in the records, its value in each record, and the type that fits all values."""

    path: tuple[str, ...]
    values: list[Any]
    data_type: str

    @property
    def source(self) -> str:
        """Its path as a declaration writes it."""
        return ".".join(self.path)


def read_sample(
    location: Path, encoding: str, is_key: Callable[[str], bool]
) -> tuple[Table, list[Field]]:
    """How a file or a folder is read, as a table without columns, and the fields of its records.
    Observed out are a CSV's delimiter, and the path of the list of records where each file would be
    one record without a key. `is_key`: whether a field's name may be the key's.

    UsageError when there are no records.
    """
    files = sample_files(location)
    # a table without columns: so every field is undeclared, and is kept as it is in `_extra`
    table = Table("sample", (), "delta", False, (), (), encoding=encoding)
    table = _delimited(table, files[0])
    records = list(islice(_records(files, table), SAMPLED))
    if not records:
        raise UsageError(f"{location}: no record was found in it, so it says nothing of any field.")
    is_one_each = files[0].format == "json" and len(records) == len(files)
    if is_one_each and not any(map(is_key, records[0])) and (path := guess.list_in(records[0])):
        table = replace(table, records=tuple(path.split(".")))
        records = list(islice(_records(files, table), SAMPLED))
    is_text = files[0].format in ("csv", "xlsx")
    structs = structs_of(files[0]) if files[0].format == "parquet" else None
    return table, [
        Field(path, values, _type_of(values, path[-1], is_text=is_text))
        for path, values in _fields(records, (), structs)
        if path[0].strip() and "{" not in path[0]  # which dbt would render
    ]


def _delimited(table: Table, file: RawFile) -> Table:
    """The table with the delimiter that is in a CSV's header, when no comma is."""
    header = scan(file, Mapping(table)).header or () if file.format == "csv" else ()
    if len(header) == 1 and (mark := max(";\t|", key=header[0].count)) in header[0]:
        return replace(table, delimiter=mark)
    return table


def _records(files: list[RawFile], table: Table) -> Iterator[dict[str, Any]]:
    mapping = Mapping(table)
    for file in files:
        file = scan(file, mapping)
        names = file.header or ()
        for piece, _ in read_pieces(file, mapping, Observed()):
            for *_, extra, _path, _number in csv.reader(io.StringIO(piece.decode(), newline="")):
                record = decode(extra, 0)[0]
                record = record if isinstance(record, dict) else {}
                # by the header, so that fields without a value are there too
                yield {name: record.get(name) for name in names} or record


def _fields(
    values: list[Any], path: tuple[str, ...], structs: set[tuple[str, ...]] | None
) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    """(path, values) of each field below `path`. An object is whole when its names are data (ids,
    dates), when another record has no object there, and, in Parquet, when it is a map: its path is
    not in `structs`."""
    objects = [value for value in values if isinstance(value, dict)]
    names = dict.fromkeys(name for value in objects for name in value)
    alike = all(value is None or isinstance(value, dict) for value in values)
    is_open = alike and all(map(_NAME.fullmatch, names)) and (structs is None or path in structs)
    if path and not (names and is_open):
        yield path, values
        return
    for name in names:
        inner = [value.get(name) if isinstance(value, dict) else None for value in values]
        yield from _fields(inner, (*path, name), structs)


def _type_of(values: list[Any], name: str, *, is_text: bool) -> str:
    """The narrowest type that fits all values. `is_text`: the format has only text (CSV, xlsx), so
    that text may be a number."""
    present = [value for value in values if has_value(value)]
    if not present:
        return "text"
    if all(isinstance(value, (list, dict)) for value in present):
        return "jsonb"
    if all(isinstance(value, bool) for value in present):
        return "boolean"
    if not all(isinstance(value, str) for value in present):
        return "text"
    is_number = is_text or all(isinstance(value, Digits) for value in present)
    types: list[tuple[str, bool, Callable[[str], object]]] = [
        ("boolean", is_text, lambda text: text.lower() in ("true", "false")),
        ("jsonb", is_text, lambda text: text[0] in "[{" and _can_be_read(json.loads, text)),
        ("bigint", is_number and not _MONEY.search(name), _WHOLE.fullmatch),
        ("numeric", is_number, _NUMBER.fullmatch),
        ("date", True, lambda text: len(text) == 10 and _is_moment(text)),
        ("timestamptz", True, _is_moment),
    ]
    fitting = (kind for kind, may_be, fits in types if may_be and all(map(fits, present)))
    return next(fitting, "text")


def _is_moment(text: str) -> bool:
    return bool(_MOMENT.fullmatch(text)) and _can_be_read(date.fromisoformat, text[:10])


def _can_be_read(read: Callable[[str], Any], text: str) -> bool:
    try:
        return read(text) is not None
    except ValueError:
        return False
