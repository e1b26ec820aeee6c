"""A JSON record's values as cells of COPY's CSV: each value's own bytes, so every digit is kept.

A string without a backslash is a CSV cell as it stands, a number and a word are bare, null is
COPY's NULL: so most records are one join of raw values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from json.encoder import encode_basestring
from operator import itemgetter
from typing import Any

import msgspec

from loaders.readers.json_window import decode
from loaders.readers.mapping import Mapping, Node
from loaders.readers.rows import UNKNOWN_LIMIT, Found, cell, json_text
from loaders.readers.values import suspects
from loaders.schema import FieldPath

Raw = msgspec.Raw
# A record's fields, their values as the file wrote them.
Fields = dict[str, Any]
fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_OPEN = b"{["
ABSENT = Raw(b"null")  # told by what it is, not by what it says: a file's null is another
# Numbers that jsonb can't hold, or only perhaps.
_BIG, _LONG = re.compile(rb"[eE][+-]?[0-9]{4}"), re.compile(rb"[0-9]{2000}")


class _Level:
    """One depth of the declared paths: the columns whose first place is here, the objects that hold
    others, and the columns that have a later place here, with its rank."""

    def __init__(self, node: Node, path: FieldPath, flat: dict[FieldPath, int]) -> None:
        at = {name: below.column for name, below in node.below.items() if below.column}
        self.first = [name for name, (_, rank) in at.items() if rank == 0]
        self.absent = [ABSENT] * len(self.first)
        self.later = {name: column for name, column in at.items() if column[1]}
        for name in self.first:
            flat[*path, name] = len(flat)
        self.objects = [
            (name, _Level(below, (*path, name), flat), below.column is not None)
            for name, below in node.below.items()
            if below.below
        ]


@lru_cache(maxsize=8)
def _levels(mapping: Mapping) -> tuple[_Level, list[int], Callable[[list[Any]], Sequence[Any]]]:
    """Worked out once for all files of a table: with where each column's value is among those that
    are taken, and what puts them in the columns' order."""
    flat: dict[FieldPath, int] = {}
    root = _Level(mapping.tree, (), flat)
    order = [flat[column.json_path] for column in mapping.table.columns]
    return root, order, itemgetter(*order) if len(order) > 1 else list


class Cells:
    """Makes the lines of records; what their fields are goes to `found`."""

    def __init__(self, mapping: Mapping, found: Found) -> None:
        self._names, self._key, self._treats = mapping.names, mapping.key, mapping.treats
        self._root, self._at, self._in_order = _levels(mapping)
        self._always = bool(mapping.declared)
        self._keeps_extra = not mapping.table.hashes
        self._suspect = suspects(mapping.habits, ",")
        self._found = found
        self._unknown: dict[str, bytes] = {}  # an undeclared field's path → its name as JSON

    def line(self, fields: Fields) -> bytes:
        """A record's cells, its lineage not among them. `fields` is used up."""
        values: list[Any] = []
        later: list[tuple[int, int, Fields, str]] = []
        self._take(fields, self._root, values, later)
        # of several places of one column the first that has a value; the others are extra
        for _, place, holder, name in later and sorted(later, key=lambda one: one[:2]):
            at = self._at[place]
            if values[at] is ABSENT or bytes(values[at]) == b"null":
                values[at] = holder.pop(name)
            elif bytes(holder[name]) == b"null":
                del holder[name]
        cells = self._in_order(values)
        found = self._found
        if found.never or found.never is None or not found.keyed:
            self._note(cells, found)
        row = b",".join(cells)
        treats = self._treats if self._always or (self._suspect and self._suspect(row)) else {}
        escaped = b"\\" in row
        if treats or escaped or b"{" in row or row.count(b"[") != row.count(b"[]"):
            plain = [bytes(value) for value in cells]
            for place, value in enumerate(plain):
                if value[0] in _OPEN or (escaped and b"\\" in value) or place in treats:
                    plain[place] = self._cell(place, value)
            row = b",".join(plain)
        extra = self._extra(fields, "") if fields else b""
        if not (extra and self._keeps_extra):
            return row + b",null"
        if _BIG.search(extra) or (len(extra) > 2000 and _LONG.search(extra)):
            extra = json_text(decode(extra.decode(), 0)[0], for_jsonb=True).encode()
        return row + b',"' + extra.replace(b'"', b'""') + b'"'

    def _take(self, fields: Fields, level: _Level, values: list[Any], later: list[Any]) -> None:
        """Moves the columns' values from the fields to `values`, and notes the `later` places."""
        pop = fields.pop
        inner: dict[str, Fields] = {}
        for name, _, is_column in level.objects:
            value = bytes(pop(name, ABSENT))
            inner[name] = fields_of(value) if value[:1] == b"{" else {}
            if value[:1] != b"{" and (is_column or value != b"null"):
                fields[name] = value
        values += map(pop, level.first, level.absent)
        for name in fields:
            if name in level.later:
                place, rank = level.later[name]
                later.append((rank, place, fields, name))
        for name, below, _ in level.objects:
            self._take(inner[name], below, values, later)
            if inner[name]:
                fields[name] = inner[name]

    def _note(self, cells: Sequence[Any], found: Found) -> None:
        """Which columns were there at all, and whether a record has the key."""
        if found.never is None:
            found.never = dict(enumerate(self._names))
        for place in [p for p in found.never if cells[p] is not ABSENT]:
            del found.never[place]
        if not found.keyed:
            found.keyed = all(bytes(cells[p])[:1] not in (b"n", b"{", b"[") for p in self._key)

    def _cell(self, place: int, value: bytes) -> bytes:
        treat, text = self._treats.get(place), _text(value)
        return cell(treat(text) if treat else text).encode()

    def _extra(self, fields: Fields, prefix: str) -> bytes:
        """What nobody declared, as an object's JSON; empty when there is nothing."""
        parts = []
        for name, value in fields.items():
            if isinstance(value, dict):
                if inner := self._extra(value, f"{prefix}{name}."):
                    parts.append(encode_basestring(name).encode() + b":" + inner)
                continue
            key = self._unknown.get(prefix + name)
            if key is None:
                self._found.know(prefix + name)
                key = encode_basestring(name).encode() + b":"
                if len(self._unknown) < UNKNOWN_LIMIT:  # names may be data
                    self._unknown[prefix + name] = key
            parts.append(key + value)
        return b"{" + b",".join(parts) + b"}" if parts else b""


def _text(value: bytes) -> str | None:
    """A value as text: lists and objects as JSON without blanks."""
    if value[:1] == b'"':
        text: str = msgspec.json.decode(value)
        return text
    if value[:1] in (b"{", b"["):
        if b"{" in value or b"\\" in value:  # a name twice in an object counts once
            return json_text(decode(value.decode(), 0)[0])
        value = msgspec.json.format(value, indent=-1)
    return None if value == b"null" else value.decode()
