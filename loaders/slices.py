"""Slices of a big file, cut at line ends, so that several readers share it.

What is read of a slice is what reading the whole file gives of it: a file is cut only where its
lines are its records, one each. `cut` gives the slices, `look` counts what is in one, without the
readers, and tells when that is in doubt; `numbered` decides.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from loaders.raw_file import opened, telling
from loaders.readers.csv_file import BLANK
from loaders.readers.formats import Scanned
from loaders.readers.json_strict import PAGE
from loaders.readers.json_window import decode
from loaders.readers.rows import NUL
from loaders.schema import Table

SLICE = 16 << 20
# A file with a longer line at a cut is read whole.
LINE_LIMIT = 1 << 20
_BOM = b"\xef\xbb\xbf"
# Behind an object's end, inside a string perhaps: what may be another value.
_GOES_ON = re.compile(rb"\}[ \t\r]*[^ \t\r\n,}\]]")
# A letter or a digit in another writing: so may a page's name be written.
_ESCAPED = re.compile(rb"\\u00(?:3[0-9]|[4-7])")


@dataclass(frozen=True)
class Slice:
    """Bytes of a file, to its end where `end` is None. `first` is the number of the first record
    in them, 0 for a CSV's header; None: the slice is the whole file."""

    scanned: Scanned
    start: int = 0
    end: int | None = None
    first: int | None = None

    @property
    def bytes(self) -> int:
        return (self.scanned.file.bytes if self.end is None else self.end) - self.start


def cut(scanned: Scanned, table: Table) -> list[Slice]:
    """A file's slices, not numbered yet; one that is the file when it is small or can't be cut."""
    file = scanned.file
    plain = isinstance(file.location, Path) and not file.compressed and table.encoding == "utf-8"
    lines = scanned.header is not None if file.format == "csv" else file.format == "json"
    ends = [0]
    if plain and lines and (table.records or PAGE)[0].isascii():
        with telling(file.location), open(str(file.location), "rb") as raw:  # noqa: PTH123
            while ends[-1] + SLICE < file.bytes:
                raw.seek(ends[-1] + SLICE)
                last = raw.readline(LINE_LIMIT)
                if raw.tell() >= file.bytes:
                    break
                if not last.endswith(b"\n"):
                    return [Slice(scanned)]
                ends.append(raw.tell())
    if len(ends) == 1:
        return [Slice(scanned)]
    return [Slice(scanned, *place) for place in pairwise([*ends, file.bytes])]


def look(part: Slice, table: Table) -> int | None:
    """How many records are in a slice's lines; None when that is in doubt."""
    with opened_slice(part) as stream:
        data = stream.read()
    data = data if part.start else data.removeprefix(_BOM)
    count = _csv_lines if part.scanned.file.format == "csv" else _json_lines
    return count(data, table.records or PAGE) or None


def numbered(parts: list[Slice], counts: list[int | None]) -> tuple[list[Slice], int | None]:
    """The slices of a file with their records' numbers, and how many there are in all; when one
    is in doubt, the file as a whole."""
    number = 0 if parts[0].scanned.file.format == "csv" else 1
    found = []
    for part, count in zip(parts, counts, strict=True):
        if count is None:
            return [Slice(part.scanned)], None
        found.append(replace(part, first=number))
        number += count
    return found, number - 1


def opened_slice(part: Slice, encoding: str = "utf-8") -> AbstractContextManager[IO[bytes]]:
    """The slice's bytes, as `opened` has those of a whole file."""
    if part.end is None:
        return opened(part.scanned.file, encoding=encoding)
    return _opened_range(part.scanned.file.location, part.start, part.bytes)


@contextmanager
def _opened_range(location: Any, start: int, size: int) -> Iterator[IO[bytes]]:
    with telling(location), location.open("rb") as raw:
        raw.seek(start)
        yield io.BytesIO(raw.read(size))


def _csv_lines(data: bytes, _page: tuple[str, ...]) -> int:
    """0 where a record may go on behind its line, or end within it."""
    if b'"' in data or _BOM in data or data.count(b"\r") != data.count(b"\r\n"):
        return 0
    blank = BLANK.encode()
    return sum(1 for line in data.split(b"\n") if line.strip(blank))


def _json_lines(data: bytes, page: tuple[str, ...]) -> int:
    """0 where a line may be anything but one record."""
    if b'"%s"' % page[0].encode() in data or _ESCAPED.search(data):
        return 0  # a page perhaps, whose list has the records
    goes_on = _GOES_ON.search(data)
    records = 0
    for line in data.split(b"\n"):
        text = line.strip(b" \t\r")
        if text and (text[:1] != b"{" or (goes_on and not _is_one(text))):
            return 0
        records += bool(text)
    return records


def _is_one(line: bytes) -> bool:
    """Whether a line that begins with a brace is one record: a broken one is."""
    text = line.decode("utf-8", "surrogateescape").replace("\0", NUL)
    try:
        return decode(text, 0)[1] == len(text)
    except (ValueError, RecursionError):
        return True
