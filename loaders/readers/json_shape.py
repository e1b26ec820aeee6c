"""A struct of raw values for a table's JSON records, learnt from the fields that are met."""

from __future__ import annotations

import re
from operator import attrgetter
from typing import Any

import msgspec

from loaders.readers.mapping import Mapping
from loaders.readers.rows import Found

Raw = msgspec.Raw
NULL, ABSENT = Raw(b"null"), Raw(b" null")  # ABSENT never comes out of a file
MOST_EXTRA = 200
_UNKNOWN = re.compile(r"unknown field `(.*?)`(?: - at `\$(?:\[[^\]]*\])?(?:\.(.*))?`)?$", re.DOTALL)
_ODD_NAME = re.compile(r'[\\"\x00-\x1f\x7f`]')
raw_elements = msgspec.json.Decoder(list[Raw]).decode


class TooOdd(Exception):
    """No struct stands for records like these."""


class Shape:
    """A struct for the declared fields and those that nobody declared but were met."""

    def __init__(self, mapping: Mapping, found: Found) -> None:
        self._columns = mapping.table.columns
        self._found = found
        self.chosen = [column.places[0] for column in self._columns]
        self.extra: list[tuple[str, ...]] = []
        self.doubts: list[tuple[str, ...]] = []
        self._swapped: set[int] = set()
        self.version = 0
        self._make()

    def learn(self, error: str) -> None:
        """Takes in the field that msgspec's error names. TooOdd."""
        named = _UNKNOWN.search(error)
        if named is None:
            raise TooOdd
        path = (*(named[2].split(".") if named[2] else ()), named[1])
        if path[:-1] not in self._structs or path in self.extra or _ODD_NAME.search(named[1]):
            raise TooOdd
        if len(self.extra) + len(self.doubts) > MOST_EXTRA:
            raise TooOdd
        known = [*self.extra], [*self.doubts], [*self.chosen]
        for place, column in enumerate(self._columns):
            if path in column.places and not column.shared:
                # another place of a column: taken for its place, unless two have been met
                if path in self.doubts:
                    raise TooOdd
                if column.name in self._found.seen or place in self._swapped:
                    self.doubts.append(path)
                else:
                    self._swapped.add(place)
                    self.chosen[place] = path
                break
        else:
            if any(place[: len(path)] == path for c in self._columns for place in c.places):
                raise TooOdd  # a column's other place is below it
            self.extra.append(path)
        try:
            self._make()
        except TooOdd:
            self.extra, self.doubts, self.chosen = known
            self._make()
            raise

    def fill(self, record: Any) -> None:
        """Takes null for an object without fields, where one is declared."""
        for (*steps, last), empty in self._objects:
            holder = record
            for step in steps:
                holder = getattr(holder, step)
            if getattr(holder, last) is None:
                setattr(holder, last, empty())

    def _make(self) -> None:
        self.version += 1
        tree: dict[str, Any] = {}
        for place, column in enumerate(self._columns):
            if column.shared:
                first = next(c for c in self._columns if c.places[0] == column.places[0])
                self.chosen[place] = self.chosen[self._columns.index(first)]
        for path in [*self.chosen, *self.extra, *self.doubts]:
            node = tree
            for name in path[:-1]:
                node = node.setdefault(name, {})
                if not isinstance(node, dict):
                    raise TooOdd
            if isinstance(node.setdefault(path[-1], path), dict):
                raise TooOdd
        self._structs: set[tuple[str, ...]] = set()
        self._attributes: dict[tuple[str, ...], str] = {}
        self._objects: list[tuple[list[str], Any]] = []
        root = self._struct(tree, (), "")
        self.one = msgspec.json.Decoder(root).decode
        self.many = msgspec.json.Decoder(list[root]).decode  # type: ignore[valid-type]
        self.lines = msgspec.json.Decoder(root).decode_lines
        at = self._attributes
        # by what holds them
        self.extra.sort(key=lambda path: path[:-1])
        rest = [*self.extra, *self.doubts]
        # the first once more: one alone would come without its tuple
        self.get = attrgetter(*(at[path] for path in [*self.chosen, *rest, self.chosen[0]]))
        self.absent = (ABSENT,) * len(rest)
        self.columns = [attrgetter(at[path]) for path in self.chosen]
        if any(len(path) > 2 for path in self.extra):
            raise TooOdd
        self.prefixes = [path[0].encode() if path[1:] else b"" for path in self.extra]
        self.keys = [b'"%s":' % path[-1].encode() for path in self.extra]
        self.unknown = {".".join(path): attrgetter(at[path]) for path in self.extra}

    def _struct(self, tree: dict[str, Any], prefix: tuple[str, ...], at: str) -> Any:
        fields: list[Any] = []
        rename: dict[str, str] = {}
        self._structs.add(prefix)
        for name, node in tree.items():
            attribute = f"f{len(rename)}"
            rename[attribute] = name
            if isinstance(node, dict):
                at_object = len(self._objects)
                inner = self._struct(node, (*prefix, name), f"{at}{attribute}.")
                self._objects.insert(at_object, (f"{at}{attribute}".split("."), inner))
                fields.append((attribute, inner | None, msgspec.field(default_factory=inner)))
            else:
                declared = node in self.chosen
                fields.append((attribute, Raw, NULL if declared else ABSENT))
                self._attributes[node] = at + attribute
        # nothing in it can be part of a cycle: the collector need not walk through it
        return msgspec.defstruct(
            "Record", fields, rename=rename, forbid_unknown_fields=True, gc=False
        )
