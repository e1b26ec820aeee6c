"""CSV as Postgres reads it: a quote opens and closes wherever it stands, `""` inside is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO

from loaders.errors import DaybookError
from loaders.files import RawFile, UnreadableError, opened
from loaders.records import RECORD_LIMIT, Fields, Records, Reject, Row, json_text, raw_text
from loaders.sources import Table

CHUNK = 1 << 20
_BOM = b"\xef\xbb\xbf"


def csv_header(file: RawFile) -> tuple[str, ...] | None:
    """The names in a CSV's first line with content; None when it has no content.

    DaybookError for a header that can't be used, UnreadableError for a cut gzip.
    """
    head = b""
    with opened(file) as stream:
        while chunk := stream.read(CHUNK):
            head += chunk
            if header := _header(head, file, at_end=False):
                return header
    return _header(head, file, at_end=True)


def csv_has_record(file: RawFile) -> bool:
    """Whether anything with content follows the header."""
    with opened(file) as stream:
        return any(number for number, *_ in records_of(chunks_of(stream)))


class Count:
    """Counts a CSV's records by the line ends outside quotes, without parsing a field.

    This is the count that COPY's and the parser's are held against. Blank lines are no records:
    to leave them out costs three times as much, so COPY, which takes none, is counted `quick`.
    """

    def __init__(self, file: RawFile, *, quick: bool = False) -> None:
        self._file = file
        self._quick = quick
        self._quoted = False
        self._rest = b""
        self._since = 0
        self._first = True
        self._lines = 0

    def add(self, chunk: bytes) -> None:
        """Takes the next bytes; UnreadableError for a record over 64 MiB."""
        if self._first:
            chunk = chunk.removeprefix(_BOM)
            self._first = False
            # COPY takes a blank first line for the header: counted less, it is parsed here.
            self._lines -= self._quick and chunk[:1].isspace()
        # Pieces between quotes are outside and inside by turns: what is inside goes.
        parts = chunk.split(b'"')
        outside = b'"'.join(parts[self._quoted :: 2])
        if self._quoted and len(parts) > 1:
            outside = b'"' + outside
        self._quoted ^= not len(parts) & 1
        if self._quoted:
            outside += b'"'
        before = self._lines
        (self._add_quickly if self._quick else self._add_lines)(outside)
        self._since = len(chunk) if self._lines > before else self._since + len(chunk)
        if self._since > RECORD_LIMIT:
            raise UnreadableError(
                f"{self._file.path}: record {max(self._lines, 1)} is larger than 64 MiB; "
                "is a quote left open?"
            )

    def records(self) -> int:
        """The records of the whole file; its header is none of them."""
        left = self._rest not in b"\r\n" if self._quick else self._filled(self._rest)
        return max(0, self._lines + left - 1)

    @staticmethod
    def _filled(text: bytes) -> int:
        return sum(map(bool, map(bytes.strip, text.splitlines())))

    def _add_quickly(self, outside: bytes) -> None:
        self._lines += outside.count(b"\n")
        if returns := outside.count(b"\r"):
            self._lines += returns - outside.count(b"\r\n")
        if self._rest == b"\r" and outside[:1] == b"\n":
            self._lines -= 1
        self._rest = outside[-1:] or self._rest

    def _add_lines(self, outside: bytes) -> None:
        text = self._rest + outside
        # A last \r may be half of \r\n, so it waits for the next chunk.
        cut = text.rfind(b"\n") + 1 or text.rfind(b"\r", 0, -1) + 1
        self._lines += self._filled(text[:cut])
        self._rest = text[cut:]


def _header(head: bytes, file: RawFile, *, at_end: bool) -> tuple[str, ...] | None:
    """The names in the first line with content; None while it isn't there."""
    _, line, open_quote = next(records_of(iter([head])), (0, b"", False))
    if not at_end and (open_quote or not line.endswith((b"\n", b"\r"))):
        if len(line) > CHUNK:
            raise DaybookError(f"{file.path}: the header is longer than 1 MiB.")
        return None
    if open_quote:
        raise DaybookError(f"{file.path}: the header leaves a quote open.")
    if not line:
        return None
    try:
        names = fields_of(line.decode().rstrip("\r\n"))
    except UnicodeDecodeError:
        raise DaybookError(f"{file.path}: the header is not UTF-8.") from None
    names = [name.strip() for name in names]
    again = [str(n) for n, name in enumerate(names, start=1) if name and name in names[: n - 1]]
    if again:
        raise DaybookError(
            f"{file.path}: the header repeats a name, in column {', '.join(again)}. "
            "Give each column a name of its own."
        )
    if "" in names:
        raise DaybookError(f"{file.path}: column {names.index('') + 1} of the header has no name.")
    if any("\0" in name for name in names):
        raise DaybookError(f"{file.path}: the header has a NUL byte.")
    return tuple(names)


def chunks_of(stream: IO[bytes], count: Count | None = None) -> Iterator[bytes]:
    """The stream's content in pieces of 1 MiB, each shown to `count`."""
    while chunk := stream.read(CHUNK):
        if count:
            count.add(chunk)
        yield chunk


def records_of(chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes, bool]]:
    """(number, bytes with line end, open quote) of each line with content; 0 is the header.

    Lines end in \\n, \\r\\n or \\r outside quotes; a blank line is no record.
    """
    number = 0
    rest = b""
    first = True
    pending: list[bytes] = []
    size = 0
    for chunk in chunks:
        if first:
            chunk = chunk.removeprefix(_BOM)
            first = False
        lines = (rest + chunk).splitlines(keepends=True)
        # the last line may go on in the next chunk (so may \r, with \n)
        rest = lines.pop() if lines else b""
        for line in lines:
            if pending or line.count(b'"') & 1:
                size = size + len(line) if pending else len(line)
                pending.append(line)
                if len(pending) == 1 or not line.count(b'"') & 1:
                    continue
                line = b"".join(pending)
                pending = []
            if line.strip():
                yield number, line, False
                number += 1
        if len(rest) > RECORD_LIMIT or (pending and size > RECORD_LIMIT):
            raise UnreadableError(f"record {number} is larger than 64 MiB; is a quote left open?")
    open_quote = bool(pending) != bool(rest.count(b'"') & 1)
    pending.append(rest)
    last = b"".join(pending)
    if last.strip():
        yield number, last, open_quote


def fields_of(text: str) -> list[str]:
    """The fields of one record, by Postgres' rules; `text` has no line end."""
    if '"' not in text:
        return text.split(",")
    pieces = text.split('"')
    last = len(pieces) - 1
    fields = pieces[0].split(",")
    for index in range(1, len(pieces)):
        piece = pieces[index]
        if index & 1:  # inside quotes
            fields[-1] += piece
        elif not piece and index < last:  # a doubled quote
            fields[-1] += '"'
        else:
            more = piece.split(",")
            fields[-1] += more[0]
            fields += more[1:]
    return fields


def read_csv(file: RawFile, stream: IO[bytes], table: Table, header: tuple[str, ...]) -> Records:
    """The records of a CSV that is parsed here: columns nobody declared, or bad rows in it.

    DaybookError when there are not as many as `Count` finds.
    """
    count = Count(file)
    number = 0
    parse = line_parser(table, header)
    for number, line, open_quote in records_of(chunks_of(stream, count)):
        if number == 0:
            continue
        if open_quote:
            weight = max(1, len(line.splitlines()))
            yield Reject(number, "open quote", raw_text(line), weight)
            continue
        yield parse(number, line)
    if number != count.records():
        raise DaybookError(f"{file.path}: {count.records()} records counted, {number} read.")


def line_parser(table: Table, header: tuple[str, ...]) -> Callable[[int, bytes], Row | Reject]:
    """What makes a row, or a reject, of one whole record's bytes."""
    names = table.column_names
    places = [header.index(name) if name in header else None for name in names]
    unknown = [(name, place) for place, name in enumerate(header) if name not in names]

    def parse(number: int, line: bytes) -> Row | Reject:
        if b"\0" in line:
            return Reject(number, "nul byte", raw_text(line))
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return Reject(number, "not utf-8", raw_text(line))
        fields = fields_of(text.rstrip("\r\n"))
        if len(fields) != len(header):
            reason = f"ragged: {len(fields)} fields, {len(header)} expected"
            return Reject(number, reason, raw_text(line))
        values = [None if place is None else fields[place] or None for place in places]
        extra = {name: fields[place] for name, place in unknown if fields[place]}
        return Row(number, values, json_text(extra) if extra else None)

    return parse


def note_header(header: tuple[str, ...], table: Table, fields: Fields) -> None:
    """Adds what a header lacks and has beyond the declaration to `fields`."""
    fields.absent.update(set(table.column_names) - set(header))
    for name in header:
        if name not in table.column_names:
            fields.know(name)
