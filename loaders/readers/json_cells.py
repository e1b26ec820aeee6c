"""A JSON record's values as cells of COPY's CSV: each value's own bytes, so every digit is kept.

A string without a backslash is a CSV cell as it stands, a number and a word are bare, null is
COPY's NULL: so most records are one join of raw values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from loaders.readers.json_shape import ABSENT, Shape, fields_of, newest_shape
from loaders.readers.json_window import decode
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Found, cell, json_text
from loaders.readers.values import suspect

# Of values, each behind a NUL, those that are no cells: a list that has something or an object, and
# what has an escape, once in a cell: a text may have a million. By two patterns, since one letter
# is looked for at many times the speed.
_ODD = (re.compile(rb"\0(?:\{|\[(?!\]))"), re.compile(rb"\\[^\0]*"))
# Numbers that jsonb can't hold, or only perhaps; two for the exponents, as one letter is looked for
# at many times the speed of either.
_SMALL_E, _LARGE_E = (re.compile(mark + rb"[+-]?[0-9]{4}").search for mark in (b"e", b"E"))
_LONG = re.compile(rb"[0-9]{2000}").search


class Cells:
    """Makes the lines of one file's records, and notes in `found` what they have."""

    def __init__(self, mapping: Mapping, found: Found) -> None:
        self._mapping, self._found = mapping, found
        self._treats = mapping.treats
        self._keeps_extra = not mapping.table.hashes
        suspects = suspect(mapping.habits, "\0")
        self._odd = (*_ODD, suspects) if suspects else _ODD
        self._newest = newest_shape(mapping)
        self._take(self._newest[0])

    def _take(self, shape: Shape) -> None:
        self._shape = self._newest[0] = shape
        never, known = self._found.never, self._found.unknown
        # what none of the file's records had so far, by its place among the values
        self._waiting = dict(enumerate(self._mapping.names)) if never is None else dict(never)
        self._waiting |= {at: name for at, name in shape.unknown.items() if name not in known}

    def line(self, raw: bytes, others: bytes = b"") -> bytes | None:
        """A record's cells, its lineage not among them; None when json has to decide what it is.
        `others`: an object of fields that it has besides."""
        shape = self._shape
        try:
            record = shape.decode(raw)
        except msgspec.ValidationError:
            if learnt := shape.learn(raw, self._mapping):
                self._take(learnt)
                return self.line(raw, others)
            return None if others else self._without_others(raw)
        except (msgspec.DecodeError, RecursionError):
            return None
        values: Sequence[Any] | None
        try:
            values = shape.values(record)
        except AttributeError:
            shape.fill(record)
            values = shape.values(record)
        if shape.contested:
            values = _settled(shape, values)
        if values is None:
            return None
        for at in self._waiting:
            if values[at] is not ABSENT:
                self._note(values)
                break
        if not self._found.keyed:
            firsts = (bytes(values[at])[:1] for at in self._mapping.key)
            self._found.keyed = all(first not in (b"n", b"{", b"[") for first in firsts)
        row = self._row(b"\0".join((b"", *values[: self._mapping.width])))
        extra = shape.others.json(values)
        if others:
            extra = extra[:-1] + b"," + others[1:] if extra else others
        if not (extra and self._keeps_extra):
            return row + b",null"
        if _SMALL_E(extra) or _LARGE_E(extra) or (len(extra) > 2000 and _LONG(extra)):
            extra = json_text(decode(extra.decode(), 0)[0], for_jsonb=True).encode()
        return row + b',"' + extra.replace(b'"', b'""') + b'"'

    def _without_others(self, raw: bytes) -> bytes | None:
        """The line of a record that has names beyond those that are learnt."""
        try:
            fields: dict[str, Any] = fields_of(raw)
        except (msgspec.DecodeError, RecursionError):
            return None
        known = self._shape.names
        others = {name: fields.pop(name) for name in [*fields] if name not in known}
        line = None
        if others:
            line = self.line(msgspec.json.encode(fields), msgspec.json.encode(others))
        for name in others if line else ():
            self._found.know(name)
        return line

    def _row(self, values: bytes) -> bytes:
        """The cells, each of the values behind a NUL: no JSON has one in it."""
        odd = {place + 1 for place in self._mapping.declared}
        for pattern in self._odd:
            place, begin, found = 0, 0, pattern.search(values)
            while found:
                place += values.count(b"\0", begin, found.start() + 1)
                odd.add(place)
                begin, found = found.start() + 1, pattern.search(values, found.end())
        if not odd:
            return values[1:].replace(b"\0", b",")
        cells = values.split(b"\0")
        for place in odd:
            text, treat = _text(cells[place]), self._treats.get(place - 1)
            cells[place] = cell(treat(text) if treat else text).encode()
        return b",".join(cells[1:])

    def _note(self, values: Sequence[Any]) -> None:
        """What a record has and none before it had."""
        found, width = self._found, self._mapping.width
        if found.never is None:
            found.never = dict(enumerate(self._mapping.names))
        for at in [at for at in self._waiting if values[at] is not ABSENT]:
            name = self._waiting.pop(at)
            if at < width:
                found.never.pop(at, None)
            else:
                found.know(name)


def _settled(shape: Shape, values: Sequence[Any]) -> list[Any] | None:
    """The values, each contested column's that of the place that has one; None where several have:
    the others are no columns' then."""
    settled = list(values)
    for columns, places in shape.contested:
        there = [values[at] for at in places if values[at] is not ABSENT]
        given = [value for value in there if bytes(value) != b"null"]
        if given[1:]:
            return None
        for column in columns:
            settled[column] = (given or there or [ABSENT])[0]
    return settled


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
