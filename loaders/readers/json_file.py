"""JSON: an array, pages with a list in them, single objects, or one record a line.

The file is a sequence of values. An array gives its elements, an object with a list at the table's
`records` gives that list's elements, any other object is a record. A broken line rejects its
record; a broken element of an array or a page fails its file, and so does an end inside a record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import msgspec

from loaders.files import RawFile
from loaders.readers import guess
from loaders.readers.json_fast import Fast, raw_elements
from loaders.readers.json_strict import PAGE, Strict
from loaders.readers.json_window import BLANK, CHUNK, Broken, Window, decode
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Found, Pieces, Records, UnreadableError

TRIES = 3
_LINES = re.compile(r"\.(jsonl|ndjson)(\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Block:
    """Text of whole values: `lines`, or elements of an array with commas between them.

    `last`: the file ends with it. `alone`: it is no part of an array or a page.
    """

    text: str
    lines: bool = False
    last: bool = False
    alone: bool = False


def read_json(
    file: RawFile, stream: IO[bytes], mapping: Mapping, found: Found, fast: Fast | None = None
) -> Pieces:
    """The file's records as bytes for COPY, rejects to `found`; `fast` reads several files of one
    table.

    UnreadableError for a file that is cut, is broken in an array or a page, or none of whose
    records has the key.
    """
    fast = fast or Fast(mapping, found)
    fast.begin(file.path)
    return _read(file, stream, mapping, found, fast)


def read_json_rows(file: RawFile, stream: IO[bytes], mapping: Mapping, found: Found) -> Records:
    """As read_json, a row at a time, by the strict reader alone."""
    return _read(file, stream, mapping, found, Strict(mapping, found))


def has_record(file: RawFile, stream: IO[bytes], mapping: Mapping) -> bool:
    """Whether the file has any record, good or broken."""
    try:
        return any(True for _ in _blocks(Window(file, stream), file, mapping))
    except Broken:
        return True


def _read(
    file: RawFile, stream: IO[bytes], mapping: Mapping, found: Found, reader: Any
) -> Iterator[Any]:
    window = Window(file, stream)
    found.keyed = False
    start = ""
    try:
        for block in _blocks(window, file, mapping):
            if not start:
                start = block.text
                if block.alone:
                    _check_envelope(file, start, mapping, window)
            if block.lines:
                yield from reader.lines(block.text, last=block.last)
            else:
                yield from reader.elements(block.text)
    except Broken as broken:
        what = "ends in the middle" if broken.cut else "is broken"
        number = reader.number + 1
        begins = f"It begins with {guess.begins(window.begins)}" if number == 1 else ""
        raise UnreadableError(
            f"{file.path} {what}: fetch it again. Nothing was replaced. Record {number}: {broken}.",
            begins,
        ) from None
    if start and not found.keyed:
        raise guess.refuse_page(file, mapping.table, _first(start), window.begins)
    found.blank = not window.begins.strip(" \t\r\n\ufeff")


def _first(text: str) -> Any:
    try:
        return decode(text, BLANK.match(text).end())[0]  # type: ignore[union-attr]
    except (ValueError, RecursionError):
        return None


def _check_envelope(file: RawFile, text: str, mapping: Mapping, window: Window) -> None:
    """A page whose envelope has an id of its own would land as one record."""
    first = _first(text)
    if isinstance(first, dict) and (path := guess.holds_more(first, mapping.table)):
        raise UnreadableError(
            f"{file.path}: it is an envelope, its list is under `{path}`: declare records: {path}.",
            f"It begins with {guess.begins(window.begins)}",
        )


def _blocks(window: Window, file: RawFile, mapping: Mapping) -> Iterator[Block]:
    path = mapping.table.records or PAGE
    lines: bool | None = None
    while first := window.next():
        if first == "[" and not (lines and _whole_line(window)):
            window.at += 1
            yield from _array(window)
            continue
        if first == "{" and (behind := _find_list(window, path)) is not None:
            window.at = behind
            yield from _array(window)
            yield from _rest_of_page(window, path)
            continue
        if lines is None:
            lines = bool(_LINES.search(file.path)) or _are_lines(window)
        if lines:
            yield from _lines(window)
        else:
            _, text = window.value()
            yield Block(text, alone=True)


def _whole_line(window: Window) -> bool:
    return window.line().rstrip(" \t\r").endswith("]")


def _are_lines(window: Window) -> bool:
    """Whether records stand on lines: the first does, or the next line begins like one."""
    line = window.line()
    try:
        _, end = decode(line, 0)
        return end > 0
    except (ValueError, RecursionError):
        pass
    behind = window.at + len(line)
    following = BLANK.match(window.text, behind).end()  # type: ignore[union-attr]
    while following == len(window.text) and window.more():
        behind = window.at + len(line)
        following = BLANK.match(window.text, behind).end()  # type: ignore[union-attr]
    return following > behind and window.text[following : following + 1] == "{"


def _lines(window: Window) -> Iterator[Block]:
    while True:
        end = window.text.rfind("\n", window.at) + 1 or window.at
        if window.ended:
            end = len(window.text)
        if end > window.at:
            text, window.at = window.text[window.at : end], end
            if text.strip(" \t\r\n\ufeff"):
                yield Block(text, lines=True, last=window.ended, alone=True)
        if not window.more() and window.at == len(window.text):
            return


def _array(window: Window) -> Iterator[Block]:
    """The elements behind an array's bracket, and the bracket that ends it."""
    if window.next() == "]":
        window.at += 1
        return
    while True:
        if not window.next():
            raise Broken("the array does not end", cut=True)
        end = _run(window)
        text, window.at = window.text[window.at : end], end
        yield Block(text)
        mark = window.next()
        if mark not in (",", "]"):
            raise Broken("no comma between two records", cut=not mark)
        window.at += 1
        if mark == "]":
            return
        if window.next() == "]":
            raise Broken("no record behind a comma")


def _run(window: Window) -> int:
    """Where a run of whole elements ends that begins at the window's position.

    A text up to a brace is whole elements if and only if it is JSON between brackets: so the last
    braces are tried, and where they are inside of records the elements are stepped over.
    """
    if len(window.text) - window.at < CHUNK // 2:
        window.more()
    text, start, end = window.text, window.at, len(window.text)
    for _ in range(TRIES):
        end = text.rfind("}", start, end)
        if end < 0:
            break
        behind = BLANK.match(text, end + 1).end()  # type: ignore[union-attr]
        if text[behind : behind + 1] in (",", "]") and behind < len(text):
            raw = text[start : end + 1].encode("utf-8", "surrogatepass")
            try:
                raw_elements(b"[" + raw + b"]")
                return end + 1
            except (msgspec.DecodeError, RecursionError):
                continue
    return _step(window)


def _step(window: Window) -> int:
    text, at = window.text, window.at
    behind = at
    try:
        while True:
            _, behind = decode(text, at)
            following = BLANK.match(text, behind).end()  # type: ignore[union-attr]
            if text[following : following + 1] != ",":
                break
            at = BLANK.match(text, following + 1).end()  # type: ignore[union-attr]
    except (json.JSONDecodeError, RecursionError):
        pass
    if behind > window.at and behind < len(text):
        return behind
    _, found = window.value()  # reads on, or tells what is broken
    window.at -= len(found)
    return window.at + len(found)


class _More(Exception):
    """The window ends before it is known."""


def _find_list(window: Window, path: tuple[str, ...]) -> int | None:
    """Behind the bracket of the list that the object at hand has at `path`; None without one.

    Looks ahead without consuming, so a page as large as the file is never held whole.
    """
    while True:
        try:
            return _scan(window.text, window.at + 1, path)
        except _More:
            if not window.more():
                return None


def _scan(text: str, at: int, path: tuple[str, ...]) -> int | None:
    def there(at: int) -> int:
        at = BLANK.match(text, at).end()  # type: ignore[union-attr]
        if at == len(text):
            raise _More
        return at

    try:
        while True:
            at = there(at)
            if text[at] == ",":
                at = there(at + 1)
            if text[at] != '"':
                return None
            name, at = decode(text, at)
            at = there(at)
            if text[at] != ":":
                return None
            at = there(at + 1)
            if name == path[0]:
                if text[at] == "[" and len(path) == 1:
                    return at + 1
                if text[at] == "{" and len(path) > 1:
                    inner = _scan(text, at + 1, path[1:])
                    if inner is not None:
                        return inner
            _, at = decode(text, at)
    except json.JSONDecodeError as error:
        if len(text) - error.pos <= 16 or error.msg.startswith("Unterminated"):
            raise _More from None
        return None
    except RecursionError:
        return None


def _rest_of_page(window: Window, path: tuple[str, ...]) -> Iterator[Block]:
    """Consumes what follows a page's list; a second one gives its records too."""
    for depth in range(len(path), 0, -1):
        while (mark := window.next()) != "}":
            if not mark:
                raise Broken("the object does not end", cut=True)
            window.expect(",")
            if window.next() != '"':
                raise Broken("no name where it belongs", cut=not window.next())
            name, _ = window.value()
            window.expect(":")
            if depth == len(path) and name == path[-1] and window.next() == "[":
                window.at += 1
                yield from _array(window)
            else:
                window.value()
        window.at += 1
