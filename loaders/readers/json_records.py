"""JSON's texts taken apart into records: by msgspec, and where that has a doubt, by Python's json,
which is the judge of what a record is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from loaders.readers.json_blocks import PAGE, Block
from loaders.readers.json_cells import Cells, Fields, fields_of
from loaders.readers.json_window import BLANK, Broken, decode
from loaders.readers.mapping import Mapping
from loaders.readers.rows import (
    UNSTORABLE,
    Found,
    Reject,
    json_text,
    line_end,
    raw_text,
    repaired,
    why_unstorable,
)

# A NUL or half of a pair, written as an escape: Postgres can store neither.
_ESCAPED = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])").search
Records = Iterator[Fields | Reject]


class Reader:
    """Takes a file's blocks apart; `number` is that of the last record."""

    def __init__(self, mapping: Mapping, found: Found, path: str, first: int = 1) -> None:
        self.number = first - 1
        self._line = Cells(mapping, found).line
        self._put_aside = found.put_aside
        self._end = line_end(path)
        self._declared = mapping.table.records
        self._page = self._declared or PAGE

    def lines(self, block: Block) -> list[bytes]:
        """A line for COPY of each record. A broken line is a reject; Broken for a broken element of
        an array, and where the file ends in a line."""
        pages = block.lines or bool(self._declared)
        page, line, end, number = self._page[0], self._line, self._end, self.number
        made: list[bytes] = []
        for place, text in enumerate(block.values, start=1):
            fields = text if isinstance(text, dict) else quick(text)
            if fields is not None and not (pages and page in fields):
                number += 1
                made.append(line(fields) + end % number)
                continue
            self.number = number
            if block.lines:
                records = self._of_line(text, cut=block.last and place == len(block.values))
            else:
                records = self._of_element(text, pages=pages)
            for record in records:
                if isinstance(record, Reject):
                    self._put_aside(record)
                else:
                    made.append(line(record) + end % self.number)
            number = self.number
        self.number = number
        return made

    def _of_element(self, text: Any, *, pages: bool) -> Records:
        shown = text if isinstance(text, str) else bytes(text).decode()
        for value, own in values_of(shown):
            yield from self._record(value, own, pages=pages)

    def _of_line(self, line: str, *, cut: bool) -> Records:
        """A line's values, none of a blank one. `cut`: the file may end in it."""
        line = line.strip(" \t\r\ufeff")
        before = self.number
        try:
            values = list(values_of(line))
        except Broken as broken:
            if cut and line[:1] in ("{", "[") and line[-1:] not in ("}", "]"):
                raise Broken(str(broken), cut=True) from None
            self.number = before + 1
            bad_bytes = why_unstorable(line) == "not utf-8"
            reason = "not utf-8" if bad_bytes else f"broken json: {broken}"
            yield Reject(self.number, reason, raw_text(line))
            return
        for value, shown in values:
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, dict):
                    yield from self._record(inner, shown, pages=True)
                else:
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
        if (UNSTORABLE.search(shown) or "\\u" in shown) and (why := _why(value, shown)):
            value = repaired(value)
            yield Reject(self.number, why, raw_text(shown), landed=True)
        yield fields_of(json_text(value).encode())


def quick(text: Any) -> Fields | None:
    """A record's fields; None in doubt whether it is one that can be stored as it is."""
    try:
        raw = text.encode() if isinstance(text, str) else bytes(text)
        return None if b"\\u" in raw and _ESCAPED(raw) else fields_of(raw)
    except (UnicodeEncodeError, msgspec.DecodeError, RecursionError):
        return None


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


def values_of(text: str) -> Iterator[tuple[Any, str]]:
    """Each value of a text with nothing but values in it, and its own text. Broken."""
    at = BLANK.match(text).end()  # type: ignore[union-attr]
    while at < len(text):
        try:
            value, end = decode(text, at)
        except RecursionError:
            raise Broken("nested too deep") from None
        except json.JSONDecodeError as error:
            raise Broken(error.msg.rstrip(": ")) from None
        yield value, text[at:end]
        at = BLANK.match(text, end).end()  # type: ignore[union-attr]
