"""A JSON file as blocks of whole values, in bounded memory, whatever its layout."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator

import msgspec

from loaders.raw_file import RawFile
from loaders.readers.json_window import Broken, Window, as_bytes, decode
from loaders.schema import FieldPath

PAGE = ("results",)  # where a page keeps its list, unless it is declared
TRIES = 3
_LINES = re.compile(r"\.(jsonl|ndjson)(\.gz)?$", re.IGNORECASE)
_ENDS = re.compile(r"[ \t\n\r\ufeff]*[,\]]")  # an element of an array

# Whole values: lines, each with any number of them in it, or (False) elements of an array.
Block = tuple[list[bytes], bool]

_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


def blocks_of(window: Window, file: RawFile, path: FieldPath, *, lines: bool) -> Iterator[Block]:
    """The file's blocks; `path` leads to a page's list. `lines`: it is known that its records stand
    on lines."""
    looked = lines
    while first := window.next():
        if first == "[" and not (lines and window.line().rstrip(" \t\r").endswith("]")):
            yield from _array(window)
            continue
        if first == "{":
            window.kept = window.at
            try:
                if (yield from _object(window, path)):
                    continue
            except Broken:
                if window.kept is None:
                    raise
            window.at, window.kept = window.kept or 0, None
        if not looked:
            looked, lines = True, bool(_LINES.search(file.path)) or _are_lines(window)
        if lines:
            for found in window.lines():
                yield found, True
        else:
            yield [as_bytes(window.value()[1])], False


def _are_lines(window: Window) -> bool:
    """Whether records stand on lines: the first does, or the next line begins like one."""
    line = window.line()
    try:
        return decode(line, 0)[1] > 0
    except (ValueError, RecursionError):
        pass
    window.kept, window.at = window.at, window.at + len(line)
    begins_like_one = window.text[window.at : window.at + 1] == "\n" and window.next() == "{"
    window.at, window.kept = window.kept, None
    return begins_like_one


def _object(window: Window, path: FieldPath) -> Generator[Block, None, bool]:
    """Consumes an object, and gives the elements of the list at `path`: the larger it is, the less
    is it held whole. Returns whether there is one; Broken."""
    there = False
    mark = "{"
    while mark != "}":
        window.at += 1
        if window.next() != '"':
            if mark == "{" and window.next() == "}":
                break
            raise Broken("no name where it belongs", cut=not window.next())
        name, _ = window.value()
        window.expect(":")
        first = window.next()
        if name == path[0] and first == "[" and not path[1:]:
            there, window.kept = True, None
            yield from _array(window)
        elif name == path[0] and first == "{" and path[1:]:
            there = (yield from _object(window, path[1:])) or there
        else:
            window.value()
        mark = window.next()
        if not mark:
            raise Broken("the object does not end", cut=True)
        if mark not in (",", "}"):
            raise Broken("no ',' where it belongs")
    window.at += 1
    return there


def _array(window: Window) -> Iterator[Block]:
    """Consumes an array, and gives its elements; Broken."""
    window.at += 1
    mark = window.next()
    while mark != "]":
        if not window.next():
            raise Broken("the array does not end", cut=True)
        yield _run(window) or [as_bytes(window.value()[1])], False
        mark = window.next()
        if mark not in (",", "]"):
            raise Broken("no comma between two records", cut=not mark)
        if mark == ",":
            window.at += 1
            if window.next() == "]":
                raise Broken("no record behind a comma")
    window.at += 1


def _run(window: Window) -> list[bytes]:
    """A run of whole elements that begins at the window's position, consumed; empty where they are
    to be taken one by one.

    A text up to a brace is whole elements if and only if it is JSON between brackets: so the last
    braces are tried, which may be inside of records.
    """
    window.refill()
    text, end = window.text, len(window.text)
    for _ in range(0 if window.tried else TRIES):
        end = text.rfind("}", window.at, end)
        if end < 0:
            break
        if _ENDS.match(text, end + 1):
            try:
                found = _elements(f"[{text[window.at : end + 1]}]".encode())
            except (UnicodeEncodeError, msgspec.DecodeError, RecursionError):
                continue
            window.at = end + 1
            return list(map(bytes, found))
    window.tried = True
    return []
