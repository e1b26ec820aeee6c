"""JSON records in bounded memory: arrays, `{"results": […]}`, single objects, one a line.

The file is a sequence of values. An array gives its elements, an object with a `results` array
gives that array's elements, any other object is one record.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from loaders.files import RawFile, UnreadableError
from loaders.records import (
    RECORD_LIMIT,
    Digits,
    Fields,
    Records,
    Reject,
    Row,
    Unlandable,
    json_text,
    raw_text,
    unstorable,
)
from loaders.sources import Table

CHUNK = 1 << 20
_BLANK = re.compile(r"[ \t\n\r]*")
_BAD_BYTE = re.compile(r"[\udc80-\udcff]")
_IN_STRING = re.compile(r'["\\\n]')
_OUTSIDE = re.compile(r'["\[\]{},\n]')


class _NotJson(ValueError):
    """NaN and Infinity: Python reads them, JSON has no such words."""


def _refuse_constant(word: str) -> Any:
    raise _NotJson(word)


_decode = json.JSONDecoder(
    parse_float=Digits, parse_int=Digits, parse_constant=_refuse_constant
).raw_decode


class _Broken(Exception):
    """The value at the window's position is not JSON."""


class _Window:
    """The part of the file being looked at: `text` from `at` on is not consumed yet."""

    def __init__(self, file: RawFile, stream: IO[bytes]) -> None:
        self._file = file
        self._stream = stream
        # Bad bytes become lone surrogates, which mark the record they are in.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self.text = ""
        self.at = 0
        self.ended = False
        self.dirty = False
        # Whether the file ended inside a list, a page or an object.
        self.cut = False

    def more(self) -> bool:
        """Drops what is consumed and reads on; False at the end of the file."""
        if self.ended:
            return False
        left = len(self.text) - self.at
        if left > RECORD_LIMIT:
            raise UnreadableError(
                f"{self._file.path}: a record is larger than 64 MiB; is a bracket left open?"
            )
        data = self._stream.read(max(CHUNK, left))
        self.ended = not data
        text = self._decoder.decode(data, final=self.ended)
        if not text.isascii() and _BAD_BYTE.search(text):
            self.dirty = True
        self.text = self.text[self.at :] + text
        self.at = 0
        return True

    def next(self) -> str:
        """The next character that isn't blank; empty at the end of the file."""
        while True:
            self.at = _BLANK.match(self.text, self.at).end()  # type: ignore[union-attr]  # matches ""
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def value(self) -> tuple[Any, int]:
        """The value at `at` and where it ends, reading on as far as it needs."""
        while True:
            try:
                value, end = _decode(self.text, self.at)
            except RecursionError:
                raise _Broken("nested too deep") from None
            except json.JSONDecodeError as error:
                # An error near the end, or an open string, may be a value that goes on.
                near_end = len(self.text) - error.pos <= 16
                if (near_end or error.msg.startswith("Unterminated")) and self.more():
                    continue
                raise _Broken(error.msg.rstrip(": ")) from None
            except _NotJson as error:
                raise _Broken(f"{error} is not JSON") from None
            # A number at the end may have more digits; objects, lists and strings end themselves.
            if end == len(self.text) and isinstance(value, Digits) and self.more():
                continue
            return value, end


def read_json(file: RawFile, stream: IO[bytes], table: Table, fields: Fields) -> Records:
    """The file's records; what `table` doesn't declare goes to `extra` and into `fields`."""
    window = _Window(file, stream)
    tree = declared_tree(table)
    width = len(table.columns)
    for number, found in enumerate(_elements(window), start=1):
        if window.cut and table.kind == "snapshot":
            # Whoever is behind the cut would count as gone.
            raise UnreadableError(
                f"{file.path} ends in the middle: fetch it again. Nothing was replaced."
            )
        if isinstance(found, Reject):
            yield Reject(number, found.reason, found.raw)
            continue
        values: list[str | None] = [None] * width
        try:
            extra = _spread(found, tree, values, fields, "")
            text = json_text(extra, for_jsonb=True) if extra else None
        except (Unlandable, RecursionError) as error:
            reason = str(error) if isinstance(error, Unlandable) else "nested too deep"
            yield Reject(number, reason, raw_text(_shown(found)))
            continue
        fields.records_of_fields += 1
        yield Row(number, values, text)


def has_record(file: RawFile, stream: IO[bytes]) -> bool:
    """Whether the file has any record, good or bad."""
    return next(_elements(_Window(file, stream)), None) is not None


def _elements(window: _Window) -> Iterator[dict[str, Any] | Reject]:
    while first := window.next():
        if first == "[":
            window.at += 1
            yield from _array(window)
            continue
        decoded = _at_once(window) if first == "{" else None
        lists = first == "{" and (decoded is None or "results" in decoded[0])
        if lists and (behind := _behind_results(window)):
            window.at = behind
            yield from _array(window)
            yield from _rest_of_object(window)
        else:
            yield _element(window, in_array=False, decoded=decoded)


def _at_once(window: _Window) -> tuple[Any, int] | None:
    """The value at the window's position when all of it is there already."""
    try:
        return _decode(window.text, window.at)
    except (ValueError, RecursionError):
        return None


def _array(window: _Window) -> Iterator[dict[str, Any] | Reject]:
    before = "["
    while (following := window.next()) != "]":
        if following == ",":
            window.at += 1
            if before != "record":
                yield Reject(0, "broken json: no record before a comma", "")
            before = ","
        elif following:
            found = _element(window, in_array=True)
            if before == "record" and not isinstance(found, Reject):
                yield Reject(0, "broken json: no comma between two records", "")
            yield found
            before = "record"
        else:
            if not window.cut:
                window.cut = True
                yield Reject(0, "cut: the array does not end", "")
            return
    window.at += 1
    if before == ",":
        yield Reject(0, "broken json: no record behind a comma", "")


def _element(
    window: _Window, *, in_array: bool, decoded: tuple[Any, int] | None = None
) -> dict[str, Any] | Reject:
    """The record at the window's position, consumed."""
    try:
        value, end = decoded or window.value()
    except _Broken as broken:
        raw = _skip(window, in_array=in_array)
        if window.dirty and _BAD_BYTE.search(raw):
            return Reject(0, "not utf-8", raw_text(raw))
        return Reject(0, f"broken json: {broken}", raw_text(raw))
    start, window.at = window.at, end
    text = window.text
    reason = None
    if not isinstance(value, dict):
        reason = "not an object"
    elif window.dirty and _BAD_BYTE.search(text, start, end):
        reason = "not utf-8"
    elif text.find("\\u", start, end) >= 0:
        reason = unstorable(value)
    if reason:
        return Reject(0, reason, raw_text(text[start:end]))
    return value


def _behind_results(window: _Window) -> int | None:
    """Where the `results` array of the object at hand begins; None when it has none.

    Looks ahead without consuming, so a page as large as the file is never held whole.
    """
    while True:
        at = window.at + 1
        try:
            while True:
                at = _BLANK.match(window.text, at).end()  # type: ignore[union-attr]  # matches ""
                if window.text[at : at + 1] == ",":
                    at = _BLANK.match(window.text, at + 1).end()  # type: ignore[union-attr]  # matches ""
                if window.text[at : at + 1] != '"':
                    break
                name, at = _decode(window.text, at)
                at = _BLANK.match(window.text, at).end()  # type: ignore[union-attr]  # matches ""
                if window.text[at : at + 1] != ":":
                    break
                at = _BLANK.match(window.text, at + 1).end()  # type: ignore[union-attr]  # matches ""
                if name == "results" and window.text[at : at + 1] == "[":
                    return at + 1
                _, at = _decode(window.text, at)
        except json.JSONDecodeError as error:
            near_end = len(window.text) - error.pos <= 16
            if not near_end and not error.msg.startswith("Unterminated"):
                return None
        except (_NotJson, RecursionError):
            return None
        else:
            if at < len(window.text):
                return None
        if not window.more():
            return None


def _rest_of_object(window: _Window) -> Iterator[dict[str, Any] | Reject]:
    """Consumes what follows a `results` array; a second one gives its records too."""
    while not window.cut and window.next() != "}":
        try:
            lists = _results_follow(window)
        except _Broken as broken:
            raw = _skip(window, in_array=False, inside="{")
            reason = "cut: the object does not end" if window.cut else f"broken json: {broken}"
            yield Reject(0, reason, raw_text(raw))
            return
        if lists:
            yield from _array(window)
    if not window.cut:
        window.at += 1


def _results_follow(window: _Window) -> bool:
    """Consumes a comma, a name and its value; of a `results` array its bracket alone: True."""
    _expect(window, ",")
    if window.next() != '"':
        raise _Broken("Expecting property name enclosed in double quotes")
    name, window.at = window.value()
    _expect(window, ":")
    if window.next() == "[" and name == "results":
        window.at += 1
        return True
    _, window.at = window.value()
    return False


def _expect(window: _Window, mark: str) -> None:
    if window.next() != mark:
        raise _Broken(f"Expecting '{mark}' delimiter")
    window.at += 1


def _skip(window: _Window, *, in_array: bool, inside: str = "") -> str:
    """Consumes a broken value and gives its text.

    It ends where its brackets close, those of `inside` too, in an array also at the `,` or `]`
    behind it, outside one also at a line that begins with `{` (one record a line).
    """
    open_brackets = list(inside)
    offset = 0
    in_string = False
    while True:
        pattern = _IN_STRING if in_string else _OUTSIDE
        found = pattern.search(window.text, window.at + offset)
        if found is None or (found.end() >= len(window.text) and not window.ended):
            offset = (found.start() if found else len(window.text)) - window.at
            if window.more():
                continue
            if found is None:
                # a broken line that has its line end is not cut
                unended = bool(open_brackets) and not window.text.endswith("\n")
                window.cut = in_array or bool(inside) or unended
                return _take(window, len(window.text))
        mark, end = found[0], found.end()
        offset = end - window.at
        if in_string:
            if mark == "\\":
                offset += 1
            else:  # a string can't hold a line end: one ends there, closed or not
                in_string = False
                offset -= mark == "\n"
        elif mark == '"':
            in_string = True
        elif mark in "[{":
            open_brackets.append(mark)
        elif mark in "]}":
            opener = "[" if mark == "]" else "{"
            if in_array and mark == "]" and opener not in open_brackets:
                return _take(window, end - 1)
            while open_brackets and open_brackets.pop() != opener:
                pass
            if not open_brackets and not in_array:
                return _take(window, end)
        elif mark == "," and in_array and not open_brackets:
            return _take(window, end - 1)
        elif mark == "\n" and not in_array:
            following = window.text[end : end + 1]
            if not open_brackets or following == "{":
                return _take(window, end)


def _take(window: _Window, end: int) -> str:
    start, window.at = window.at, end
    return window.text[start:end].rstrip("\n")


def declared_tree(table: Table) -> dict[str, Any]:
    """The declared paths as nested dicts that end in the columns' places."""
    tree: dict[str, Any] = {}
    for place, column in enumerate(table.columns):
        node = tree
        for name in column.json_path[:-1]:
            node = node.setdefault(name, {})
        node[column.json_path[-1]] = place
    return tree


def _spread(
    record: dict[str, Any],
    tree: dict[str, Any],
    values: list[str | None],
    fields: Fields,
    prefix: str,
) -> dict[str, Any]:
    """Puts declared fields into `values` and gives the others, nested as they were."""
    extra: dict[str, Any] = {}
    for name, value in record.items():
        node = tree.get(name)
        if node is None:
            fields.know(prefix + name)
            extra[name] = value
        elif not isinstance(node, dict):
            fields.seen.add(prefix + name)
            values[node] = _landed(value)
        elif isinstance(value, dict):
            if inner := _spread(value, node, values, fields, f"{prefix}{name}."):
                extra[name] = inner
        elif value is not None:
            fields.know(prefix + name)
            extra[name] = value
    return extra


def _landed(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json_text(value)


def _shown(value: Any) -> str:
    try:
        return json_text(value)
    except RecursionError:
        return ""
