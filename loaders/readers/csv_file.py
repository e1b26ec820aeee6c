"""CSV as Python's csv reads it: a quote inside an unquoted field is a character. When COPY would
read the same, it gets the file's bytes unchanged."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from itertools import islice
from typing import IO

from loaders.errors import DaybookError, many
from loaders.raw_file import RawFile, Stream, opened
from loaders.readers import guess, rows
from loaders.readers.csv_count import Count
from loaders.readers.heading import first_line, headed
from loaders.readers.mapping import Header, Mapping
from loaders.readers.rows import Records, Reject, UnreadableError
from loaders.schema import Table

HEADER_LIMIT = 1 << 20
BLANK = " \t\r\n\x0b\x0c"


def read_csv_header(file: RawFile, mapping: Mapping) -> Header | None:
    """The header, the first line with content that is not skipped; None when there is none.
    DaybookError, with a guess at the cause, when it can't be used."""
    table = mapping.table
    with opened(file, encoding=table.encoding) as stream:
        head = stream.read(HEADER_LIMIT + 1)
    if (kind := guess.kind_of_bytes(head)) is not None:
        raise UnreadableError(f"{file.path}: {kind}.", f"It begins with {_begins(head, table)}")
    records = records_of(io.BytesIO(head).read, file.path, table.delimiter)
    first = first_line(records, file, mapping)
    if first is None:
        return None
    line, fields, open_quote = first
    if len(head) > HEADER_LIMIT and (open_quote or not line.endswith(("\n", "\r"))):
        raise DaybookError(f"{file.path}: the header is longer than 1 MiB.")
    if open_quote:
        raise DaybookError(f"{file.path}: the header leaves a quote open.")
    if rows.UNSTORABLE.search(line):
        raise DaybookError(
            f"{file.path}: the header is not UTF-8 ({rows.why_unstorable(line)}): save the file as "
            "UTF-8, or declare its encoding, such as cp1252."
        )
    if (advice := guess.excels_line(line, table.delimiter)) is not None:
        raise DaybookError(f"{file.path}: {advice}.")
    below = (names for _, names, _ in islice(records, guess.TITLE_LINES))
    return headed(fields, file, mapping, f"The header as read: {line}", below, line)


def _begins(head: bytes, table: Table) -> str:
    """What the file begins with: only its first line, since later ones hold values."""
    text = head[: 8 * guess.HEADER_SHOWN].decode("utf-8", "replace").replace("\0", "")
    return guess.begins(text.lstrip().partition("\n")[0], table)


def records_of(
    more: Callable[[int], bytes], path: str, delimiter: str
) -> Iterator[tuple[str, list[str], bool]]:
    """(text with its line end, fields, whether a quote is open) of each record in the bytes that
    `more(size)` gives; bad bytes are lone surrogates. UnreadableError for a record over 64 MiB.

    Lines end in \\n, \\r\\n or \\r outside quotes; a blank line is no record. A BOM in the middle,
    where two files were joined, is dropped.
    """
    buffered = io.BufferedReader(Stream(more), 1 << 18)
    lines = io.TextIOWrapper(buffered, "utf-8-sig", "surrogateescape", newline="")
    # the record's text; a list of lines would cost sixty more bytes a line
    record = io.StringIO(newline="")
    open_quote = False

    def lines_of_record() -> Iterator[str]:
        nonlocal open_quote
        while line := lines.readline(rows.RECORD_LIMIT):
            size = record.tell()
            if not size and line[0] == "\ufeff":
                line = line[1:]
            if size + len(line) >= rows.RECORD_LIMIT:
                raise UnreadableError(
                    f"{path}: a record is larger than 64 MiB; is a quote left open?"
                )
            record.write(line)
            yield line
        open_quote = record.tell() > 0  # the input ended while csv asked for more of a record

    csv.field_size_limit(2 * rows.RECORD_LIMIT)
    for fields in csv.reader(lines_of_record(), delimiter=delimiter):
        text = record.getvalue()
        record.seek(0)
        record.truncate()
        if fields[1:] or text.strip(BLANK):
            yield text, fields, open_quote


def read_csv(file: RawFile, stream: IO[bytes], mapping: Mapping, header: Header) -> Records:
    """The records of a CSV, or of a slice of one, that is parsed here.

    UnreadableError when it ends inside a record; DaybookError when there are not as many records
    as `Count` finds.
    """
    delimiter = mapping.table.delimiter
    count = Count(file.path, delimiter)
    names = list(header.names)
    first = number = file.first or -mapping.table.skip_lines

    def counted(size: int) -> bytes:
        data = stream.read(size)
        count.add(data)
        return data

    for text, fields, open_quote in records_of(counted, file.path, delimiter):
        if number < 1:
            number += 1
            continue
        ragged = len(fields) != len(names)
        if open_quote or (ragged and not text.endswith(("\n", "\r"))):
            what = "in an open quote" if open_quote else "without a line end"
            raise UnreadableError(
                f"{file.path}: it ends inside record {number}, {what}: it is cut, fetch it again. "
                "Nothing was replaced.",
                f"It begins with {guess.begins(delimiter.join(names), mapping.table)}",
            )
        if ragged:
            reason = f"ragged: {len(fields)} fields, {len(names)} expected"
            if len(fields) > len(names) and not any(fields[len(names) :]):
                reason += f"; the line {guess.ENDS_SO}"
            yield Reject(number, reason, rows.raw_text(text))
        elif fields[0].strip() == names[0] and [field.strip() for field in fields] == names:
            yield Reject(number, "the header again: files were joined", rows.raw_text(text))
        else:
            if (not text.isascii() or "\0" in text) and (why := rows.why_unstorable(text)):
                fields = [rows.UNSTORABLE.sub("\ufffd", field) for field in fields]
                yield Reject(number, why, rows.raw_text(text), landed=True)
            yield header.row(number, fields)
        number += 1
    read = max(number - first - 1, 0)  # Count leaves out the first, as a header
    if read != count.records():
        raise DaybookError(f"{file.path}: {many(count.records(), 'record')} counted, {read} read.")
