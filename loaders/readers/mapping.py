"""From what a raw file calls things to what lands: the same rules for every format."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from loaders.readers.header import Header
from loaders.readers.rows import Found, Row, json_text
from loaders.sources import Column, Table

Treat = Callable[[str | None], str | None]

_WHOLE = re.compile(r"[ \t]*([+-]?[0-9]+)\.0+[ \t]*")
_MIDNIGHT = re.compile(
    r"([0-9]{4,}-[0-9]{2}-[0-9]{2})[T ]00:00(?::00(?:\.0+)?)?(?:Z|[+-]00:?(?:00)?)?"
)
_NUMBERS = ("bigint", "integer", "numeric")


def whole_id(text: str | None) -> str | None:
    """An id that went through a float: 9001.0 is 9001. Everything else stays as it is."""
    return found[1] if text and (found := _WHOLE.fullmatch(text)) else text


def plain_date(text: str | None) -> str | None:
    """A date that was kept as midnight: 2026-01-05T00:00:00Z is 2026-01-05."""
    return found[1] if text and (found := _MIDNIGHT.fullmatch(text)) else text


def _ours(values: dict[str, str], text: str | None) -> str | None:
    if text is None:
        return None
    return values.get(text, values.get(text.strip(), text))


def _point(text: str | None) -> str | None:
    """1.234,50 as 1234.50; what is no number by these rules stays as it is."""
    if text and re.fullmatch(r"\s*[+-]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)(,[0-9]+)?\s*", text):
        return text.strip().replace(".", "").replace(",", ".")
    return text


def _scaled(places: int, text: str | None) -> str | None:
    """12.5 as 1250 where the point moves two places: by its digits, so it is exact."""
    found = text and re.fullmatch(r"\s*([+-]?[0-9]+)(?:\.([0-9]+))?([eE][+-]?[0-9]{1,9})?\s*", text)
    if not found:
        return text
    whole, part, power = found.groups(default="")
    if power:
        return f"{whole}.{part or 0}e{int(power[1:]) + places}"
    part = part.ljust(places, "0")
    rest = part[places:].rstrip("0")
    return re.sub("^([+-]?)0+(?=[0-9])", r"\1", whole + part[:places]) + (
        f".{rest}" if rest else ""
    )


def _iso(formats: Sequence[str], date_only: bool, text: str | None) -> str | None:
    for form in formats if text else ():
        try:
            moment = datetime.strptime(str(text).strip(), form)
        except ValueError:
            continue
        if date_only or not re.search("%[HIMScXTRp]", form):
            return moment.date().isoformat()
        return moment.isoformat()
    return text


def _or(default: str, text: str | None) -> str | None:
    return text if text and text.strip() else default


def _chain(steps: Sequence[Treat], text: str | None) -> str | None:
    for step in steps:
        text = step(text)
    return text


class Mapping:
    """A table's declaration, made ready for reading.

    `habits` are what a foreign writer does to ids and dates, by column: nearly all files have
    nothing of it. `declared` are the treatments somebody asked for. `treats` are both.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.names = table.column_names
        self.width = len(table.columns)
        self.habits: dict[int, Treat] = {}
        self.declared: dict[int, Treat] = {}
        self.treats: dict[int, Treat] = {}
        for place, column in enumerate(table.columns):
            self._learn(place, column)
        self.shared = [
            (next(p for p, c in enumerate(table.columns) if c.places[0] == column.places[0]), place)
            for place, column in enumerate(table.columns)
            if column.shared
        ]
        self.key = [table.column_names.index(name) for name in table.key]
        self._headers: dict[tuple[str, ...], Header] = {}
        self.tree = Node()
        for place, column in enumerate(table.columns):
            for rank, path in enumerate(column.places if not column.shared else ()):
                self.tree.add(path, place, rank)

    def header(self, names: Sequence[str]) -> Header:
        """What the names of a file's header stand for; worked out once for all files with them."""
        known = tuple(names)
        if known not in self._headers:
            self._headers[known] = Header(known, self)
        return self._headers[known]

    def _learn(self, place: int, column: Column) -> None:
        steps: list[Treat] = []
        if column.values:
            steps.append(partial(_ours, dict(column.values)))
        if self.table.decimal == "," and column.data_type in _NUMBERS:
            steps.append(_point)
        if column.scale:
            steps.append(partial(_scaled, column.scale))
        if column.formats:
            steps.append(partial(_iso, column.formats, column.data_type == "date"))
        if column.default is not None:
            steps.append(partial(_or, column.default))
        habit = None
        if self.table.is_id(column):
            habit = whole_id
        elif column.data_type == "date":
            habit = plain_date
        if steps:
            self.declared[place] = partial(_chain, steps)
        if habit:
            self.habits[place] = habit
        if both := [*([habit] if habit else []), *steps]:
            self.treats[place] = both[0] if len(both) == 1 else partial(_chain, both)

    def row(self, number: int, values: list[str | None], extra: dict[str, Any]) -> Row:
        """The record as it lands, once what the file calls its values is settled."""
        for place, treat in self.treats.items():
            values[place] = treat(values[place])
        return Row(number, values, json_text(extra, for_jsonb=True) if extra else None)


class Node:
    """A step of declared paths: what is below it, and the column that ends here."""

    def __init__(self) -> None:
        self.below: dict[str, Node] = {}
        self.column: tuple[int, int] | None = None  # place and rank

    def add(self, path: tuple[str, ...], place: int, rank: int) -> None:
        node = self
        for name in path:
            node = node.below.setdefault(name, Node())
        if node.column is None or node.column[1] > rank:
            node.column = (place, rank)


class Spread:
    """One record's declared fields as values, and the others nested as they were."""

    def __init__(self, mapping: Mapping, found: Found) -> None:
        self._mapping = mapping
        self._found = found
        self._names = mapping.names

    def row(self, number: int, record: dict[str, Any]) -> Row:
        values: list[str | None] = [None] * self._mapping.width
        self._held: dict[int, tuple[int, dict[str, Any], str, Any]] = {}
        extra = self._spread(record, self._mapping.tree, values, "")
        for source, place in self._mapping.shared:
            values[place] = values[source]
            if self._names[source] in self._found.seen:
                self._found.seen.add(self._names[place])
        self._found.json_records += 1
        if not self._found.keyed:
            self._found.keyed = all(
                (value := values[place]) is not None and value[:1] not in ("{", "[")
                for place in self._mapping.key
            )
        return self._mapping.row(number, values, extra)

    def _spread(
        self, record: dict[str, Any], node: Node, values: list[str | None], prefix: str
    ) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        for name, value in record.items():
            at = node.below.get(name)
            if at is not None and at.below and isinstance(value, dict):
                if inner := self._spread(value, at, values, f"{prefix}{name}."):
                    extra[name] = inner
            elif at is not None and at.column is not None:
                self._take(extra, name, value, at.column, values, prefix)
            elif at is None or value is not None:
                self._found.know(prefix + name)
                extra[name] = value
        return extra

    def _take(
        self,
        extra: dict[str, Any],
        name: str,
        value: Any,
        column: tuple[int, int],
        values: list[str | None],
        prefix: str,
    ) -> None:
        """Of several places of one column the first that has a value; the others are extra."""
        place, rank = column
        self._found.seen.add(self._names[place])
        if value is None:
            return
        before = self._held.get(place)
        if before and before[0] < rank:
            self._found.know(prefix + name)
            extra[name] = value
            return
        if before and before[0] > rank:
            self._found.know(prefix + before[2])
            before[1][before[2]] = before[3]
        self._held[place] = (rank, extra, name, value)
        values[place] = value if isinstance(value, str) else json_text(value)
