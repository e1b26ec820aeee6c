"""A JSON record's values as cells of COPY's CSV: each value's own bytes, so every digit is kept.

Which fields a table's records have is learnt from them, as a struct for msgspec to fill. A string
without a backslash is a CSV cell as it stands, a number and a word are bare, null is COPY's NULL:
so most records are one join of raw values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from json.encoder import encode_basestring
from operator import attrgetter
from typing import Any

import msgspec

from loaders.readers.json_blocks import PAGE, decode
from loaders.readers.mapping import Mapping, Node
from loaders.readers.rows import Digits, Found, cell, json_text
from loaders.readers.values import suspect
from loaders.schema import FieldPath

Raw = msgspec.Raw
# What a record does not have; a null of its own is another object.
ABSENT = Raw(b"null")
MOST = 256  # names that are learnt besides the declared: names can be data
_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
# What msgspec takes for no field's name.
_ODD_NAME = re.compile(r'[\\"\0-\x1f]').search
# Of values, each behind a NUL, those that are no cells: a list that has something or an object, and
# what has an escape, once in a cell: a text may have a million. By two patterns, since one letter
# is looked for at many times the speed.
_ODD = (re.compile(rb"\0(?:\{|\[(?!\]))"), re.compile(rb"\\[^\0]*"))
# Numbers that jsonb can't hold, or only perhaps; two for the exponents, as one letter is looked for
# at many times the speed of either.
_SMALL_E, _LARGE_E = (re.compile(mark + rb"[+-]?[0-9]{4}").search for mark in (b"e", b"E"))
_LONG = re.compile(rb"[0-9]{2000}").search
_MAY_BE_BLANK = re.compile(rb'"[^!-\[\]-~]*(?:"$|\\)').match


@dataclass(frozen=True)
class Others:
    """An object's undeclared fields, as JSON names and places among a record's values; and those of
    the objects in it that may hold columns."""

    fields: list[tuple[bytes, int]]
    objects: list[tuple[bytes, Others]]

    def json(self, values: Sequence[Any]) -> bytes:
        """Those that a record has; empty without any."""
        parts = [name + value for name, at in self.fields if (value := values[at]) is not ABSENT]
        for name, others in self.objects:
            if inner := others.json(values):
                parts.append(name + inner)
        return b"{" + b",".join(parts) + b"}" if parts else b""


class Shape:
    """A struct of the declared fields and of `met`, those that records had besides: any other field
    is an error for `decode`. So are a page's list, which json takes apart, and odd names."""

    def __init__(self, mapping: Mapping, met: tuple[FieldPath, ...]) -> None:
        self.met = met
        self._list = (mapping.table.records or PAGE)[:1]
        self._numbers = count()
        self._objects: list[tuple[Callable[[Any], Any], str, type]] = []
        # of each column: rank and attribute of each of its places
        self._columns: dict[int, list[tuple[int, str]]] = {}
        self._attributes: list[str] = []
        self.unknown: list[str] = []
        self._width = mapping.width
        record, self.others = self._struct(mapping.tree, (), "")
        self.decode = msgspec.json.Decoder(record).decode
        firsts = [min(self._columns.get(at, [(0, "none")]))[1] for at in range(self._width)]
        # the columns that have been met in several places, and the places of their values
        self._contested = [
            (column, [self._add(attribute) for _, attribute in sorted(places)])
            for column, places in self._columns.items()
            if places[1:]
        ]
        self._get = attrgetter(*firsts, *self._attributes, "none")  # of one it gives no tuple

    def _struct(self, node: Node, path: FieldPath, at: str) -> tuple[Any, Others]:
        fields: list[Any] = []
        others = Others([], [])
        names: dict[str, str] = {}
        besides = [one[-1] for one in self.met if one[:-1] == path]
        for name in dict.fromkeys([*node.below, *besides]):
            below = node.below.get(name)
            own, known = (*path, name), encode_basestring(name).encode() + b":"
            if own == self._list or _ODD_NAME(name):
                continue
            attribute = f"f{next(self._numbers)}"
            if below is None:
                place = self._add(at + attribute)
                self.unknown.append(".".join(own))
                others.fields.append((known, place))
            elif below.below:
                if below.columns:
                    continue  # an object or a value: json decides
                inner, beyond = self._struct(below, own, f"{at}{attribute}.")
                holder = attrgetter(at[:-1]) if at else lambda record: record
                self._objects.insert(0, (holder, attribute, inner))
                if beyond.fields or beyond.objects:
                    others.objects.append((known, beyond))
                fields.append((attribute, inner | None, msgspec.field(default_factory=inner)))
                names[attribute] = name
                continue
            elif below.is_tried_late and own not in self.met:
                continue
            else:
                for column, rank in below.columns:
                    self._columns.setdefault(column, []).append((rank, at + attribute))
            fields.append((attribute, Raw, ABSENT))
            names[attribute] = name
        how: Any = {"forbid_unknown_fields": True, "gc": False, "namespace": {"none": ABSENT}}
        return msgspec.defstruct("Record", fields, rename=names, **how), others

    def _add(self, attribute: str) -> int:
        """The place that an attribute has among the values, behind the columns'."""
        self._attributes.append(attribute)
        return self._width + len(self._attributes) - 1

    def values(self, record: Any) -> Sequence[Any] | None:
        """Each column's value, then those of `met`; None where a column has several places with a
        value, or one that may be blank: json decides what becomes of the others."""
        values: Any
        try:
            values = self._get(record)
        except AttributeError:  # null where an object is declared
            for holder, attribute, empty in self._objects:
                if getattr(holder(record), attribute) is None:
                    setattr(holder(record), attribute, empty())
            values = self._get(record)
        for column, places in self._contested:
            values = list(values)
            there = [values[at] for at in places if values[at] is not ABSENT]
            given = [value for value in there if bytes(value) != b"null"]
            if given[1:] or any(map(_MAY_BE_BLANK, map(bytes, given))):
                return None
            values[column] = (given or there or [ABSENT])[0]
        return values

    def learn(self, raw: bytes, mapping: Mapping) -> Shape | None:
        """One that has the record's fields too; None when it has no new ones, or too many."""
        if len(self.met) >= MOST:
            return None
        try:
            every = list(_beyond(_fields_of(raw), mapping.tree, ()))
        except (msgspec.DecodeError, RecursionError):
            return None
        met = self.met + tuple(one for one in every if one not in self.met)
        fits = self._list not in met and len(met) <= MOST
        return Shape(mapping, met) if fits and met != self.met else None


def _beyond(fields: dict[str, Any], node: Node, path: FieldPath) -> Iterator[FieldPath]:
    """The fields that are not a column's first place."""
    for name, value in fields.items():
        below = node.below.get(name)
        if below is None or (below.is_tried_late and not below.below):
            yield (*path, name)
        elif below.below and not below.columns and bytes(value)[:1] == b"{":
            yield from _beyond(_fields_of(value), below, (*path, name))


class Cells:
    """Makes the lines of one file's records, and notes in `found` what they have."""

    def __init__(self, mapping: Mapping, found: Found) -> None:
        self._mapping, self._found = mapping, found
        self._keeps_extra = not mapping.table.hashes
        suspects = suspect(mapping.habits, "\0")
        self._odd = (*_ODD, suspects) if suspects else _ODD
        self._take(mapping.shape or Shape(mapping, ()))

    def _take(self, shape: Shape) -> None:
        self._shape = self._mapping.shape = shape
        for name in shape.unknown:
            self._found.note_field(name)

    def line(self, raw: bytes) -> bytes | None:
        """A record's cells, its lineage not among them; None when json has to decide what it is."""
        shape = self._shape
        try:
            record = shape.decode(raw)
        except msgspec.ValidationError:
            if learnt := shape.learn(raw, self._mapping):
                self._take(learnt)
                return self.line(raw)
            return None
        except (msgspec.DecodeError, RecursionError):
            return None
        values = shape.values(record)
        if values is None:
            return None
        found = self._found
        if found.never is None:
            found.never = dict(enumerate(self._mapping.names))
        for at in found.never:
            if values[at] is not ABSENT:
                left = [(at, name) for at, name in found.never.items() if values[at] is ABSENT]
                found.never = dict(left)
                break
        if not found.keyed:
            firsts = (bytes(values[at])[:1] for at in self._mapping.key)
            found.keyed = all(first not in (b"n", b"{", b"[") for first in firsts)
        row = self._row(b"\0".join((b"", *values[: self._mapping.width])))
        extra = shape.others.json(values)
        if not (extra and self._keeps_extra):
            return row + b",null"
        if _SMALL_E(extra) or _LARGE_E(extra) or (len(extra) > 2000 and _LONG(extra)):
            extra = json_text(decode(extra.decode(), 0)[0], for_jsonb=True).encode()
        return row + b',"' + extra.replace(b'"', b'""') + b'"'

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
            text, treat = _text(cells[place]), self._mapping.treats.get(place - 1)
            cells[place] = cell(treat(text) if treat else text).encode()
        return b",".join(cells[1:])


def _text(value: bytes) -> str | None:
    """A value as text: lists and objects as JSON without blanks."""
    if value[:1] == b'"':
        text: str = msgspec.json.decode(value)
        return text
    if value[:1] in (b"{", b"["):
        if b"{" in value or b"\\" in value:  # a name twice in an object counts once
            return json_text(decode(value.decode(), 0)[0])
        value = msgspec.json.format(value, indent=-1)
    if value == b"null":
        return None
    return value.decode() if value[:1] in (b"t", b"f") else Digits(value.decode())
