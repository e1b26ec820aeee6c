"""JSON to COPY's CSV through msgspec: a value's own bytes are its cell.

What msgspec takes is strict JSON. A string without a backslash is a CSV cell as it stands, a number
and a word are bare, null is COPY's NULL: so a record is one join of raw values, every digit kept.
Each record that asks for more goes to the strict reader, which decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from loaders.readers.json_cells import any_there, extra_cell, has_key, list_cell
from loaders.readers.json_shape import ABSENT, Shape, TooOdd
from loaders.readers.json_strict import PAGE, Strict, elements_of
from loaders.readers.mapping import Mapping
from loaders.readers.rows import UNKNOWN_LIMIT, Found, Pieces, Reject, line, pieces, tail
from loaders.readers.values import plain_date

# A letter or a digit in another writing: so may a page's name be written.
# A number behind whose point there is nothing.
_WHOLE = re.compile(rb'\.0+[ \t]*[",]').search
ESCAPED = re.compile(r"\\u00(?:3[0-9]|[4-7])")


class Fast:
    """Reads blocks of whole values; `number` is that of the last record."""

    def __init__(self, mapping: Mapping, found: Found) -> None:
        self._mapping = mapping
        self._habits = mapping.habits
        self._treats = mapping.treats
        self._declared = mapping.declared
        self._lists = [
            place
            for place, column in enumerate(mapping.table.columns)
            if column.data_type == "jsonb" and len(mapping.table.columns) > 1
        ]
        self._found = found
        self._strict = Strict(mapping, found)
        self._path, self._tail = "", b""
        page = (mapping.table.records or PAGE)[0]
        self._page = f'"{page}"'
        self._pages_in_arrays = bool(mapping.table.records)
        try:
            self._shape: Shape | None = Shape(mapping, found)
        except TooOdd:
            self._shape = None

    @property
    def number(self) -> int:
        return self._strict.number

    def begin(self, path: str, first: int = 1) -> None:
        """Another file's records follow; what was learnt of its fields stays."""
        self._path, self._tail = path, tail(path).encode()
        self._strict.number = first - 1

    def elements(self, text: str) -> Pieces:
        """The elements of an array, with commas between them."""
        if self._pages_in_arrays and self._names_page(text):
            yield from pieces(self._strict.elements(text), self._path, self._found)
            return

        def split() -> list[str]:
            return [shown for _, shown in elements_of(text)]

        whole = self._decoded(text, lambda shape, raw: shape.many(b"[" + raw + b"]"))
        yield from self._rows(whole, text, split, self._strict.elements)

    def lines(self, text: str, *, last: bool) -> Pieces:
        """The values of lines."""

        def split() -> list[str]:
            return [one for one in text.split("\n") if one.strip(" \t\r\ufeff")]

        def strict(line: str) -> Any:
            return self._strict.line(line, cut=last and text.endswith(line))

        whole = None
        if not self._names_page(text):
            whole = self._decoded(text, lambda shape, raw: shape.lines(raw))
            ends = text.count("\n") + (not text.endswith("\n"))
            if whole is not None and len(whole) != ends and len(whole) != len(split()):
                whole = None  # values that share a line, or take several
        yield from self._rows(whole, text, split, strict)

    def _decoded(self, text: str, decode: Callable[[Shape, bytes], list[Any]]) -> list[Any] | None:
        """The block's records as structs, once all their fields are known; None in doubt."""
        try:
            raw = text.encode()
        except UnicodeEncodeError:
            return None
        while self._shape:
            try:
                return decode(self._shape, raw)
            except msgspec.ValidationError as error:
                try:
                    self._shape.learn(str(error))
                except TooOdd:
                    return None
            except (msgspec.DecodeError, RecursionError):
                return None
        return None

    def _rows(
        self,
        whole: list[Any] | None,
        text: str,
        split: Callable[[], list[str]],
        strict: Callable[[str], Any],
    ) -> Pieces:
        texts: list[str] = []
        if whole is None:
            texts = split()
            known = -1
            while self._shape and known != self._shape.version:
                known = self._shape.version  # what is learnt on the way makes other structs
                whole = [self._single(one) for one in texts]
            whole = whole or [None] * len(texts)
        made = self._made(whole, text)
        out: list[bytes] = []
        end = self._tail
        number = self._strict.number
        for index, row in enumerate(made):
            if row is not None:
                number += 1
                out.append(row + end % number)
                continue
            texts = texts or split()
            self._strict.number = number
            for record in strict(texts[index]):
                if isinstance(record, Reject):
                    self._found.put_aside(record)
                else:
                    out.append(line(record).encode() + end % record.number)
            number = self._strict.number
        self._strict.number = number
        if out:
            yield b"".join(out), len(out)

    def _single(self, text: str) -> Any:
        if self._names_page(text):
            return None
        found = self._decoded(text, lambda shape, raw: [shape.one(raw)])
        return found[0] if found else None

    def _names_page(self, text: str) -> bool:
        return self._page in text or ("\\u00" in text and bool(ESCAPED.search(text)))

    def _made(self, records: list[Any], text: str) -> list[bytes | None]:
        """Each record's cells; None where the strict reader must look. `text` is what they are
        in: what is not in it is not looked for in each."""
        shape = self._shape
        if shape is None:
            return [None] * len(records)
        get, absent = shape.get, shape.absent
        width, lists = self._mapping.width, self._lists
        always = bool(self._declared)
        escaped, zeros = "\\" in text, ".0" in text
        midnights = plain_date in self._habits.values() and "T00:00" in text

        def row_of(one: Any) -> bytes | None:
            got = get(one)
            cells, rest = got[:width], got[width:-1]
            brackets = 0
            for place in lists:
                value = bytes(cells[place])
                if value[0] == 91:
                    brackets += value.count(b"[")
                    if value != b"[]":
                        cells = (*cells[:place], list_cell(value), *cells[place + 1 :])
            joined = b",".join(cells) + b","
            odd = b"{" in joined or joined.count(b"[") != brackets or (escaped and b"\\" in joined)
            foreign = (zeros and _WHOLE(joined)) or (midnights and b"T00:" in joined)
            row: bytes | None = joined
            if odd or foreign or always:
                row = self._careful(list(map(bytes, cells)), odd, bool(foreign))
            if rest == absent:
                return row and row + b"null"
            extra = extra_cell(rest, shape)
            return row + extra if row and extra else None

        made: list[bytes | None] = []
        for one in records:
            if one is None:
                made.append(None)
                continue
            try:
                made.append(row_of(one))
            except AttributeError:  # null where an object is declared
                shape.fill(one)
                made.append(row_of(one))
        self._note(records, shape)
        return made

    def _careful(self, cells: list[bytes], odd: bool, foreign: bool) -> bytes | None:
        """Cells as declared, with what a `foreign` writer's habits change, and lists, objects and
        escapes where some are `odd`; None in doubt."""
        places = [*self._declared]
        if foreign:
            places += [p for p in self._habits if b".0" in cells[p] or b"T00:" in cells[p]]
        treated = set(places)
        if odd:
            places += [p for p, v in enumerate(cells) if b"\\" in v or v[0] == 91 or v[0] == 123]
        for place in set(places):
            value = cells[place]
            first = value[0]
            if first == 34:
                text = msgspec.json.decode(value)
                if "\0" in text:
                    return None
                cells[place] = self._cell(place, text)
            elif first == 91 or first == 123:
                # names twice inside are the strict reader's to decide
                if place in treated or b"\\" in value or b"{" in value:
                    return None
                cells[place] = list_cell(value)
            else:
                cells[place] = self._cell(place, None if first == 110 else value.decode())
        return b",".join(cells) + b","

    def _cell(self, place: int, text: str | None) -> bytes:
        if place in self._treats:
            text = self._treats[place](text)
        return b"null" if text is None else b'"' + text.replace('"', '""').encode() + b'"'

    def _note(self, records: list[Any], shape: Shape) -> None:
        """Which columns were there at all, and whether a record has the key."""
        found, columns = self._found, self._mapping.table.columns
        read = [one for one in records if one is not None]
        found.json_records += len(read)
        for place, look in enumerate(shape.columns):
            if columns[place].name not in found.seen and any_there(read, look):
                found.seen.add(columns[place].name)
        # a field that only a broken record had is none
        for name, look in shape.unknown.items():
            new = name not in found.unknown and len(found.unknown) < UNKNOWN_LIMIT
            if new and any_there(read, look, ABSENT):
                found.know(name)
        if not found.keyed:
            looks = [shape.columns[place] for place in self._mapping.key]
            found.keyed = any(has_key(one, looks) for one in read)
