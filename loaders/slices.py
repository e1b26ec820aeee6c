"""Slices of a big file, cut at line ends, so that several readers share it.

A file is cut only when each of its lines is one record, so that its slices give the same records as
the whole. `cut` makes the slices. `count_records` counts a slice's records without the readers, or
is in doubt. `numbered` then numbers the slices or keeps the file whole. `shares` deals out all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from loaders.raw_file import RawFile, opened
from loaders.readers.csv_count import MustBeParsed, QuickCount
from loaders.readers.csv_file import BLANK
from loaders.readers.json_blocks import PAGE, as_text, value_in
from loaders.schema import Table

SLICE = 4 << 20
# A file that has a longer line at a cut is read whole.
LINE_LIMIT = 1 << 20
# In bytes: what opening a file costs, as reading them; the least that is worth a process.
OPENING, WORTH = 4 << 10, 8 << 20
_BOM = b"\xef\xbb\xbf"
_BLANK_LINE = re.compile(rb"\n[ \t\r\x0b\x0c]*(?:\n|(?<!\n)\Z)")
# What may be another value after an object's end (or is inside a string).
_MORE_FOLLOWS = re.compile(rb"\}[ \t\r]*[^ \t\r\n,}\]]")
# An escaped letter or digit: a page's name may be written so.
_ESCAPED = re.compile(rb"\\u00(?:3[0-9]|[4-7])")


# Calls `count_records` for each slice.
Counted = Callable[[list[RawFile], Table], list[int | None]]


def cut(file: RawFile, table: Table) -> list[RawFile]:
    """A file's slices, without numbers; the file itself when it is small or can't be cut."""
    is_plain = not file.compressed and table.encoding == "utf-8"
    has_header = file.header is not None and not table.skip_lines
    has_lines = has_header if file.format == "csv" else file.format == "json"
    ends = [0]
    while is_plain and has_lines and (table.records or PAGE)[0].isascii():
        if (at := ends[-1] + SLICE) >= file.bytes:
            break
        with opened(replace(file, start=at, end=min(at + LINE_LIMIT, file.bytes))) as stream:
            last = stream.readline()
        if (end := at + len(last)) >= file.bytes:
            break
        if not last.endswith(b"\n"):
            return [file]
        ends.append(end)
    places = pairwise([*ends, file.bytes]) if ends[1:] else ()
    return [replace(file, start=start, end=end) for start, end in places] or [file]


def count_records(part: RawFile, table: Table) -> int | None:
    """The number of records in a slice (a CSV's header counts); None when that is in doubt."""
    with opened(part) as stream:
        data = stream.read(part.size)
    data = data if part.start else data.removeprefix(_BOM)
    if part.format == "csv":
        return _csv_lines(data, table.delimiter) or None
    return _json_lines(data, table.records or PAGE) or None


def numbered(parts: list[RawFile], counts: list[int | None]) -> list[RawFile]:
    """A file's slices with the numbers of their records; if a count is in doubt, the whole file."""
    number = 0 if parts[0].format == "csv" else 1
    slices = []
    for part, count in zip(parts, counts, strict=True):
        if count is None:
            return [replace(part, start=0, end=None)]
        slices.append(replace(part, first=number, records=count - (number == 0)))
        number += count
    return slices


def slices_of(files: Sequence[RawFile], table: Table, counted: Counted) -> list[list[RawFile]]:
    """Each file's slices; where there are several, with numbers."""
    cuts = [cut(file, table) for file in files]
    counts = iter(counted([part for parts in cuts if parts[1:] for part in parts], table))
    return [
        numbered(parts, [next(counts) for _ in parts]) if parts[1:] else parts for parts in cuts
    ]


def shares(
    files: Sequence[RawFile], table: Table, workers: int, counted: Counted
) -> list[list[RawFile]]:
    """The slices that each of so many workers reads, in the files' order."""
    if workers == 1:
        return [[*files]]
    dealt: list[list[RawFile]] = [[] for _ in range(workers)]
    total, done = _weight(files), 0
    for parts in slices_of(files, table, counted):
        for part in parts:
            middle = done + (part.size + OPENING) // 2
            share = dealt[min(middle * workers // total, workers - 1)]
            done += part.size + OPENING
            if part.start and share:  # neighbours in one share become one slice
                before = share.pop()
                records = (before.records or 0) + (part.records or 0)
                part = replace(before, end=part.end, records=records)
            share.append(part)
    return [share for share in dealt if share]


def workers_for(files: Sequence[RawFile], workers: int) -> int:
    """How many workers, of those at hand, are worth their cost for these files."""
    return max(1, min(workers, _weight(files) // WORTH))


def _weight(files: Sequence[RawFile]) -> int:
    return sum(file.bytes + OPENING for file in files)


def _csv_lines(data: bytes, delimiter: str) -> int:
    """The number of records, header included; 0 when a record may not be exactly one line."""
    if (b"\xef" in data and _BOM in data) or data.count(b"\r") != data.count(b"\r\n"):
        return 0
    if data[:1].isspace() or _BLANK_LINE.search(data):
        texts = [] if b'"' in data else data.split(b"\n")
        return sum(1 for text in texts if text.strip(BLANK.replace(delimiter, "").encode()))
    if b'"' not in data:
        return data.count(b"\n") + (not data.endswith(b"\n"))
    count = QuickCount("", delimiter, header=False)
    try:
        count.add(data)
        lines = count.records()
    except MustBeParsed:
        return 0
    # If each slice that begins outside quotes ends outside, then all begin outside.
    return 0 if count.quoted else lines


def _json_lines(data: bytes, page: tuple[str, ...]) -> int:
    """The number of records; 0 when a line may be anything but one record."""
    if b'"%s"' % page[0].encode() in data or _ESCAPED.search(data):
        return 0  # a page perhaps, whose list has the records
    more_follows = _MORE_FOLLOWS.search(data)
    records = 0
    for line in data.split(b"\n"):
        text = line.strip(b" \t\r")
        if text and (text[:1] != b"{" or (more_follows and not _is_single(text))):
            return 0
        records += bool(text)
    return records


def _is_single(line: bytes) -> bool:
    """Whether a line that begins with a brace is one record; a broken one counts as one."""
    text = as_text(line)
    return value_in(text)[1] in (0, len(text))
