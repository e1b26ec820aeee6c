"""Counts a CSV's records without parsing them. The counts of COPY and of the parser must equal it,
so it shares no code with the parser, which is Python's csv."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence

from loaders.readers.rows import RECORD_LIMIT, UnreadableError
from loaders.readers.values import Treat, suspect

_BOM = b"\xef\xbb\xbf"
BLANK = b" \t\r\n\x0b\x0c"


class MustBeParsed(Exception):
    """COPY would read the file otherwise than a spreadsheet, or a value has to be changed."""


class Count:
    """Counts by matching one record after the other: a quote opens a field only at its beginning.

    The bytes of an unfinished record are matched again once there are twice as many: the time is
    linear in its size. `so_far` is the number of whole records, header included.
    """

    def __init__(self, path: str, delimiter: str = ",") -> None:
        self._path = path
        self._pieces: list[bytes] = []
        self._size = self._next_size = self.so_far = 0
        self._bom_checked = False
        self._blank = BLANK.replace(delimiter.encode(), b"")
        mark = re.escape(delimiter.encode())
        plain = rb"[^" + mark + rb"\r\n]*+"
        # possessive: a field of any size costs no stack. An open quote reaches to the end, so that
        # no part of a repeat fails half-way: Python before 3.11.5 goes on from there.
        quoted = rb'"[^"]*+(?:""[^"]*+)*+(?:"' + plain + rb"|\Z)"
        bare = rb'(?!")' + plain
        field = rb"(?:" + quoted + rb"|" + bare + rb")"
        line = rb"(?:" + _BOM + rb")?+" + field + rb"(?:" + mark + field + rb")*+"
        self._match = re.compile(line + rb"(?:\r\n|\n|\r(?=[^\n]))").match

    def add(self, chunk: bytes) -> None:
        """Count in the next bytes; UnreadableError for a record over 64 MiB."""
        self._pieces.append(chunk)
        self._size += len(chunk)
        if self._size >= self._next_size:
            rest = self._count(b"".join(self._pieces))
            self._pieces, self._size = [rest], len(rest)
            self._next_size = min(2 * len(rest), RECORD_LIMIT + 1)
            if len(rest) > RECORD_LIMIT:
                raise UnreadableError(
                    f"{self._path}: record {max(self.so_far, 1)} is larger than 64 MiB; "
                    "is a quote left open?"
                )

    def _count(self, text: bytes) -> bytes:
        """Count the whole records in the text; returns the rest, behind the last."""
        if not self._bom_checked and len(text) >= 3:
            text, self._bom_checked = text.removeprefix(_BOM), True
        if b'"' not in text:
            cut = text.rfind(b"\n") + 1 or text.rfind(b"\r", 0, -1) + 1
            self.so_far += sum(map(self._is_record, text[:cut].splitlines()))
        else:
            cut = 0
            while record := self._match(text, cut):
                self.so_far += self._is_record(record[0])
                cut = record.end()
        return text[cut:]

    def _is_record(self, line: bytes) -> bool:
        return bool(line.removeprefix(_BOM).strip(self._blank))

    def records(self) -> int:
        """The number of records in the whole file, without its header."""
        last = self._count(b"".join(self._pieces))
        more = sum(map(self._is_record, re.split(rb"\r\n|\n|\r", last)))
        if b'"' in last:
            more = min(more, 1)
        return max(0, self.so_far + more - 1)


class QuickCount(Count):
    """Counts line ends outside quotes while COPY is at work, at a hundredth of COPY's cost.

    That is right only where every quote opens or closes a whole field. So MustBeParsed is raised
    for any other quote, for a BOM or the header's `names` after the beginning, and for an id or a
    date that a foreign writer has changed (`habits` undo that, by column). Blank lines are counted
    as records, so a file that has some is parsed. `quoted`: the bytes so far end inside quotes.
    """

    def __init__(
        self,
        path: str,
        delimiter: str = ",",
        habits: Mapping[int, Treat] | None = None,
        *,
        names: Sequence[str] = (),
        header: bool = True,
    ) -> None:
        super().__init__(path, delimiter)
        self._header = header
        self._first_name = names[0].encode() if names else b"\0"  # which COPY refuses
        around = b'["' + self._blank + b"]*+"  # headers of joined files may be quoted and padded
        mark = around + re.escape(delimiter.encode()) + around
        self._headers = re.compile(mark.join(re.escape(name.encode()) for name in names)).findall
        self._headers_seen = 0
        self._delimiter = delimiter
        self._habits = habits or {}
        self._suspect = suspect(self._habits, delimiter)
        self._edges = (*b"\r\n", ord(delimiter))
        self.quoted = False

    def _count(self, text: bytes) -> bytes:
        """As for Count; MustBeParsed."""
        if not self._bom_checked:
            text, self._bom_checked = text.removeprefix(_BOM), True
            if text[:1].isspace():
                raise MustBeParsed  # COPY takes a blank first line for the header
        # cut after a line end, so that no quote's neighbour is in another piece
        cut = text.rfind(b"\n") + 1 or text.rfind(b"\r", 0, -1) + 1
        self._count_whole(text[:cut])
        return text[cut:]

    def _count_whole(self, piece: bytes) -> None:
        if self._first_name in piece:
            self._headers_seen += len(self._headers(piece))
        # a single byte is looked for at many times the speed of three
        if self._headers_seen > self._header or (b"\xef" in piece and _BOM in piece):
            raise MustBeParsed
        was_quoted = self.quoted
        self._count_lines(piece)
        if self._suspect and self._suspect.search(piece):
            if was_quoted or self.quoted:
                raise MustBeParsed  # a record is in two pieces: its columns can't be told apart
            self._check_values(piece)

    def _count_lines(self, piece: bytes) -> None:
        if b'"' in piece:
            # the parts between quotes are outside and inside of them by turns
            parts = piece.split(b'"')
            last = len(parts) - 1
            outside = parts[self.quoted :: 2]
            if not self.quoted:
                self._check_edges(parts[0][-1:])
            if self.quoted == last % 2:
                self._check_edges(parts[last][:1])
            for part in set(parts[2 - self.quoted : last : 2]):
                self._check_edges(part[:1], part[-1:])
            self.quoted ^= bool(last & 1)
            piece = b'"'.join(outside)
        elif self.quoted:
            return
        self.so_far += piece.count(b"\n")
        if b"\r" in piece:
            self.so_far += piece.count(b"\r") - piece.count(b"\r\n")

    def _check_edges(self, *edges: bytes) -> None:
        """MustBeParsed unless these bytes beside quotes are delimiters or line ends."""
        if any(edge and edge[0] not in self._edges for edge in edges):
            raise MustBeParsed

    def _check_values(self, piece: bytes) -> None:
        lines = io.StringIO(piece.decode("utf-8", "replace"), newline="")
        for fields in csv.reader(lines, delimiter=self._delimiter):
            for place, habit in self._habits.items():
                if place < len(fields) and habit(fields[place]) != fields[place]:
                    raise MustBeParsed

    def records(self) -> int:
        """The number of records in all that was added, without the header; MustBeParsed."""
        rest = self._count(b"".join(self._pieces))
        self._count_whole(rest)
        return max(0, self.so_far + (rest[-1:] not in b"\r\n") - self._header)
