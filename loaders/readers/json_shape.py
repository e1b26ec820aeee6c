"""Which fields a table's JSON records have, learnt from them: a struct for msgspec to fill."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from json.encoder import encode_basestring
from operator import attrgetter
from typing import Any

import msgspec

from loaders.readers.json_blocks import PAGE
from loaders.readers.mapping import Mapping, Node
from loaders.schema import FieldPath

Raw = msgspec.Raw
# What a record does not have; a null of its own is another object.
ABSENT = Raw(b"null")
MOST = 64  # names that are learnt besides the declared: names can be data
fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
# What msgspec takes for no field's name.
_ODD_NAME = re.compile(r'[\\"\0-\x1f]').search


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
    is an error for `decode`. So are a page's list, which json takes apart, and odd names.

    `values` gives of a struct each column's value, then those of `met`. Of a column that has been
    met in several places `contested` has the columns' and the values' places.
    """

    def __init__(self, mapping: Mapping, met: tuple[FieldPath, ...]) -> None:
        self.met = met
        self._list = (mapping.table.records or PAGE)[:1]
        self._numbers = count()
        self._objects: list[tuple[Callable[[Any], Any], str, type]] = []
        # of each column: rank and attribute of each of its places
        columns: dict[int, list[tuple[int, str]]] = {}
        self._attributes: list[str] = []
        self.unknown: dict[int, str] = {}
        self._width = mapping.width
        # of a record's own fields, those that have a meaning
        self.names = {*mapping.tree.below, *self._list, *(path[0] for path in met)}
        record, self.others = self._struct(mapping.tree, (), "", columns)
        self.decode = msgspec.json.Decoder(record).decode
        firsts = [min(columns.get(at, [(0, "none")]))[1] for at in mapping.firsts]
        self.contested: list[tuple[list[int], list[int]]] = []
        for column, places in columns.items():
            if places[1:]:
                taking = [at for at, first in enumerate(mapping.firsts) if first == column]
                known = [self._add(attribute) for _, attribute in sorted(places)]
                self.contested.append((taking, known))
        self.values = attrgetter(*firsts, *self._attributes, "none")  # of one it gives no tuple

    def _struct(
        self, node: Node, path: FieldPath, at: str, columns: dict[int, list[tuple[int, str]]]
    ) -> tuple[Any, Others]:
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
                self.unknown[place] = ".".join(own)
                others.fields.append((known, place))
            elif below.below:
                if below.column:
                    continue  # an object or a value: json decides
                inner, beyond = self._struct(below, own, f"{at}{attribute}.", columns)
                holder = attrgetter(at[:-1]) if at else lambda record: record
                self._objects.insert(0, (holder, attribute, inner))
                if beyond.fields or beyond.objects:
                    others.objects.append((known, beyond))
                fields.append((attribute, inner | None, msgspec.field(default_factory=inner)))
                names[attribute] = name
                continue
            elif below.column:
                column, rank = below.column
                if rank and own not in self.met:
                    continue
                columns.setdefault(column, []).append((rank, at + attribute))
            fields.append((attribute, Raw, ABSENT))
            names[attribute] = name
        how: Any = {"forbid_unknown_fields": True, "gc": False, "namespace": {"none": ABSENT}}
        return msgspec.defstruct("Record", fields, rename=names, **how), others

    def _add(self, attribute: str) -> int:
        """The place that an attribute has among the values, behind the columns'."""
        self._attributes.append(attribute)
        return self._width + len(self._attributes) - 1

    def fill(self, record: Any) -> None:
        """Puts an object without fields where the record has null for one."""
        for holder, attribute, empty in self._objects:
            if getattr(holder(record), attribute) is None:
                setattr(holder(record), attribute, empty())

    def learn(self, raw: bytes, mapping: Mapping) -> Shape | None:
        """One that has the record's fields too; None when it has no new ones, or too many."""
        if len(self.met) >= MOST:
            return None
        try:
            every = list(_beyond(fields_of(raw), mapping.tree, ()))
        except (msgspec.DecodeError, RecursionError):
            return None
        met = self.met + tuple(one for one in every if one not in self.met)
        odd = self._list in met or any(_ODD_NAME(one[-1]) for one in met)
        return None if odd or met == self.met or len(met) > MOST else Shape(mapping, met)


def _beyond(fields: dict[str, Any], node: Node, path: FieldPath) -> Iterator[FieldPath]:
    """The fields that are not a column's first place."""
    for name, value in fields.items():
        below = node.below.get(name)
        if below is None or (below.column and below.column[1] and not below.below):
            yield (*path, name)
        elif below.below and not below.column and bytes(value)[:1] == b"{":
            yield from _beyond(fields_of(value), below, (*path, name))


@lru_cache(maxsize=8)
def newest_shape(mapping: Mapping) -> list[Shape]:
    """The newest shape of a table's records, for all of its files."""
    return [Shape(mapping, ())]
