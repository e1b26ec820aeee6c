"""A JSON record's values as cells of COPY's CSV: each value's own bytes, so every digit is kept.

A string without a backslash is a CSV cell as it stands, a number and a word are bare, null is
COPY's NULL: so most records are one join of raw values. Which value goes where hangs on a record's
names alone, and most records have those that another had before: their `Shape`.
"""

from __future__ import annotations

import re
from collections import defaultdict
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
# Names can be data: so many shapes are remembered, of so many values.
SHAPES, WIDE = 4096, 200
# Numbers that jsonb can't hold, or only perhaps; two for the exponents, as one letter is looked for
# at many times the speed of either.
_SMALL_E, _LARGE_E = (re.compile(mark + rb"[+-]?[0-9]{4}").search for mark in (b"e", b"E"))
_LONG = re.compile(rb"[0-9]{2000}").search


class Shape:
    """What becomes of the values of records with the same names.

    `cells` gives the columns' values, `others` those that go into `extra`: an object's JSON with a
    %b for each, empty without any. `columns` are those that the record has, by their place, and
    `unknown` the fields that nobody declared. `contested`: the values that share a column, and are
    its only while those before them are null; `nulls` are those that are.
    """

    def __init__(self, mapping: Mapping, names: Names, nulls: frozenset[int]) -> None:
        self._names, self._size = iter(names), 0
        # of each column's places: rank, index of the value, and who has it if the column has not
        self._places: dict[int, list[tuple[int, int, dict[str, Any], str]]] = defaultdict(list)
        extra = self._spread(mapping.tree, next(self._names))
        taken = {}
        self.contested: list[int] = []
        for column, places in self._places.items():
            places.sort(key=itemgetter(0))
            indexes = [index for _, index, _, _ in places]
            taken[column] = next((i for i in indexes if i not in nulls), indexes[0])
            self.contested += indexes if indexes[1:] else []
            for _, index, holder, name in places:
                if index != taken[column] and index not in nulls:
                    holder[name] = index
        self.columns = frozenset(
            place for place, column in enumerate(mapping.firsts) if column in taken
        )
        self.cells = _getter([taken.get(column, self._size) for column in mapping.firsts])
        self.unknown: list[str] = []
        others: list[int] = []
        self.extra = self._template(extra, "", others)
        self.others = _getter(others or [0])

    def _spread(self, node: Node, own: Any) -> dict[str, Any]:
        """Notes the columns' places; what else there is: each name with its value's index, or, of
        an object that may hold columns, with what else there is in it."""
        rest: dict[str, Any] = dict(zip(own, range(self._size, self._size + len(own)), strict=True))
        self._size += len(own)
        for name, below in node.below.items():
            inner = next(self._names) if below.below else False
            if isinstance(inner, tuple):
                del rest[name]  # behind the values
                rest[name] = self._spread(below, inner)
            elif below.column and name in rest:
                column, rank = below.column
                self._places[column].append((rank, rest.pop(name), rest, name))
            elif inner:
                rest.pop(name, None)
        return rest

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


_shape_of = lru_cache(maxsize=SHAPES)(Shape)


def _getter(indexes: list[int]) -> Callable[[list[Any]], Sequence[Any]]:
    """What takes the values at `indexes`."""
    only = indexes[0]
    return itemgetter(*indexes) if indexes[1:] else lambda values: (values[only],)


class Cells:
    """Makes the lines of one file's records, and notes in `found` what they have."""

    def __init__(self, mapping: Mapping, found: Found) -> None:
        self._mapping, self._found = mapping, found
        self._always = bool(mapping.declared)
        self._suspect = suspects(mapping.habits, ",")
        self._shapes: dict[Any, Shape] = {}

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
        if not shape.extra:
            return row + b",null"
        extra = shape.extra % shape.others(values)
        if _SMALL_E(extra) or _LARGE_E(extra) or (len(extra) > 2000 and _LONG(extra)):
            extra = json_text(decode(extra.decode(), 0)[0], for_jsonb=True).encode()
        return row + b',"' + extra.replace(b'"', b'""') + b'"'

    def _learn(self, key: Any, names: Names, nulls: frozenset[int] = frozenset()) -> Shape:
        """A shape that no record of the file had before."""
        wide = sum(len(some) for some in names if isinstance(some, tuple)) > WIDE
        shape = (Shape if wide else _shape_of)(self._mapping, names, nulls)
        if len(self._shapes) == SHAPES:
            self._shapes.clear()
        if not wide:
            self._shapes[key] = shape
        if shape.contested and key is names:
            return shape  # what is what its values will tell
        found = self._found
        if found.never is None:
            found.never = dict(enumerate(self._mapping.names))
        for place in shape.columns & found.never.keys():
            del found.never[place]
        for name in shape.unknown:
            found.know(name)
        return shape


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
