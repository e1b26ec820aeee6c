"""What of a JSON file is in memory: a window that moves on, in text and as values."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from loaders.raw_file import RawFile
from loaders.readers.rows import NUL, RECORD_LIMIT, Digits, UnreadableError

CHUNK = 1 << 20
# A BOM between two values is where two files were joined.
BLANK = re.compile("[ \t\n\r\ufeff]*")

decode = json.JSONDecoder(parse_float=Digits, parse_int=Digits, parse_constant=Digits).raw_decode


def as_text(raw: bytes) -> str:
    """Bytes of a file, the bad ones and NULs as lone surrogates."""
    return raw.decode("utf-8", "surrogateescape").replace("\0", NUL)


def as_bytes(text: str) -> bytes:
    """The bytes that a text is in its file."""
    return text.replace(NUL, "\0").encode("utf-8", "surrogateescape")


class Broken(Exception):
    """The value at the window's position is no JSON; `cut`: because the file ends in it."""

    def __init__(self, reason: str, *, cut: bool = False) -> None:
        super().__init__(reason)
        self.cut = cut


class Window:
    """`text` from `at` on is not consumed yet. Bad bytes and NULs are lone surrogates in it."""

    def __init__(self, file: RawFile, stream: IO[bytes]) -> None:
        self._path = file.path
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self.text = ""
        self.at = 0
        self.ended = False
        self.begins = ""
        self.kept: int | None = None  # where what is consumed is kept from
        self.tried = False  # whether no run of elements was found in this text

    def more(self) -> bool:
        """Drops what is consumed and not kept, and reads on; False at the end of the file."""
        if self.ended:
            return False
        start = self.at if self.kept is None else self.kept
        data = self._read(len(self.text) - start)
        text = self._decoder.decode(data, final=self.ended).replace("\0", NUL)
        self.text = self.text[start:] + text
        self.at -= start
        self.kept = None if self.kept is None else 0
        self.tried = False
        if not self.begins.strip():
            self.begins = self.text[:240]
        return True

    def refill(self) -> None:
        """Reads on where little is left."""
        if len(self.text) - self.at < CHUNK // 2:
            self.more()

    def _read(self, left: int) -> bytes:
        """More of the file. `left`: how much of a record was read before."""
        if left > RECORD_LIMIT:
            raise UnreadableError(
                f"{self._path}: a record is larger than 64 MiB; is a bracket left open, or is the "
                "list of records inside an envelope (declare records)?"
            )
        data = self._stream.read(max(CHUNK, min(left, RECORD_LIMIT - left)))
        self.ended = not data
        return data

    def next(self) -> str:
        """The next character that isn't blank; empty at the end of the file."""
        while True:
            self.at = BLANK.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def expect(self, mark: str) -> None:
        """Consumes `mark`; Broken where something else stands."""
        if (found := self.next()) != mark:
            raise Broken(f"no {mark!r} where it belongs", cut=not found)
        self.at += 1

    def value(self) -> tuple[Any, str]:
        """The next value and its text, consumed; Broken."""
        self.next()
        while True:
            try:
                value, end = decode(self.text, self.at)
            except RecursionError:
                raise Broken("nested too deep") from None
            except json.JSONDecodeError as error:
                # An error near the end, or an open string, may be a value that goes on.
                near_end = len(self.text) - error.pos <= 16
                goes_on = near_end or error.msg.startswith("Unterminated")
                if goes_on and self.more():
                    continue
                at_end = error.pos >= len(self.text.rstrip())
                cut = at_end or error.msg.startswith("Unterminated")
                raise Broken(error.msg.rstrip(": "), cut=cut) from None
            # A number at the end may have more digits; objects, lists and strings end themselves.
            if end == len(self.text) and isinstance(value, Digits) and self.more():
                continue
            start, self.at = self.at, end
            return value, self.text[start:end]

    def line(self) -> str:
        """The rest of the line at `at`, without its end; nothing is consumed."""
        while (end := self.text.find("\n", self.at)) < 0 and self.more():
            pass
        return self.text[self.at : end if end >= 0 else len(self.text)]

    def lines(self) -> Iterator[list[bytes]]:
        """All lines from `at` on, without their ends, many at a time; they are consumed. Behind one
        that ends comes another, if only an empty one."""
        data = as_bytes(self.text[self.at :]) + self._decoder.getstate()[0]
        self.text, self.at = "", 0
        while not self.ended:
            if end := data.rfind(b"\n") + 1:
                yield data[:end].split(b"\n")
                data = data[end:]
            data += self._read(len(data))
        yield data.split(b"\n")
