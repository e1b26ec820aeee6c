"""What every reader gives: rows as text, rejects, and the fields that were seen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from loaders.errors import DaybookError
from loaders.sources import Table

# A record larger than this is a broken file (an open quote, a missing bracket), not a record.
RECORD_LIMIT = 64 << 20
RAW_TEXT_LIMIT = 1 << 20
# Field names can be data (a map keyed by ids): the ledger needs the fact, not all of them.
UNKNOWN_LIMIT = 100


class Row(NamedTuple):
    """A record as it lands: its number in the file, the declared columns' text, and the rest."""

    number: int
    values: Sequence[str | None]
    extra: str | None


@dataclass(frozen=True)
class Reject:
    """A record that cannot be landed. `weight` is what it counts in the reject share."""

    number: int
    reason: str
    raw: str
    weight: int = 1


Records = Iterator[Row | Reject]


@dataclass
class Fields:
    """The fields a table's files have: `missing` and `unknown` against its declaration."""

    seen: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    records_of_fields: int = 0

    def know(self, name: str) -> None:
        if len(self.unknown) < UNKNOWN_LIMIT:
            self.unknown.add(name)


def note_records(table: Table, fields: Fields) -> None:
    """Adds the declared columns that no JSON record had to `fields.absent`."""
    if fields.records_of_fields:
        for column in table.columns:
            if ".".join(column.json_path) not in fields.seen:
                fields.absent.add(column.name)


def check_key_seen(table: Table, fields: Fields) -> None:
    """DaybookError when no JSON record of a snapshot has a key column: all would count as gone."""
    if table.kind != "snapshot" or not fields.records_of_fields:
        return
    paths = {column.name: ".".join(column.json_path) for column in table.columns}
    if missing := [name for name in table.key if paths[name] not in fields.seen]:
        raise DaybookError(
            f"{table.name}: the key column {', '.join(missing)} is missing: no JSON record has "
            f"the field {', '.join(paths[name] for name in missing)}."
        )


class Digits(str):
    """A JSON number as the file wrote it: 1.10 stays 1.10, and 2^53 + 1 keeps its last digit."""

    __slots__ = ()


_UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")


class Unlandable(Exception):
    """This record cannot land; the message is the reason."""


def raw_text(raw: bytes | str) -> str:
    """`raw` as Postgres can store it: bad bytes and NULs shown escaped, cut at 1 MiB."""
    if isinstance(raw, str):
        raw = raw[:RAW_TEXT_LIMIT].encode("utf-8", "surrogateescape")
    text = raw[:RAW_TEXT_LIMIT].decode("utf-8", "backslashreplace").replace("\0", "\\x00")
    return text[:RAW_TEXT_LIMIT]


def unstorable(value: Any) -> str | None:
    """Why Postgres can't store the strings in `value`, if it can't."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if bad := _UNSTORABLE.search(item):
                return "nul byte" if bad[0] == "\0" else "lone surrogate"
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, (list, tuple)):
            waiting.extend(item)
    return None


def json_text(value: Any, *, for_jsonb: bool = False) -> str:
    """`value` as JSON, numbers with their own digits; Unlandable for what jsonb cannot hold."""
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, Digits):
        if for_jsonb and not _fits_jsonb(value):
            raise Unlandable("a number out of range")
        return value
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, list):
        return "[" + ",".join([json_text(item, for_jsonb=for_jsonb) for item in value]) + "]"
    pairs = [
        f"{encode_basestring(name)}:{json_text(item, for_jsonb=for_jsonb)}"
        for name, item in value.items()
    ]
    return "{" + ",".join(pairs) + "}"


_EXPONENT = re.compile(r"[eE]([+-]?[0-9]+)$")


def _fits_jsonb(number: str) -> bool:
    # numeric holds 131072 digits before and 16383 behind the point
    if len(number) > 10_000:
        return False
    exponent = _EXPONENT.search(number)
    return exponent is None or (len(exponent[1]) < 9 and abs(int(exponent[1])) < 5_000)
