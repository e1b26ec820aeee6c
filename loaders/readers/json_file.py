"""JSON: an array, pages with a list in them, single objects, or one record a line.

The file is a sequence of values. An array gives its elements, an object with a list at the table's
`records` gives that list's elements, any other object is a record. A broken line rejects its
record; a broken element of an array or a page fails its file, and so does an end inside a record.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from loaders.raw_file import RawFile
from loaders.readers import guess
from loaders.readers.json_blocks import blocks_of
from loaders.readers.json_fast import Fast
from loaders.readers.json_strict import Strict
from loaders.readers.json_window import BLANK, Broken, Window, decode
from loaders.readers.mapping import Mapping
from loaders.readers.rows import NUL, Found, Pieces, Records, UnreadableError


def read_json(
    file: RawFile,
    stream: IO[bytes],
    mapping: Mapping,
    found: Found,
    fast: Fast | None = None,
    first: int | None = None,
) -> Pieces:
    """The file's records as bytes for COPY, rejects to `found`; `fast` reads several files of one
    table. `first`: the stream has some of the file's lines alone, each one record, and this is the
    number of the first.

    UnreadableError for a file that is cut, is broken in an array or a page, or none of whose
    records has the key.
    """
    fast = fast or Fast(mapping, found)
    fast.begin(file.path, first or 1)
    return _read(file, stream, mapping, found, fast, lines=first is not None)


def read_json_rows(
    file: RawFile, stream: IO[bytes], mapping: Mapping, found: Found, first: int | None = None
) -> Records:
    """As read_json, a row at a time, by the strict reader alone."""
    reader = Strict(mapping, found)
    reader.number = (first or 1) - 1
    return _read(file, stream, mapping, found, reader, lines=first is not None)


def _read(
    file: RawFile,
    stream: IO[bytes],
    mapping: Mapping,
    found: Found,
    reader: Any,
    *,
    lines: bool = False,
) -> Iterator[Any]:
    window = Window(file, stream)
    found.keyed = False
    start = ""
    try:
        for block in blocks_of(window, file, mapping, lines=lines):
            if not start:
                start = block.text
                if not reader.number:
                    _check_envelope(file, start, mapping, window)
            if block.lines:
                yield from reader.lines(block.text, last=block.last)
            else:
                yield from reader.elements(block.text)
    except Broken as broken:
        what = "ends in the middle" if broken.cut else "is broken"
        number = reader.number + 1
        begins = f"It begins with {guess.begins(window.begins)}" if number == 1 else ""
        head = window.begins.replace(NUL, "\0").encode("utf-8", "surrogateescape")
        if number == 1 and (kind := guess.kind_of_bytes(head)):
            raise UnreadableError(f"{file.path}: {kind}.", begins) from None
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
    first, declared = _first(text), ".".join(mapping.table.records)
    path = guess.holds_more(first, mapping.table) if isinstance(first, dict) else None
    if path and path != declared:
        raise UnreadableError(
            f"{file.path}: it is an envelope, its list is under `{path}`: declare records: {path}.",
            f"It begins with {guess.begins(window.begins)}",
        )
