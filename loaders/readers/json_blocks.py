"""A JSON file as blocks of whole values, in bounded memory, whatever its layout."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import msgspec

from loaders.raw_file import RawFile
from loaders.readers.json_cells import PAGE
from loaders.readers.json_window import BLANK, CHUNK, Broken, Window, as_bytes, decode
from loaders.readers.mapping import Mapping

TRIES = 3
_LINES = re.compile(r"\.(jsonl|ndjson)(\.gz)?$", re.IGNORECASE)
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


# Whole values: lines, each with any number of them in it, or (False) elements of an array.
Block = tuple[list[bytes], bool]


def blocks_of(
    window: Window, file: RawFile, mapping: Mapping, *, lines: bool = False
) -> Iterator[Block]:
    """The file's blocks. `lines`: it is known that its records stand on lines."""
    path = mapping.table.records or PAGE
    looked = lines
    while first := window.next():
        if first == "[" and not (lines and _whole_line(window)):
            window.at += 1
            yield from _array(window, mapping)
            continue
        if first == "{" and (behind := _find_list(window, path)) is not None:
            window.at = behind
            yield from _array(window, mapping)
            yield from _rest_of_page(window, mapping)
            continue
        if not looked:
            looked, lines = True, bool(_LINES.search(file.path)) or _are_lines(window)
        if lines:
            for found in window.lines():
                yield found, True
        else:
            yield [as_bytes(window.value()[1])], False


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


def _array(window: Window, mapping: Mapping) -> Iterator[Block]:
    """The elements behind an array's bracket, and the bracket that ends it."""
    if window.next() == "]":
        window.at += 1
        return
    while True:
        if not window.next():
            raise Broken("the array does not end", cut=True)
        yield _run(window), False
        mark = window.next()
        if mark not in (",", "]"):
            raise Broken("no comma between two records", cut=not mark)
        window.at += 1
        if mark == "]":
            return
        if window.next() == "]":
            raise Broken("no record behind a comma")


def _run(window: Window) -> list[bytes]:
    """A run of whole elements that begins at the window's position, consumed.

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
            try:
                found = _elements(f"[{text[start : end + 1]}]".encode())
                window.at = end + 1
                return list(map(bytes, found))
            except (UnicodeEncodeError, msgspec.DecodeError, RecursionError):
                continue
    return _step(window)


def _step(window: Window) -> list[bytes]:
    text, at = window.text, window.at
    found = []
    try:
        while True:
            _, behind = decode(text, at)
            if behind == len(text):
                break  # a number may have more digits
            found.append(as_bytes(text[at:behind]))
            window.at = behind
            following = BLANK.match(text, behind).end()  # type: ignore[union-attr]
            if text[following : following + 1] != ",":
                break
            at = BLANK.match(text, following + 1).end()  # type: ignore[union-attr]
    except (json.JSONDecodeError, RecursionError):
        pass
    return found or [as_bytes(window.value()[1])]  # which reads on, or tells what is broken


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


def _rest_of_page(window: Window, mapping: Mapping) -> Iterator[Block]:
    """Consumes what follows a page's list; a second one gives its records too."""
    path = mapping.table.records or PAGE
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
                yield from _array(window, mapping)
            else:
                window.value()
        window.at += 1
