"""The careful reader of JSON: Python's json is the judge of what a record is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from loaders.readers.json_window import BLANK, Broken, decode
from loaders.readers.mapping import Mapping, Node
from loaders.readers.rows import (
    UNSTORABLE,
    Found,
    Records,
    Reject,
    Row,
    json_text,
    raw_text,
    repaired,
    why_unstorable,
)

PAGE = ("results",)


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


class Strict:
    """Reads text of whole values; `number` is that of the last record."""

    def __init__(self, mapping: Mapping, found: Found) -> None:
        self._spread = Spread(mapping, found)
        self._declared = mapping.table.records
        self._page = self._declared or PAGE
        self.number = 0

    def elements(self, text: str) -> Records:
        """The elements of an array, with commas between them. Broken when one is no record."""
        for value, shown in elements_of(text):
            yield from self._record(value, shown, pages=bool(self._declared))

    def lines(self, text: str, *, last: bool) -> Records:
        """The values of lines: a broken line is a reject, but Broken where the file ends in it."""
        *ended, rest = text.split("\n")
        for line in ended:
            yield from self.line(line)
        yield from self.line(rest, cut=last)

    def line(self, line: str, *, cut: bool = False) -> Records:
        """A line's values, none of a blank one. `cut`: the file may end in it."""
        line = line.strip(" \t\r\ufeff")
        before = self.number
        try:
            values = list(values_of(line))
        except Broken as broken:
            if cut and line[:1] in ("{", "[") and line[-1:] not in ("}", "]"):
                raise Broken(str(broken), cut=True) from None
            self.number = before + 1
            reason = "not utf-8" if _bad_bytes(line) else f"broken json: {broken}"
            yield Reject(self.number, reason, raw_text(line))
            return
        for value, shown in values:
            if isinstance(value, list):
                for inner in value:
                    yield from self._in_line(inner, shown)
            else:
                yield from self._in_line(value, shown)

    def _in_line(self, value: Any, shown: str) -> Records:
        if isinstance(value, dict):
            yield from self._record(value, shown, pages=True)
            return
        self.number += 1
        yield Reject(self.number, "not an object", raw_text(shown))

    def _record(self, value: Any, shown: str, *, pages: bool) -> Records:
        if not isinstance(value, dict):
            raise Broken("an element is no object")
        if pages and (inner := list_at(value, self._page)) is not None:
            for one in inner:
                yield from self._record(one, shown, pages=False)
            return
        self.number += 1
        why = None
        if UNSTORABLE.search(shown) or "\\u" in shown:
            why = _why(value, shown)
            value = repaired(value) if why else value
        try:
            row = self._spread.row(self.number, value)
        except RecursionError:
            raise Broken("nested too deep") from None
        if why:
            yield Reject(self.number, why, raw_text(shown), landed=True)
        yield row


def list_at(value: Any, path: tuple[str, ...]) -> list[Any] | None:
    """The list of objects that an object has at `path`, if it has one."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    lists = isinstance(value, list) and all(isinstance(one, dict) for one in value)
    return value if lists else None


def _why(value: Any, shown: str) -> str | None:
    """Why Postgres can't store the record's strings as they are."""
    if why := why_unstorable(shown):
        return why
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if why := why_unstorable(item):
                # what came as an escape is no bad byte
                return "nul byte" if why == "nul byte" else "lone surrogate"
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return None


def _bad_bytes(text: str) -> bool:
    return why_unstorable(text) == "not utf-8"


def values_of(text: str) -> Iterator[tuple[Any, str]]:
    """Each value of a text with nothing but values in it, and its own text. Broken."""
    at = BLANK.match(text).end()  # type: ignore[union-attr]
    while at < len(text):
        value, end = _value(text, at)
        yield value, text[at:end]
        at = BLANK.match(text, end).end()  # type: ignore[union-attr]


def elements_of(text: str) -> Iterator[tuple[Any, str]]:
    """Each element of what stands between an array's brackets, and its own text. Broken."""
    at = BLANK.match(text).end()  # type: ignore[union-attr]
    while at < len(text):
        value, end = _value(text, at)
        yield value, text[at:end]
        at = BLANK.match(text, end).end()  # type: ignore[union-attr]
        if at < len(text):
            if text[at] != ",":
                raise Broken("no comma between two records")
            at = BLANK.match(text, at + 1).end()  # type: ignore[union-attr]


def _value(text: str, at: int) -> tuple[Any, int]:
    try:
        return decode(text, at)
    except RecursionError:
        raise Broken("nested too deep") from None
    except json.JSONDecodeError as error:
        raise Broken(error.msg.rstrip(": ")) from None
