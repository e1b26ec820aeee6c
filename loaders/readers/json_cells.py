"""A JSON record's values as cells of COPY's CSV: each value's own bytes, so every digit is kept.

msgspec fills a struct of all fields that records had so far; a record with others makes a new one.
A string without a backslash is a CSV cell unchanged, numbers and true and false are bare, null is
COPY's NULL: so most records are one join of raw values.
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
from loaders.readers.rows import Digits, Observed, cell, json_text
from loaders.readers.values import suspect
from loaders.schema import FieldPath

Raw = msgspec.Raw
# The value of a field that a record does not have; a null in the file is another object.
ABSENT = Raw(b"null")
MOST_LEARNT = 256  # undeclared fields in a struct: names can be data
_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
# What msgspec does not accept in a field's name.
_ODD_NAME = re.compile(r'[\\"\0-\x1f]').search
# In values that each follow a NUL, what can't be a cell unchanged: objects, lists with elements and
# escapes, as one match a cell (a text may have a million). Two patterns are many times faster.
_ODD = (re.compile(rb"\0(?:\{|\[(?!\]))"), re.compile(rb"\\[^\0]*"))
# Numbers that jsonb may not hold; the exponents as two patterns, for speed too.
_SMALL_E, _LARGE_E = (re.compile(mark + rb"[+-]?[0-9]{4}").search for mark in (b"e", b"E"))
_LONG = re.compile(rb"[0-9]{2000}").search
_MAY_BE_BLANK = re.compile(rb'"[^!-\[\]-~]*(?:"$|\\)').match


@dataclass(frozen=True)
class Undeclared:
    """An object's undeclared fields, each as `"name":` with its value's place among a record's
    values, and the undeclared fields of the objects in it that hold columns."""

    fields: list[tuple[bytes, int]]
    objects: list[tuple[bytes, Undeclared]]

    def json(self, values: Sequence[Any]) -> bytes:
        """The JSON object of those that a record has; empty without any."""
        parts = [name + value for name, at in self.fields if (value := values[at]) is not ABSENT]
        for name, undeclared in self.objects:
            if inner := undeclared.json(values):
                parts.append(name + inner)
        return b"{" + b",".join(parts) + b"}" if parts else b""


class Shape:
    """A struct of the declared fields and of those in `learnt`, which earlier records had. `decode`
    fails for any other field, for odd names, and for a page's list, which json takes apart."""

    def __init__(self, mapping: Mapping, learnt: tuple[FieldPath, ...]) -> None:
        self.learnt = learnt
        self._list = (mapping.table.records or PAGE)[:1]
        self._numbers = count()
        # of each inner object, the outer ones first: its holder's getter, its attribute, its type
        self._objects: list[tuple[Callable[[Any], Any], str, type]] = []
        # of each column: rank and attribute of each of its places
        self._columns: dict[int, list[tuple[int, str]]] = {}
        self._attributes: list[str] = []
        self.unknown: list[str] = []
        self._width = mapping.width
        record, self.undeclared = self._struct(mapping.tree, (), "")
        self.decode = msgspec.json.Decoder(record).decode
        firsts = [min(self._columns.get(at, [(0, "none")]))[1] for at in range(self._width)]
        # the columns that have several places in the struct, and where those are among the values
        self._contested = [
            (column, [self._add(attribute) for _, attribute in sorted(places)])
            for column, places in self._columns.items()
            if places[1:]
        ]
        # "none" as well, since for a single name attrgetter gives no tuple
        self._get = attrgetter(*firsts, *self._attributes, "none")

    def _struct(self, node: Node, path: FieldPath, prefix: str) -> tuple[Any, Undeclared]:
        fields: list[Any] = []
        undeclared = Undeclared([], [])
        names: dict[str, str] = {}
        learnt_here = [one[-1] for one in self.learnt if one[:-1] == path]
        for name in dict.fromkeys([*node.children, *learnt_here]):
            child, field = node.children.get(name), (*path, name)
            json_name = encode_basestring(name).encode() + b":"
            if field == self._list or _ODD_NAME(name):
                continue
            attribute = f"f{next(self._numbers)}"
            if child is None:
                place = self._add(prefix + attribute)
                self.unknown.append(".".join(field))
                undeclared.fields.append((json_name, place))
            elif child.children:
                if child.columns:
                    continue  # an object or a value: json decides
                inner, beyond = self._struct(child, field, f"{prefix}{attribute}.")
                holder = attrgetter(prefix[:-1]) if prefix else lambda record: record
                self._objects.insert(0, (holder, attribute, inner))
                if beyond.fields or beyond.objects:
                    undeclared.objects.append((json_name, beyond))
                fields.append((attribute, inner | None, msgspec.field(default_factory=inner)))
                names[attribute] = name
                continue
            elif child.is_tried_late and field not in self.learnt:
                continue
            else:
                for column, rank in child.columns:
                    self._columns.setdefault(column, []).append((rank, prefix + attribute))
            fields.append((attribute, Raw, ABSENT))
            names[attribute] = name
        options: Any = {"forbid_unknown_fields": True, "gc": False, "namespace": {"none": ABSENT}}
        return msgspec.defstruct("Record", fields, rename=names, **options), undeclared

    def _add(self, attribute: str) -> int:
        """Add an attribute to the values after the columns'; returns its place among them."""
        self._attributes.append(attribute)
        return self._width + len(self._attributes) - 1

    def values(self, record: Any) -> Sequence[Any] | None:
        """Each column's value, then the other attributes' values. None when several places of a
        column have a value, or one that may be blank: then json decides which is used."""
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
            present = [values[at] for at in places if values[at] is not ABSENT]
            not_null = [value for value in present if bytes(value) != b"null"]
            if not_null[1:] or any(map(_MAY_BE_BLANK, map(bytes, not_null))):
                return None
            values[column] = (not_null or present or [ABSENT])[0]
        return values

    def learn(self, raw: bytes, mapping: Mapping) -> Shape | None:
        """A shape with this record's fields, too; None when it has no new ones, or too many."""
        if len(self.learnt) >= MOST_LEARNT:
            return None
        try:
            fields = list(_to_learn(_fields_of(raw), mapping.tree, ()))
        except (msgspec.DecodeError, RecursionError):
            return None
        learnt = self.learnt + tuple(field for field in fields if field not in self.learnt)
        fits = self._list not in learnt and len(learnt) <= MOST_LEARNT
        return Shape(mapping, learnt) if fits and learnt != self.learnt else None


def _to_learn(fields: dict[str, Any], node: Node, path: FieldPath) -> Iterator[FieldPath]:
    """The paths of an object's fields that are not the first place of a column."""
    for name, value in fields.items():
        child = node.children.get(name)
        if child is None or (child.is_tried_late and not child.children):
            yield (*path, name)
        elif child.children and not child.columns and bytes(value)[:1] == b"{":
            yield from _to_learn(_fields_of(value), child, (*path, name))


class Cells:
    """Makes the lines of one file's records, and notes their fields in `observed`."""

    def __init__(self, mapping: Mapping, observed: Observed) -> None:
        self._mapping, self._observed = mapping, observed
        self._keeps_extra = not mapping.table.hashes
        suspects = suspect(mapping.habits, "\0")
        self._odd = (*_ODD, suspects) if suspects else _ODD
        self._use(mapping.shape or Shape(mapping, ()))

    def _use(self, shape: Shape) -> None:
        self._shape = self._mapping.shape = shape
        for name in shape.unknown:
            self._observed.note_field(name)

    def line(self, raw: bytes) -> bytes | None:
        """A record's cells without its lineage; None when Python's json has to read the record."""
        shape = self._shape
        try:
            record = shape.decode(raw)
        except msgspec.ValidationError:
            if learnt := shape.learn(raw, self._mapping):
                self._use(learnt)
                return self.line(raw)
            return None
        except (msgspec.DecodeError, RecursionError):
            return None
        values = shape.values(record)
        if values is None:
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
        row = self._row(b"\0".join((b"", *values[: self._mapping.width])))
        extra = shape.undeclared.json(values)
        if not (extra and self._keeps_extra):
            return row + b",null"
        if _SMALL_E(extra) or _LARGE_E(extra) or (len(extra) > 2000 and _LONG(extra)):
            extra = json_text(decode(extra.decode(), 0)[0], for_jsonb=True).encode()
        return row + b',"' + extra.replace(b'"', b'""') + b'"'

    def _row(self, values: bytes) -> bytes:
        """The cells of values that each follow a NUL, which no JSON contains."""
        odd = {place + 1 for place in self._mapping.declared}
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
