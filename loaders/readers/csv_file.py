"""CSV as Python's csv reads it: a quote inside an unquoted field is a character."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO

from loaders.errors import DaybookError
from loaders.raw_file import RawFile, Stream
from loaders.readers.csv_count import Count
from loaders.readers.mapping import Header, Mapping
from loaders.readers.rows import (
    RECORD_LIMIT,
    UNSTORABLE,
    Records,
    Reject,
    Row,
    UnreadableError,
    raw_text,
    why_unstorable,
)

BLANK = " \t\r\n\x0b\x0c"


class Lines:
    """The lines of what `more(size)` gives, bad bytes as lone surrogates; `ended` once all were
    read."""

    def __init__(self, more: Callable[[int], bytes], path: str) -> None:
        buffered = io.BufferedReader(Stream(more), 1 << 18)
        self._text = io.TextIOWrapper(buffered, "utf-8-sig", "surrogateescape", newline="")
        self._path = path
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        read = partial(self._text.readline, RECORD_LIMIT)
        while line := read():
            if len(line) >= RECORD_LIMIT:
                raise too_large(self._path)
            yield line
        self.ended = True


def too_large(path: str) -> UnreadableError:
    return UnreadableError(f"{path}: a record is larger than 64 MiB; is a quote left open?")


def records_of(lines: Lines, delimiter: str) -> Iterator[tuple[str, list[str], bool]]:
    """(text, fields, open quote) of each record, its line end still on the text.

    Lines end in \\n, \\r\\n or \\r outside quotes; a blank line is no record. A BOM in the middle,
    where two files were joined, is dropped.
    """
    each = iter(lines)
    quoted = f'{delimiter}"'
    csv.field_size_limit(2 * RECORD_LIMIT)
    for line in each:
        if line[0] == "\ufeff":
            line = line[1:]
        if '"' not in line or not (line[0] == '"' or quoted in line):
            if line.strip(BLANK):
                yield line, line.rstrip("\r\n").split(delimiter), False
            continue
        taken = _Taken(line, each)
        try:
            fields = next(csv.reader(taken, delimiter=delimiter))
        except csv.Error:
            raise too_large(lines._path) from None
        yield "".join(taken.pieces + taken.lines), fields, taken.wanted_more


class _Taken:
    """The lines that csv takes for one record."""

    def __init__(self, line: str, rest: Iterator[str]) -> None:
        self.lines = [line]
        self.pieces: list[str] = []
        self._rest = rest
        self._size = len(line)
        self._given = False
        self.wanted_more = False

    def __iter__(self) -> _Taken:
        return self

    def __next__(self) -> str:
        if not self._given:
            self._given = True
            return self.lines[0]
        line = next(self._rest, None)
        if line is None:
            self.wanted_more = True
            raise StopIteration
        self._size += len(line)
        if self._size > RECORD_LIMIT:
            raise csv.Error("too large")
        self.lines.append(line)
        if len(self.lines) == 4096:  # a text of its own costs sixty bytes, however short the line
            self.pieces.append("".join(self.lines))
            self.lines.clear()
        return line


def read_csv(
    file: RawFile, stream: IO[bytes], mapping: Mapping, header: Header, first: int = 0
) -> Records:
    """The records of a CSV that is parsed here. `first`: the number of the first record in the
    stream, 0 being the header.

    UnreadableError when it ends inside a record; DaybookError when there are not as many records
    as `Count` finds.
    """
    count = Count(file.path, mapping.table.delimiter)
    number = first

    def counted(size: int) -> bytes:
        data = stream.read(size)
        count.add(data)
        return data

    lines = Lines(counted, file.path)
    parse = record_parser(header)
    for text, fields, open_quote in records_of(lines, mapping.table.delimiter):
        if number == 0:
            number = 1
            continue
        ragged = len(fields) != len(header.names)
        if open_quote or (ragged and not text.endswith(("\n", "\r"))):
            what = "in an open quote" if open_quote else "without a line end"
            raise UnreadableError(
                f"{file.path}: it ends inside record {number}, {what}: it is cut, fetch it again. "
                "Nothing was replaced."
            )
        yield from parse(number, text, fields)
        number += 1
    read = max(number - first - 1, 0)  # but for the first, as Count has it
    if read != count.records():
        raise DaybookError(f"{file.path}: {count.records()} records counted, {read} read.")


def record_parser(header: Header) -> Callable[[int, str, list[str]], Iterator[Row | Reject]]:
    """What makes a row, or a reject, or a repaired row and its raw text, of one record."""
    names = list(header.names)
    width = len(names)

    def parse(number: int, text: str, fields: list[str]) -> Iterator[Row | Reject]:
        if len(fields) != width:
            reason = f"ragged: {len(fields)} fields, {width} expected"
            yield Reject(number, reason, raw_text(text))
            return
        if fields == names:
            yield Reject(number, "the header again: files were joined", raw_text(text))
            return
        if (not text.isascii() or "\0" in text) and (why := why_unstorable(text)):
            fields = [UNSTORABLE.sub("\ufffd", field) for field in fields]
            yield Reject(number, why, raw_text(text), landed=True)
        yield header.row(number, fields)

    return parse
