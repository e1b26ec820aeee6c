"""JSON: an array, pages with a list in them, single objects, or one record a line.

The file is a sequence of values. An array gives its elements, an object with a list at the table's
`records` gives that list's elements, any other object is a record. A broken line rejects its
record; a broken element of an array or a page fails its file, and so does an end inside a record.

Records are taken apart by msgspec, and where that has a doubt, by Python's json, which is the judge
of what a record is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import IO, Any

from loaders.raw_file import RawFile
from loaders.readers import guess
from loaders.readers.json_blocks import (
    BLANK,
    PAGE,
    Block,
    Broken,
    Window,
    as_bytes,
    as_text,
    blocks_of,
    decode,
)
from loaders.readers.json_cells import Cells
from loaders.readers.mapping import Mapping, is_list_of_objects
from loaders.readers.rows import (
    UNSTORABLE,
    Found,
    Pieces,
    Reject,
    UnreadableError,
    json_text,
    line,
    line_end,
    raw_text,
    repaired,
    why_unstorable,
)

# Escapes that Postgres can't store: a NUL, half of a pair; behind another backslash, perhaps.
_UNSTORABLE = re.compile(
    rb"\\(?:u0000|u[dD][89abAB]..(?!\\u[dD][c-fC-F])|\\u(?:0000|[dD])"
    rb"|u[dD][c-fC-F](?<!\\u[dD][89abAB]..\\u[dD][c-fC-F]))"
).search


def read_json(
    file: RawFile, stream: IO[bytes], mapping: Mapping, found: Found, first: int | None = None
) -> Pieces:
    """The file's records as bytes for COPY, rejects to `found`. `first`: the stream has some of the
    file's lines alone, each one record, and this is the number of the first.

    UnreadableError for a file that is cut, is broken in an array or a page, or none of whose
    records has the key.
    """
    window, reader = Window(file, stream), Reader(mapping, found, file.path, first or 1)
    found.keyed = False
    begin: list[Any] = []
    try:
        page = mapping.table.records or PAGE
        for block in blocks_of(window, file, page, lines=first is not None):
            if not begin:
                begin.append(_first(block))
                if not reader.number:
                    _check_page(file, begin[0], mapping, window, sum(map(bool, block[0])) == 1)
            if made := reader.lines(block):
                yield b"".join(made), len(made)
    except (Broken, RecursionError) as error:
        broken = error if isinstance(error, Broken) else Broken("nested too deep")
        what = "ends in the middle" if broken.cut else "is broken"
        number = reader.number + 1
        begins = guess.begins(window.begins, mapping.table)
        begins = f"It begins with {begins}" if number == 1 else ""
        if number == 1 and (kind := guess.kind_of_bytes(as_bytes(window.begins))):
            raise UnreadableError(f"{file.path}: {kind}.", begins) from None
        raise UnreadableError(
            f"{file.path} {what}: fetch it again. Nothing was replaced. Record {number}: {broken}.",
            begins,
        ) from None
    if begin and not found.keyed:
        raise guess.refuse_page(file, mapping.table, begin[0], window.begins)
    found.blank = not window.begins.strip(" \t\r\n\ufeff")


def _first(block: Block) -> Any:
    """The first value, None for one that is broken."""
    try:
        return decode(as_text(block[0][0]), 0)[0]
    except (ValueError, RecursionError):
        return None


def _check_page(file: RawFile, first: Any, mapping: Mapping, window: Window, alone: bool) -> None:
    """An envelope or an error message with an id of its own would land as one record."""
    if isinstance(first, dict) and (said := guess.no_record(first, mapping.table, alone=alone)):
        raise UnreadableError(
            f"{file.path}: {said}.",
            f"It begins with {guess.begins(window.begins, mapping.table)}",
        )


class Reader:
    """Takes a file's blocks apart; `number` is that of the last record."""

    def __init__(self, mapping: Mapping, found: Found, path: str, first: int = 1) -> None:
        self.number = first - 1
        self._mapping, self._found = mapping, found
        self._line = Cells(mapping, found).line
        self._end = line_end(path)
        self._page = mapping.table.records or PAGE

    def lines(self, block: Block) -> list[bytes]:
        """A line for COPY of each record. A broken line is a reject; Broken for a broken element of
        an array, and where the file ends in a line."""
        values, on_lines = block
        pages = on_lines or bool(self._mapping.table.records)
        cells_of, end = self._line, self._end
        made: list[bytes] = []
        for place, raw in enumerate(values, start=1):
            if _is_storable(raw) and (cells := cells_of(raw)):
                self.number += 1
                made.append(cells + end % self.number)
            elif on_lines:
                made += self._of_line(as_text(raw), cut=place == len(values))
            else:
                for value, shown in _values_of(as_text(raw)):
                    made += self._record(value, shown, pages=pages)
        return made

    def _of_line(self, text: str, *, cut: bool) -> Iterator[bytes]:
        """The records in a line, none of a blank one. `cut`: the file may end in it."""
        text = text.strip(" \t\r\ufeff")
        try:
            values = list(_values_of(text))
        except Broken as broken:
            if cut and text[:1] in ("{", "[") and text[-1:] not in ("}", "]"):
                raise Broken(str(broken), cut=True) from None
            bad_bytes = why_unstorable(text) == "not utf-8"
            self._reject("not utf-8" if bad_bytes else f"broken json: {broken}", text)
            return
        for value, shown in values:
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, dict):
                    yield from self._record(inner, shown, pages=True)
                else:
                    self._reject("not an object", shown)

    def _reject(self, reason: str, shown: str) -> None:
        self.number += 1
        self._found.put_aside(Reject(self.number, reason, raw_text(shown)))

    def _record(self, value: Any, shown: str, *, pages: bool) -> Iterator[bytes]:
        if not isinstance(value, dict):
            raise Broken("an element is no object")
        if pages and (inner := _list_at(value, self._page)) is not None:
            for one in inner:
                yield from self._record(one, shown, pages=False)
            return
        self.number += 1
        if (UNSTORABLE.search(shown) or "\\u" in shown) and (mended := repaired(value)) != value:
            surrogate = UNSTORABLE.search(json_text(value))  # in which a NUL is an escape
            why = why_unstorable(shown) or ("lone surrogate" if surrogate else "nul byte")
            self._found.put_aside(Reject(self.number, why, raw_text(shown), landed=True))
            value = mended
        row = self._mapping.record(self.number, value, self._found)
        yield line(row) + self._end % self.number


def _is_storable(raw: bytes) -> bool:
    """Whether Postgres can store all that is in a record; False in doubt."""
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError:
            return False
    return not _UNSTORABLE(raw)


def _list_at(value: Any, path: tuple[str, ...]) -> list[Any] | None:
    """The list of objects that an object has at `path`, if it has one."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if is_list_of_objects(value) else None


def _values_of(text: str) -> Iterator[tuple[Any, str]]:
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
