"""A JSON file as blocks of whole values, in bounded memory, whatever its layout."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Generator, Iterator
from typing import IO, Any

import msgspec

from loaders.raw_file import RawFile
from loaders.readers.rows import NUL, RECORD_LIMIT, Digits, UnreadableError
from loaders.schema import FieldPath

CHUNK = 1 << 20
PAGE = ("results",)  # where a page keeps its list, unless it is declared
TRIES = 3
# A BOM between two values is where two files were joined.
BLANK = re.compile("[ \t\n\r\ufeff]*")
_LINES = re.compile(r"\.(jsonl|ndjson)(\.gz)?$", re.IGNORECASE)
_ENDS = re.compile(r"[ \t\n\r\ufeff]*[,\]]")  # an element of an array

# Whole values: lines, each with any number of them in it, or (False) elements of an array.
Block = tuple[list[bytes], bool]

_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
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

    def mark(self, wanted: str) -> str:
        """The next character that isn't blank; Broken where it is none of those that are wanted."""
        found = self.next()
        if not found or found not in wanted:
            raise Broken(f"no {wanted[0]!r} where it belongs", cut=not found)
        return found

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
                is_open = error.msg.startswith("Unterminated")
                if (is_open or len(self.text) - error.pos <= 16) and self.more():
                    continue
                cut = is_open or error.pos >= len(self.text.rstrip())
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


def blocks_of(window: Window, file: RawFile, path: FieldPath, *, lines: bool) -> Iterator[Block]:
    """The file's blocks; `path` leads to a page's list. `lines`: it is known that its records stand
    on lines."""
    looked = lines
    while first := window.next():
        if first == "[" and not (lines and window.line().rstrip(" \t\r").endswith("]")):
            yield from _array(window)
            continue
        if first == "{":
            window.kept = window.at
            try:
                if (yield from _object(window, path)):
                    continue
            except Broken:
                if window.kept is None:
                    raise
            window.at, window.kept = window.kept or 0, None
        if not looked:
            looked, lines = True, bool(_LINES.search(file.path)) or _are_lines(window)
        if lines:
            for found in window.lines():
                yield found, True
        else:
            yield [as_bytes(window.value()[1])], False


def _are_lines(window: Window) -> bool:
    """Whether records stand on lines: the first does, or the next line begins like one."""
    line = window.line()
    try:
        return decode(line, 0)[1] > 0
    except (ValueError, RecursionError):
        pass
    if line.rstrip()[-1] in "[{,:":  # the object goes on, as an envelope does at its list
        return False
    window.kept, window.at = window.at, window.at + len(line)
    begins_like_one = window.text[window.at : window.at + 1] == "\n" and window.next() == "{"
    window.at, window.kept = window.kept, None
    return begins_like_one


def _object(window: Window, path: FieldPath) -> Generator[Block, None, bool]:
    """Consumes an object, and gives the elements of the list at `path`: the larger it is, the less
    is it held whole. Returns whether there is one; Broken."""
    there = False
    mark = "{"
    while mark != "}":
        window.at += 1
        if window.mark('"}' if mark == "{" else '"') == "}":
            break
        name, _ = window.value()
        window.mark(":")
        window.at += 1
        first = window.next()
        if name == path[0] and first == "[" and not path[1:]:
            there, window.kept = True, None
            yield from _array(window)
        elif name == path[0] and first == "{" and path[1:]:
            there = (yield from _object(window, path[1:])) or there
        else:
            window.value()
        mark = window.mark(",}")
    window.at += 1
    return there


def _array(window: Window) -> Iterator[Block]:
    """Consumes an array, and gives its elements; Broken."""
    window.at += 1
    mark = window.next()
    while mark != "]":
        yield _run(window) or [as_bytes(window.value()[1])], False
        mark = window.mark(",]")
        window.at += mark == ","
    window.at += 1


def _run(window: Window) -> list[bytes]:
    """A run of whole elements that begins at the window's position, consumed; empty where they are
    to be taken one by one.

    A text up to a brace is whole elements if and only if it is JSON between brackets: so the last
    braces are tried, which may be inside of records.
    """
    if len(window.text) - window.at < CHUNK // 2:
        window.more()
    text, end = window.text, len(window.text)
    for _ in range(0 if window.tried else TRIES):
        end = text.rfind("}", window.at, end)
        if end < 0:
            break
        if _ENDS.match(text, end + 1):
            try:
                found = _elements(f"[{text[window.at : end + 1]}]".encode())
            except (UnicodeEncodeError, msgspec.DecodeError, RecursionError):
                continue
            window.at = end + 1
            return list(map(bytes, found))
    window.tried = True
    return []
