"""CSV as Python's csv reads it: a quote inside an unquoted field is a character."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any

from loaders.errors import DaybookError
from loaders.files import RawFile
from loaders.opening import opened
from loaders.readers import guess
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

HEADER_LIMIT = 1 << 20
MOST_COLUMNS = 1_600  # what a table of Postgres can have
SAMPLE = 200  # records that are looked at for what a foreign writer does to ids and dates
BLANK = " \t\r\n\x0b\x0c"


class Lines:
    """The lines of a stream in UTF-8, bad bytes as lone surrogates; `ended` once all were read."""

    def __init__(self, stream: IO[bytes], path: str) -> None:
        # of its own buffer: closing this one must not close the caller's
        self._text = io.TextIOWrapper(
            io.BufferedReader(_Kept(stream), 1 << 18),  # type: ignore[arg-type]
            "utf-8-sig",
            "surrogateescape",
            newline="",
        )
        self._path = path
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        read = partial(self._text.readline, RECORD_LIMIT)
        while line := read():
            if len(line) >= RECORD_LIMIT:
                raise too_large(self._path)
            yield line
        self.ended = True


class _Kept(io.RawIOBase):
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


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
        yield "".join(taken.lines), fields, taken.wanted_more


class _Taken:
    """The lines that csv takes for one record."""

    def __init__(self, line: str, rest: Iterator[str]) -> None:
        self.lines = [line]
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
        return line


def look(file: RawFile, mapping: Mapping) -> tuple[Header | None, tuple[str, ...] | None]:
    """What the first line with content says, None when the file has no content; and the columns
    to COPY the file's bytes into as they are, None when it is to be parsed.

    DaybookError for a header that can't be used, with what it probably is.
    """
    table = mapping.table
    with opened(file, encoding=table.encoding) as stream:
        head = stream.read(HEADER_LIMIT + 1)
    if (kind := guess.kind_of_bytes(head)) is not None:
        raise UnreadableError(f"{file.path}: {kind}.", f"It begins with {_begins(head)}")
    first = next(records_of(Lines(io.BytesIO(head), file.path), table.delimiter), None)
    if first is None:
        return None, None
    line, fields, open_quote = first
    if len(head) > HEADER_LIMIT and (open_quote or not line.endswith(("\n", "\r"))):
        raise DaybookError(f"{file.path}: the header is longer than 1 MiB.")
    if open_quote:
        raise DaybookError(f"{file.path}: the header leaves a quote open.")
    if UNSTORABLE.search(line):
        raise DaybookError(
            f"{file.path}: the header is not UTF-8 ({why_unstorable(line)}): save the file as "
            "UTF-8, or declare its encoding, such as cp1252."
        )
    header = mapping.header(check_names(fields, file))
    if missing := header.missing_key():
        read = guess.begins(line, guess.HEADER_SHOWN)
        meant = guess.of_header(header.names, line, table.delimiter, table)
        raise DaybookError(
            f"{file.path}: the key column {', '.join(missing)} is missing. The header as read: "
            f"{read} ({len(header.names)} names); {meant}."
        )
    return header, _streams(file, head, header, mapping)


def check_names(fields: list[str], file: RawFile) -> list[str]:
    """The names of a header; DaybookError for names that can't be told apart."""
    names = [name.strip() for name in fields]
    if len(names) > MOST_COLUMNS:
        raise DaybookError(
            f"{file.path}: the header has {len(names)} columns; {MOST_COLUMNS} are the most."
        )
    seen: set[str] = set()
    again = []
    for place, name in enumerate(names, start=1):
        if name and name in seen:
            again.append(str(place))
        seen.add(name)
    if again:
        raise DaybookError(
            f"{file.path}: the header repeats a name, in column {', '.join(again[:20])}. "
            "Give each column a name of its own."
        )
    if "" in names:
        index = names.index("")
        hint = " Is it pandas' index column? Write the file with index=False." if not index else ""
        raise DaybookError(f"{file.path}: column {index + 1} of the header has no name.{hint}")
    return names


def _begins(head: bytes) -> str:
    """The first line, whatever it is: no value of the records behind it."""
    text = head[: 8 * guess.HEADER_SHOWN].decode("utf-8", "replace").replace("\0", "")
    return guess.begins(text.lstrip().partition("\n")[0])


def has_record(file: RawFile, mapping: Mapping) -> bool:
    """Whether anything with content follows the header."""
    with opened(file, encoding=mapping.table.encoding) as stream:
        found = records_of(Lines(stream, file.path), mapping.table.delimiter)
        return next(found, None) is not None and next(found, None) is not None


def _streams(
    file: RawFile, head: bytes, header: Header, mapping: Mapping
) -> tuple[str, ...] | None:
    """Parsed is what asks for a change of its values: a declaration, or ids and dates that the
    first records show to be a foreign writer's. Of a single column, COPY takes a blank line for a
    record."""
    columns = header.one_to_one
    if columns is None or len(columns) < 2 or mapping.table.encoding != "utf-8":
        return None
    names = mapping.names
    absent = set(names) - set(columns)
    if any(names[place] in absent for place in mapping.declared):
        return None
    habits = [
        (columns.index(names[p]), h) for p, h in mapping.habits.items() if names[p] in columns
    ]
    lines = Lines(io.BytesIO(head), file.path)
    for number, (_, fields, _) in enumerate(records_of(lines, mapping.table.delimiter)):
        whole = number and len(fields) == len(columns)
        if whole and any(habit(fields[at]) != fields[at] for at, habit in habits):
            return None
        if number == SAMPLE:
            break
    return columns


def read_csv(file: RawFile, stream: IO[bytes], mapping: Mapping, header: Header) -> Records:
    """The records of a CSV that is parsed here.

    UnreadableError when it ends inside a record; DaybookError when there are not as many records
    as `Count` finds.
    """
    count = Count(file.path, mapping.table.delimiter)
    number = 0
    told = _Counting(stream, count)
    lines = Lines(told, file.path)  # type: ignore[arg-type]
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
    if max(number - 1, 0) != count.records():
        raise DaybookError(f"{file.path}: {count.records()} records counted, {number - 1} read.")


class _Counting:
    def __init__(self, stream: IO[bytes], count: Count) -> None:
        self._stream = stream
        self._count = count

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._count.add(data)
        return data


def record_parser(header: Header) -> Callable[[int, str, list[str]], Iterator[Row | Reject]]:
    """What makes a row, or a reject, or a repaired row and its raw text, of one record."""
    width = len(header.names)

    def parse(number: int, text: str, fields: list[str]) -> Iterator[Row | Reject]:
        if len(fields) != width:
            reason = f"ragged: {len(fields)} fields, {width} expected"
            yield Reject(number, reason, raw_text(text))
            return
        if (not text.isascii() or "\0" in text) and (reason := why_unstorable(text)):
            fields = [UNSTORABLE.sub("\ufffd", field) for field in fields]
            yield Reject(number, reason, raw_text(text), landed=True)
        yield header.row(number, fields)

    return parse
