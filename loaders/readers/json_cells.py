"""A JSON record's values as cells of COPY's CSV: each value's own bytes, so every digit is kept.

A string without a backslash is a CSV cell as it stands, a number and a word are bare, null is
COPY's NULL: so most records are one join of raw values. Which value goes where hangs on a record's
names alone, and most records have those that another had before: their `Shape`.
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
from loaders.readers.rows import Found, cell, json_text
from loaders.readers.values import suspects

Raw = msgspec.Raw
# A record's fields, their values as the file wrote them.
Fields = dict[str, Any]
fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
# A record's names, and those in each of its objects that may hold columns; where there is no
# object, whether there is nothing either.
Names = tuple[tuple[str, ...] | bool, ...]
_NULL = Raw(b"null")
# Names can be data: so many shapes are remembered, of so many bytes of undeclared names.
SHAPES, LONGEST = 4096, 4000
# Numbers that jsonb can't hold, or only perhaps; two for the exponents, as one letter is looked for
# at many times the speed of either.
_SMALL_E, _LARGE_E = (re.compile(mark + rb"[+-]?[0-9]{4}").search for mark in (b"e", b"E"))
_LONG = re.compile(rb"[0-9]{2000}").search


class Shape:
    """What becomes of the values of records with the same names.

    `cells` gives the columns' values, `others` those that go into `extra`: an object's JSON with a
    %b for each, empty without any. `taken` are the columns that the records have, each with the
    index of its value, and `unknown` the fields that nobody declared. `contested`: the values that
    share a column, and are its only while those before them are null; `nulls` are those that are.
    """

    def __init__(self, mapping: Mapping, names: Names, nulls: frozenset[int]) -> None:
        self._names, self._size = iter(names), 0
        # of each column's places: rank, index of the value, and who has it if the column has not
        self._places: dict[int, list[tuple[int, int, dict[str, Any], str]]] = {}
        extra = self._spread(mapping.tree, next(self._names))
        self.taken = {column: places[0][1] for column, places in self._places.items()}
        self.contested: list[int] = []
        for column, places in self._places.items():
            if places[1:]:
                self._contest(column, nulls)
        get = self.taken.get
        self.cells = _getter([get(column, self._size) for column in mapping.firsts])
        self.unknown: list[str] = []
        others: list[int] = []
        self.extra = self._template(extra, "", others) if extra else b""
        self.others = _getter(others)
        self._places.clear()  # a shape is kept, what it was made of is not

    def _spread(self, node: Node, own: Any) -> dict[str, Any]:
        """Notes the columns' places; what else there is: each name with its value's index, or, of
        an object that may hold columns, with what else there is in it."""
        rest: dict[str, Any] = {}
        places, known = self._places, node.below.get
        for index, name in enumerate(own, self._size):
            if (below := known(name)) and below.column and not below.below:
                column, rank = below.column
                places.setdefault(column, []).append((rank, index, rest, name))
            else:
                rest[name] = index
        self._size += len(own)
        for name, below in node.objects:
            inner = next(self._names)
            if isinstance(inner, tuple):
                del rest[name]  # behind the values
                rest[name] = self._spread(below, inner)
            elif below.column and name in rest:
                column, rank = below.column
                places.setdefault(column, []).append((rank, rest.pop(name), rest, name))
            elif inner:
                rest.pop(name, None)
        return rest

    def _contest(self, column: int, nulls: frozenset[int]) -> None:
        """Of a column's places the first that has a value is taken; the others are extra."""
        places = sorted(self._places[column], key=itemgetter(0))
        indexes = [index for _, index, _, _ in places]
        taken = next((index for index in indexes if index not in nulls), indexes[0])
        self.taken[column] = taken
        self.contested += indexes
        for _, index, holder, name in places:
            if index != taken and index not in nulls:
                holder[name] = index

    def _template(self, rest: dict[str, Any], prefix: str, others: list[int]) -> bytes:
        parts = []
        for name, what in rest.items():
            value = b"%b"
            if isinstance(what, dict):
                value = self._template(what, f"{prefix}{name}.", others)
            else:
                self.unknown.append(prefix + name)
                others.append(what)
            if value:
                parts.append(encode_basestring(name).encode().replace(b"%", b"%%") + b":" + value)
        return b"{" + b",".join(parts) + b"}" if parts else b""


@lru_cache(maxsize=8)
def _shapes_of(mapping: Mapping) -> dict[Any, Shape]:
    """Those that were learnt, for all files of a table."""
    return {}


def _getter(indexes: list[int]) -> Callable[[list[Any]], Sequence[Any]]:
    """What takes the values at `indexes`."""
    if indexes[1:]:
        return itemgetter(*indexes)
    return lambda values: [values[index] for index in indexes]


class Cells:
    """Makes the lines of one file's records, and notes in `found` what they have."""

    def __init__(self, mapping: Mapping, found: Found) -> None:
        self._mapping, self._found = mapping, found
        self._always = bool(mapping.declared)
        self._keeps_extra = not mapping.table.hashes
        self._suspect = suspects(mapping.habits, ",")
        self._shapes = _shapes_of(mapping)
        self._noted: set[Shape] = set()

    def line(self, fields: Fields) -> bytes:
        """A record's cells, its lineage not among them."""
        names: list[Any] = []
        values: list[Any] = []
        _flatten(fields, self._mapping.tree, names, values)
        values.append(_NULL)  # that of the columns that it doesn't have
        known = tuple(names)
        shape = self._shapes.get(known) or self._learn(known, known)
        if shape.contested:
            nulls = frozenset(i for i in shape.contested if bytes(values[i]) == b"null")
            shape = self._shapes.get((known, nulls)) or self._learn((known, nulls), known, nulls)
        if shape not in self._noted:
            self._note(shape)
        cells = shape.cells(values)
        row = b",".join(cells)
        if not self._found.keyed:
            keys = (bytes(cells[place])[:1] for place in self._mapping.key)
            self._found.keyed = all(first not in (b"n", b"{", b"[") for first in keys)
        suspect = self._always or (self._suspect and self._suspect(row))
        escaped = b"\\" in row
        if suspect or escaped or b"{" in row or row.count(b"[") != row.count(b"[]"):
            treats = self._mapping.treats if suspect else {}
            # no JSON has a NUL in it, and this is the quickest way to each value's bytes
            plain = b"\0".join(cells).split(b"\0")
            for place in [
                place
                for place, value in enumerate(plain)
                if value[0] in b"{[" or place in treats or (escaped and b"\\" in value)
            ]:
                treat, text = treats.get(place), _text(plain[place])
                plain[place] = cell(treat(text) if treat else text).encode()
            row = b",".join(plain)
        if not (shape.extra and self._keeps_extra):
            return row + b",null"
        extra = shape.extra % tuple(shape.others(values))
        if _SMALL_E(extra) or _LARGE_E(extra) or (len(extra) > 2000 and _LONG(extra)):
            extra = json_text(decode(extra.decode(), 0)[0], for_jsonb=True).encode()
        return row + b',"' + extra.replace(b'"', b'""') + b'"'

    def _learn(self, key: Any, names: Names, nulls: frozenset[int] = frozenset()) -> Shape:
        """A shape that no record had before."""
        shape = Shape(self._mapping, names, nulls)
        if len(shape.extra) <= LONGEST:
            if len(self._shapes) == SHAPES:
                self._shapes.clear()
                self._noted.clear()
            self._shapes[key] = shape
        return shape

    def _note(self, shape: Shape) -> None:
        """What the file's records of a shape have."""
        if len(shape.extra) <= LONGEST:
            self._noted.add(shape)
        found, firsts = self._found, self._mapping.firsts
        if found.never is None:
            found.never = dict(enumerate(self._mapping.names))
        for place in [place for place in found.never if firsts[place] in shape.taken]:
            del found.never[place]
        for name in shape.unknown:
            found.know(name)


def _flatten(fields: Fields, node: Node, names: list[Any], values: list[Any]) -> None:
    """Adds a record's names and values, and those in its objects that may hold columns."""
    names.append(tuple(fields))
    values += fields.values()
    for name, below in node.objects:
        value = bytes(fields.get(name, _NULL))
        if value[:1] == b"{":
            _flatten(fields_of(value), below, names, values)
        else:
            names.append(value == b"null")


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
