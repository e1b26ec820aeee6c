"""JSON: an array, pages with a list in them, single objects, or one record a line.

The file is a sequence of values. An array gives its elements, an object with a list at the table's
`records` gives that list's elements, any other object is a record. A broken line rejects its
record; a broken element of an array or a page fails its file, and so does an end inside a record.
"""

from __future__ import annotations

from typing import IO, Any

from loaders.raw_file import RawFile
from loaders.readers import guess
from loaders.readers.json_blocks import Block, blocks_of
from loaders.readers.json_records import Reader
from loaders.readers.json_window import Broken, Window, decode
from loaders.readers.mapping import Mapping
from loaders.readers.rows import NUL, Found, Pieces, UnreadableError


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
        for block in blocks_of(window, file, mapping, lines=first is not None):
            if not begin:
                begin.append(_first(block))
                if not reader.number:
                    _check_envelope(file, begin[0], mapping, window)
            if made := reader.lines(block):
                yield b"".join(made), len(made)
    except (Broken, RecursionError) as error:
        broken = error if isinstance(error, Broken) else Broken("nested too deep")
        what = "ends in the middle" if broken.cut else "is broken"
        number = reader.number + 1
        begins = guess.begins(window.begins, mapping.table)
        begins = f"It begins with {begins}" if number == 1 else ""
        head = window.begins.replace(NUL, "\0").encode("utf-8", "surrogateescape")
        if number == 1 and (kind := guess.kind_of_bytes(head)):
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
    value = block.values[0]
    try:
        if isinstance(value, dict):
            return {name: decode(bytes(one).decode(), 0)[0] for name, one in value.items()}
        return decode(value if isinstance(value, str) else bytes(value).decode(), 0)[0]
    except (ValueError, RecursionError):
        return None


def _check_envelope(file: RawFile, first: Any, mapping: Mapping, window: Window) -> None:
    """A page whose envelope has an id of its own would land as one record."""
    declared = ".".join(mapping.table.records)
    path = guess.holds_more(first, mapping.table) if isinstance(first, dict) else None
    if path and path != declared:
        raise UnreadableError(
            f"{file.path}: it is an envelope, its list is under `{path}`: declare records: {path}.",
            f"It begins with {guess.begins(window.begins, mapping.table)}",
        )
