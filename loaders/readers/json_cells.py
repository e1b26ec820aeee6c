"""A JSON record's values as cells of COPY's CSV: each value's own bytes, so every digit is kept.

msgspec takes a record apart into raw values. A string without a backslash is a CSV cell unchanged,
numbers and true and false are bare, null is COPY's NULL: so most records are one join of them.
"""

from __future__ import annotations

import re
from json.encoder import encode_basestring

import msgspec

from loaders.readers.json_blocks import PAGE, decode
from loaders.readers.mapping import Mapping, Node
from loaders.readers.rows import Digits, Observed, cell, json_text
from loaders.readers.values import suspect
from loaders.schema import FieldPath

Raw = msgspec.Raw
# The value of a field that a record does not have; a null in the file is another object.
ABSENT = Raw(b"null")
MOST_NOTED = 256  # undeclared fields that are kept as bytes: names can be data
_fields_of = msgspec.json.Decoder(dict[str, Raw] | None).decode
# In values that each follow a NUL, what can't be a cell unchanged: objects, lists with elements and
# escapes, as one match a cell (a text may have a million). Two patterns are many times faster.
_ODD = (re.compile(rb"\0(?:\{|\[(?!\]))"), re.compile(rb"\\[^\0]*"))
# Numbers that jsonb may not hold; the exponents as two patterns, for speed too.
_SMALL_E, _LARGE_E = (re.compile(mark + rb"[+-]?[0-9]{4}").search for mark in (b"e", b"E"))
_LONG = re.compile(rb"[0-9]{2000}").search
_MAY_BE_BLANK = re.compile(rb'"[^!-\[\]-~]*(?:"$|\\)').match


class _Doubt(Exception):
    """Python's json has to say which of several values is a column's."""


class Cells:
    """Makes the lines of one file's records, and notes their fields in `observed`."""

    def __init__(self, mapping: Mapping, observed: Observed) -> None:
        self._mapping, self._observed = mapping, observed
        self._page = (mapping.table.records or PAGE)[0]
        self._keeps_extra = not mapping.table.hashes
        firsts = {column: name for name, column in mapping.tree.firsts}
        self._firsts = [firsts.get(column) for column in range(mapping.width)]
        self._absent = [ABSENT] * mapping.width
        self._treated = [place + 1 for place in mapping.declared]
        self._noted: dict[tuple[FieldPath, str], bytes] = {}  # undeclared fields, as `"name":`
        suspects = suspect(mapping.habits, "\0")
        self._odd = (*_ODD, suspects) if suspects else _ODD

    def line(self, raw: bytes) -> bytes | None:
        """A record's cells without its lineage; None when Python's json has to read the record."""
        late: list[tuple[int, Raw]] = []
        try:
            fields = _fields_of(raw)
            if fields is None or self._page in fields:
                return None
            values = list(map(fields.pop, self._firsts, self._absent))
            extra = self._spread(fields, self._mapping.tree, (), values, late) if fields else b""
            for column, value in late:
                values[column] = _either(values[column], value)
        except (_Doubt, msgspec.DecodeError, RecursionError):
            return None
        observed = self._observed
        if observed.never is None:
            observed.never = self._mapping.expected
        for at in observed.never:
            if values[at] is not ABSENT:
                never = [(at, name) for at, name in observed.never.items() if values[at] is ABSENT]
                observed.never = dict(never)
                break
        if not observed.keyed:
            firsts = (bytes(values[at])[:1] for at in self._mapping.key)
            observed.keyed = all(first not in (b"n", b"{", b"[") for first in firsts)
        row = self._row(b"\0" + b"\0".join(values))
        if not (extra and self._keeps_extra):
            return row + b",null"
        if _SMALL_E(extra) or _LARGE_E(extra) or (len(extra) > 2000 and _LONG(extra)):
            extra = json_text(decode(extra.decode(), 0)[0], for_jsonb=True).encode()
        return row + b',"' + extra.replace(b'"', b'""') + b'"'

    def _spread(
        self,
        fields: dict[str, Raw],
        node: Node,
        path: FieldPath,
        values: list[Raw],
        late: list[tuple[int, Raw]],
    ) -> bytes:
        """Put an object's fields among the columns' values, those that a column may have elsewhere
        into `late`; returns a JSON object of the undeclared ones, empty without any. _Doubt."""
        undeclared, children = [], node.children
        for name, value in fields.items():
            child = children.get(name)
            if child is None:
                undeclared.append((self._noted.get((path, name)) or self._note(path, name)) + value)
            elif not child.children:
                late += [(column, value) for column, _ in child.columns]
            elif child.columns:
                raise _Doubt
            elif inner := _fields_of(value):
                for first, column in child.firsts:
                    values[column] = inner.pop(first, ABSENT)
                if inner and (extra := self._spread(inner, child, (*path, name), values, late)):
                    undeclared.append(_named(name) + extra)
        return b"{" + b",".join(undeclared) + b"}" if undeclared else b""

    def _note(self, path: FieldPath, name: str) -> bytes:
        """Note an undeclared field; returns `"name":`."""
        self._observed.note_field(".".join((*path, name)))
        named = _named(name)
        if len(self._noted) < MOST_NOTED:
            self._noted[path, name] = named
        return named

    def _row(self, values: bytes) -> bytes:
        """The cells of values that each follow a NUL, which no JSON contains."""
        odd = {*self._treated}
        for pattern in self._odd:
            place, begin, match = 0, 0, pattern.search(values)
            while match:
                place += values.count(b"\0", begin, match.start() + 1)
                odd.add(place)
                begin, match = match.start() + 1, pattern.search(values, match.end())
        if not odd:
            return values[1:].replace(b"\0", b",")
        cells = values.split(b"\0")
        for place in odd:
            text, treat = _text(cells[place]), self._mapping.treats.get(place - 1)
            cells[place] = cell(treat(text) if treat else text).encode()
        return b",".join(cells[1:])


def _either(one: Raw, other: Raw) -> Raw:
    """The value of a column that has two places; _Doubt when both have one, or it may be blank."""
    if one is ABSENT:
        return other
    if _MAY_BE_BLANK(one) or _MAY_BE_BLANK(other) or b"null" not in (bytes(one), bytes(other)):
        raise _Doubt
    return other if bytes(one) == b"null" else one


def _named(name: str) -> bytes:
    return encode_basestring(name).encode() + b":"


def _text(value: bytes) -> str | None:
    """The text of a raw value: lists and objects as JSON without blanks."""
    if value[:1] == b'"':
        text: str = msgspec.json.decode(value)
        return text
    if value[:1] in (b"{", b"["):
        if b"{" in value or b"\\" in value:  # a name that is twice in an object counts once
            return json_text(decode(value.decode(), 0)[0])
        value = msgspec.json.format(value, indent=-1)
    if value == b"null":
        return None
    return value.decode() if value[:1] in (b"t", b"f") else Digits(value.decode())
