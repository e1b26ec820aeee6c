"""Reads a JSON file of any layout as blocks of whole values, in bounded memory."""

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
ERRORS = ("error", "errors")  # beside an empty list they say why it is empty
NO_ERROR = {"", "0", "none", "null", "ok", "false"}
TRIES = 3  # braces that are tried as the end of a run of elements
# A BOM between two values is where two files were joined.
BLANK = re.compile("[ \t\n\r\ufeff]*")
_LINES = re.compile(r"\.(jsonl|ndjson)(\.gz)?$", re.IGNORECASE)
_ELEMENT_ENDS = re.compile(r"[ \t\n\r\ufeff]*[,\]]")

# True: whole lines, each with any number of values. False: single values, as elements of an array.
Block = tuple[list[bytes], bool]

_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
decode = json.JSONDecoder(parse_float=Digits, parse_int=Digits, parse_constant=Digits).raw_decode


def as_text(raw: bytes) -> str:
    """A file's bytes as text; bad bytes and NULs become lone surrogates."""
    return raw.decode("utf-8", "surrogateescape").replace("\0", NUL)


def value_in(text: str) -> tuple[Any, int]:
    """The value that a text begins with, and where it ends; None and 0 when it is broken."""
    try:
        return decode(text, 0)
    except (ValueError, RecursionError):
        return None, 0


def as_bytes(text: str) -> bytes:
    """The file's bytes of such a text."""
    return text.replace(NUL, "\0").encode("utf-8", "surrogateescape")


class Broken(Exception):
    """The value at the window's position is not JSON. `cut`: the file ends inside of it."""

    def __init__(self, reason: str, *, cut: bool = False) -> None:
        super().__init__(reason)
        self.cut = cut


def broken(error: json.JSONDecodeError, text: str) -> Broken:
    """The error of a text that is no JSON; it is cut when it ends inside of a value."""
    is_cut = error.msg.startswith("Unterminated") or error.pos >= len(text.rstrip())
    return Broken(error.msg.rstrip(": "), cut=is_cut)


class Window:
    """The part of a file in memory: `text`, as `as_text` makes it, which is consumed up to `at`.
    What is consumed stays there from `keep_from` on, so that `at` can go back."""

    def __init__(self, file: RawFile, stream: IO[bytes]) -> None:
        self._path = file.path
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self.text = ""
        self.at = 0
        self.ended = False
        self.head = ""  # the file's first characters, for messages
        self.keep_from: int | None = None
        self.error: dict[str, Any] = {}  # what the first page with an error says beside its list
        self.has_no_run = False  # no run of elements was found in this text

    def read_more(self) -> bool:
        """Drop what is consumed and not kept, and read on; False at the end of the file."""
        if self.ended:
            return False
        start = self.at if self.keep_from is None else self.keep_from
        data = self._read(len(self.text) - start)
        text = self._decoder.decode(data, final=self.ended).replace("\0", NUL)
        self.text = self.text[start:] + text
        self.at -= start
        self.keep_from = None if self.keep_from is None else 0
        self.has_no_run = False
        if not self.head.strip():
            self.head = self.text[:240]
        return True

    def _read(self, pending: int) -> bytes:
        """The next bytes of the file. `pending`: how much of a record was read before."""
        if pending > RECORD_LIMIT:
            raise UnreadableError(
                f"{self._path}: a record is larger than 64 MiB; is a bracket left open, or is the "
                "list of records inside an envelope (declare records)?"
            )
        data = self._stream.read(max(CHUNK, min(pending, RECORD_LIMIT - pending)))
        self.ended = not data
        return data

    def peek(self) -> str:
        """Skip blanks; returns the next character without consuming it, empty at the file's end."""
        while True:
            self.at = BLANK.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.read_more():
                return ""

    def expect(self, allowed: str) -> str:
        """As `peek`; Broken when the next character is none of those that are allowed."""
        mark = self.peek()
        if not mark or mark not in allowed:
            raise Broken(f"no {allowed[0]!r} where it belongs", cut=not mark)
        return mark

    def take_value(self) -> tuple[Any, str]:
        """Consume the next value; returns it and its text. Broken."""
        self.peek()
        while True:
            try:
                value, end = decode(self.text, self.at)
            except RecursionError:
                raise Broken("nested too deep") from None
            except json.JSONDecodeError as error:
                # An error near the end, or an open string, may be a value that goes on.
                found = broken(error, self.text)
                if (found.cut or len(self.text) - error.pos <= 16) and self.read_more():
                    continue
                raise found from None
            # A number at the end may have more digits; objects, lists and strings end themselves.
            if end == len(self.text) and isinstance(value, Digits) and self.read_more():
                continue
            start, self.at = self.at, end
            return value, self.text[start:end]

    def peek_line(self) -> str:
        """The rest of the line at `at`, without its end and without consuming it."""
        while (end := self.text.find("\n", self.at)) < 0 and self.read_more():
            pass
        return self.text[self.at : end if end >= 0 else len(self.text)]

    def take_lines(self) -> Iterator[list[bytes]]:
        """Consume all lines from `at` on, many at a time; they are given without their ends. The
        last line of a list is what follows its last line end, and may be empty."""
        data = as_bytes(self.text[self.at :]) + self._decoder.getstate()[0]
        self.text, self.at = "", 0
        while not self.ended:
            if end := data.rfind(b"\n") + 1:
                yield data[:end].split(b"\n")
                data = data[end:]
            data += self._read(len(data))
        yield data.split(b"\n")


def blocks_of(window: Window, file: RawFile, path: FieldPath, *, lines: bool) -> Iterator[Block]:
    """The file's blocks; `path` leads to a page's list. `lines`: each record is surely a line."""
    is_known = lines
    while first := window.peek():
        if first == "[" and not (lines and window.peek_line().rstrip(" \t\r").endswith("]")):
            yield from _take_array(window)
            continue
        if first == "{":
            window.keep_from = window.at
            try:
                if (yield from _take_page(window, path)):
                    continue
            except Broken:
                if window.keep_from is None:
                    raise
            # without a list at `path` it is a record: it is read again
            window.at, window.keep_from = window.keep_from or 0, None
        if not is_known:
            is_known, lines = True, bool(_LINES.search(file.path)) or _are_lines(window)
        if lines:
            for block in window.take_lines():
                yield block, True
        else:
            yield [as_bytes(window.take_value()[1])], False


def _are_lines(window: Window) -> bool:
    """Whether each line is a record: the first is JSON, or the second begins as one."""
    line = window.peek_line()
    if value_in(line)[1]:
        return True
    if line.rstrip()[-1] in "[{,:":  # the object goes on, as an envelope does at its list
        return False
    window.keep_from, window.at = window.at, window.at + len(line)
    is_followed = window.text[window.at : window.at + 1] == "\n" and window.peek() == "{"
    window.at, window.keep_from = window.keep_from, None
    return is_followed


def _take_page(window: Window, path: FieldPath) -> Generator[Block, None, bool]:
    """Consume an object and give the elements of its list at `path`; returns whether it has one.
    Broken. From the list on nothing is kept, so it may have any size."""
    has_list = False
    mark = "{"
    while mark != "}":
        window.at += 1
        if window.expect('"}' if mark == "{" else '"') == "}":
            break
        name, _ = window.take_value()
        window.expect(":")
        window.at += 1
        first = window.peek()
        if name == path[0] and first == "[" and not path[1:]:
            has_list, window.keep_from = True, None
            yield from _take_array(window)
        elif name == path[0] and first == "{" and path[1:]:
            has_list = (yield from _take_page(window, path[1:])) or has_list
        else:
            value, _ = window.take_value()
            if name in ERRORS and not window.error and _is_error(value):
                window.error = {name: value}
        mark = window.expect(",}")
    window.at += 1
    return has_list


def _is_error(value: Any) -> bool:
    """Whether a page's `error` says that there is one; a zero in an object, of errors or as code,
    says that there is none."""
    if isinstance(value, str):
        return value.strip().lower() not in NO_ERROR
    return bool(value) and not (isinstance(value, dict) and "0" in map(str, value.values()))


def _take_array(window: Window) -> Iterator[Block]:
    """Consume an array, and give its elements; Broken."""
    window.at += 1
    mark = window.peek()
    while mark != "]":
        yield _take_run(window) or [as_bytes(window.take_value()[1])], False
        mark = window.expect(",]")
        window.at += mark == ","
    window.at += 1


def _take_run(window: Window) -> list[bytes]:
    """Consume the whole elements in the window; none where they have to be taken one by one.

    A text up to a brace is whole elements if and only if it is JSON between brackets. The last
    braces of the text are tried; they may be inside of records.
    """
    if len(window.text) - window.at < CHUNK // 2:
        window.read_more()
    text, end = window.text, len(window.text)
    for _ in range(0 if window.has_no_run else TRIES):
        end = text.rfind("}", window.at, end)
        if end < 0:
            break
        if _ELEMENT_ENDS.match(text, end + 1):
            try:
                elements = _elements(f"[{text[window.at : end + 1]}]".encode())
            except (UnicodeEncodeError, msgspec.DecodeError, RecursionError):
                continue
            window.at = end + 1
            return list(map(bytes, elements))
    window.has_no_run = True
    return []
