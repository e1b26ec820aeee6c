"""How many records a CSV has, without reading one: what COPY's and the parser's counts are held
against. Neither shares a line with the parser, which is Python's csv."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence

from loaders.readers.rows import RECORD_LIMIT, UnreadableError
from loaders.readers.values import Treat, suspect

_BOM = b"\xef\xbb\xbf"
BLANK = b" \t\r\n\x0b\x0c" + _BOM


class MustBeParsed(Exception):
    """COPY reads the file otherwise than a spreadsheet, or it has what is put right by parsing."""


class Count:
    """Matches one record after the other: a quote opens a field only where the field begins.

    What is not a whole record yet is held, and looked at again once there is twice as much: a
    record costs time linear in its size. `so_far`: the whole records, a header among them.
    """

    def __init__(self, path: str, delimiter: str = ",") -> None:
        self._path = path
        self._pieces: list[bytes] = []
        self._size = self._enough = self.so_far = 0
        self._begun = False
        mark = re.escape(delimiter.encode())
        plain = rb"[^" + mark + rb"\r\n]*+"
        # possessive: a field of any size costs no stack
        quoted = rb'"[^"]*+(?:""[^"]*+)*+"' + plain
        bare = rb'(?!")' + plain
        field = rb"(?:" + quoted + rb"|" + bare + rb")"
        line = field + rb"(?:" + mark + field + rb")*+"
        self._match = re.compile(line + rb"(?:\r\n|\n|\r(?=[^\n]))").match

    def add(self, chunk: bytes) -> None:
        """Takes the next bytes; UnreadableError for a record over 64 MiB."""
        self._pieces.append(chunk)
        self._size += len(chunk)
        if self._size >= self._enough:
            rest = self._count(b"".join(self._pieces))
            self._pieces, self._size = [rest], len(rest)
            self._enough = min(2 * len(rest), RECORD_LIMIT + 1)
            if len(rest) > RECORD_LIMIT:
                raise UnreadableError(
                    f"{self._path}: record {max(self.so_far, 1)} is larger than 64 MiB; "
                    "is a quote left open?"
                )

    def _count(self, text: bytes) -> bytes:
        """Counts the whole records of the text; gives what is behind them."""
        if not self._begun and len(text) >= 3:
            text, self._begun = text.removeprefix(_BOM), True
        if b'"' not in text:
            cut = text.rfind(b"\n") + 1 or text.rfind(b"\r", 0, -1) + 1
            self.so_far += sum(map(bool, (one.strip(BLANK) for one in text[:cut].splitlines())))
        else:
            cut = 0
            while found := self._match(text, cut):
                self.so_far += bool(text[cut : found.end()].strip(BLANK))
                cut = found.end()
        return text[cut:]

    def records(self) -> int:
        """The records of the whole file; its header is none of them."""
        last = self._count(b"".join(self._pieces)).removeprefix(b"" if self._begun else _BOM)
        more = sum(1 for one in re.split(rb"\r\n|\n|\r", last) if one.strip(BLANK))
        if b'"' in last:
            more = min(more, 1)
        return max(0, self.so_far + more - 1)


class QuickCount(Count):
    """Counts line ends outside quotes while COPY is at work, at a hundredth of its cost.

    Good only where every quote opens or closes a whole field, which it sees to: MustBeParsed is
    raised for any other, for a BOM or the header's `names` behind the beginning, and for an id or
    a date that a foreign writer has changed (`habits`: what puts them right, by column). It takes
    blank lines for records, so a file that has some is parsed. `quoted`: the bytes end inside
    quotes.
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
        self._names = delimiter.join(names).encode()
        self._headers = 0
        self._delimiter = delimiter
        self._habits = habits or {}
        self._suspect = suspect(self._habits, delimiter)
        self._edges = (*b"\r\n", ord(delimiter))
        self.quoted = False

    def _count(self, text: bytes) -> bytes:
        """MustBeParsed too."""
        if not self._begun:
            text, self._begun = text.removeprefix(_BOM), True
            if text[:1].isspace():
                raise MustBeParsed  # COPY takes a blank first line for the header
        # cut behind a line end, so that no quote's neighbour is in another piece
        cut = text.rfind(b"\n") + 1 or text.rfind(b"\r", 0, -1) + 1
        self._look(text[:cut])
        return text[cut:]

    def _look(self, piece: bytes) -> None:
        self._headers += piece.count(self._names) if self._names else 0
        # a single byte is looked for at many times the speed of three
        if self._headers > self._header or (b"\xef" in piece and _BOM in piece):
            raise MustBeParsed
        inside = self.quoted
        self._count_lines(piece)
        if self._suspect and self._suspect.search(piece):
            if inside or self.quoted:
                raise MustBeParsed  # a record goes on in another piece: its columns can't be told
            self._check_values(piece)

    def _count_lines(self, piece: bytes) -> None:
        if b'"' in piece:
            # pieces between quotes are outside and inside by turns
            parts = piece.split(b'"')
            last = len(parts) - 1
            outside = parts[self.quoted :: 2]
            self._check(parts[0][-1:], b"", not self.quoted)
            self._check(b"", parts[last][:1], self.quoted == last % 2)
            for one in set(parts[2 - self.quoted : last : 2]):
                self._check(one[-1:], one[:1], True)
            self.quoted ^= bool(last & 1)
            piece = b'"'.join(outside)
        elif self.quoted:
            return
        self.so_far += piece.count(b"\n")
        if b"\r" in piece:
            self.so_far += piece.count(b"\r") - piece.count(b"\r\n")

    def _check(self, before: bytes, behind: bytes, outside: bool) -> None:
        for edge in (before, behind) if outside else ():
            if edge and edge[0] not in self._edges:
                raise MustBeParsed

    def _check_values(self, piece: bytes) -> None:
        lines = io.StringIO(piece.decode("utf-8", "replace"), newline="")
        for fields in csv.reader(lines, delimiter=self._delimiter):
            for place, habit in self._habits.items():
                if place < len(fields) and habit(fields[place]) != fields[place]:
                    raise MustBeParsed

    def records(self) -> int:
        """The records of all that was added, the header not among them. MustBeParsed."""
        rest = self._count(b"".join(self._pieces))
        self._look(rest)
        return max(0, self.so_far + (rest[-1:] not in b"\r\n") - self._header)
