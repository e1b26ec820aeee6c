"""JSON: an array, pages with a list in them, single objects, or one record a line.

The file is a sequence of values. An array gives its elements, an object with a list at the table's
`records` gives that list's elements, any other object is a record. A broken line rejects its
record; a broken element of an array or a page fails its file, and so does an end inside a record.

msgspec reads the records, and Python's json those that leave a doubt. What json says counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import IO, Any

from loaders.raw_file import RawFile
from loaders.readers import guess, json_blocks, rows
from loaders.readers.json_blocks import Block, Broken, Window, as_text, decode, value_in
from loaders.readers.json_cells import Cells
from loaders.readers.mapping import Mapping, is_list_of_objects
from loaders.readers.rows import Observed, Pieces, Reject, UnreadableError

# Escapes that Postgres can't store: a NUL, half of a pair; after another backslash only perhaps.
_UNSTORABLE = re.compile(
    rb"\\(?:u0000|u[dD][89abAB]..(?!\\u[dD][c-fC-F])|\\u(?:0000|[dD])"
    rb"|u[dD][c-fC-F](?<!\\u[dD][89abAB]..\\u[dD][c-fC-F]))"
).search


def read_json(file: RawFile, stream: IO[bytes], mapping: Mapping, observed: Observed) -> Pieces:
    """The file's records as bytes for COPY; rejects go to `observed`. Of a slice each line is one
    record.

    UnreadableError for a file that is cut, is broken in an array or a page, or none of whose
    records has the key; of a slice, `observed` keeps that error.
    """
    window, reader = Window(file, stream), Reader(mapping, observed, file.path, file.first or 1)
    observed.keyed = False
    first_values: list[Any] = []  # of the first block
    try:
        page = mapping.table.records or json_blocks.PAGE
        for block in json_blocks.blocks_of(window, file, page, lines=file.first is not None):
            if not first_values:
                first_values.append(first := value_in(as_text(block[0][0]))[0])
                if not reader.number and isinstance(first, dict):
                    # an envelope or an error message with an id: it would be a record
                    alone = sum(map(bool, block[0])) == 1
                    if problem := guess.no_record(first, mapping.table, alone=alone):
                        begins = guess.begins(window.head, mapping.table)
                        raise UnreadableError(
                            f"{file.path}: {problem}.", f"It begins with {begins}"
                        )
            if lines := reader.lines(block):
                yield b"".join(lines), len(lines)
    except (Broken, RecursionError) as error:
        broken = error if isinstance(error, Broken) else Broken("nested too deep")
        what = "ends in the middle" if broken.cut else "is broken"
        number = reader.number + 1
        begins = guess.begins(window.head, mapping.table)
        begins = f"It begins with {begins}" if number == 1 else ""
        if number == 1 and (kind := guess.kind_of_bytes(json_blocks.as_bytes(window.head))):
            raise UnreadableError(f"{file.path}: {kind}.", begins) from None
        raise UnreadableError(
            f"{file.path} {what}: fetch it again. Nothing was replaced. Record {number}: {broken}.",
            begins,
        ) from None
    if window.error and not first_values:
        first_values.append(window.error)
    if observed.keyed:
        observed.with_key.add(file.path)
    elif first_values:
        keyless = guess.refuse_page(file, mapping.table, first_values[0], window.head)
        if file.first is None:
            raise keyless
        observed.keyless.setdefault(file.path, keyless)  # another slice may have it
    observed.blank = not window.head.strip(" \t\r\n\ufeff")


class Reader:
    """Turns a file's blocks into lines for COPY; `number` is that of the last record."""

    def __init__(self, mapping: Mapping, observed: Observed, path: str, first: int = 1) -> None:
        self.number = first - 1
        self._mapping, self._observed = mapping, observed
        self._line = Cells(mapping, observed).line
        self._end = rows.line_end(path)
        self._page = mapping.table.records or json_blocks.PAGE

    def lines(self, block: Block) -> list[bytes]:
        """A line for COPY of each record. A broken line is a reject. Broken for a broken element of
        an array, and when the file ends inside a line."""
        values, on_lines = block
        may_be_pages = on_lines or bool(self._mapping.table.records)
        cells_of, end = self._line, self._end
        lines: list[bytes] = []
        for place, raw in enumerate(values, start=1):
            if _is_storable(raw) and (cells := cells_of(raw)):
                self.number += 1
                lines.append(cells + end % self.number)
            elif on_lines:
                lines += self._lines_of(as_text(raw), may_be_cut=place == len(values))
            else:
                for value, text in _values_of(as_text(raw)):
                    lines += self._record(value, text, may_be_page=may_be_pages)
        return lines

    def _lines_of(self, text: str, *, may_be_cut: bool) -> Iterator[bytes]:
        """The lines for COPY of the records in a line of the file, none of a blank one."""
        text = text.strip(" \t\r\ufeff")
        try:
            values = list(_values_of(text))
        except Broken as broken:
            ends_open = text[:1] in ("{", "[") and text[-1:] not in ("}", "]")
            if may_be_cut and (broken.cut or ends_open):
                raise Broken(str(broken), cut=True) from None
            bad_bytes = rows.why_unstorable(text) == "not utf-8"
            self._reject("not utf-8" if bad_bytes else f"broken json: {broken}", text)
            return
        for value, raw in values:
            for record in value if isinstance(value, list) else [value]:
                if isinstance(record, dict):
                    yield from self._record(record, raw, may_be_page=True)
                else:
                    self._reject("not an object", raw)

    def _reject(self, reason: str, raw: str) -> None:
        self.number += 1
        self._observed.put_aside(Reject(self.number, reason, rows.raw_text(raw)))

    def _record(self, value: Any, raw: str, *, may_be_page: bool) -> Iterator[bytes]:
        if not isinstance(value, dict):
            raise Broken("an element is no object")
        if may_be_page and (records := _list_at(value, self._page)) is not None:
            for record in records:
                yield from self._record(record, raw, may_be_page=False)
            return
        self.number += 1
        is_odd = rows.UNSTORABLE.search(raw) or "\\u" in raw
        if is_odd and (storable := rows.repaired(value)) != value:
            surrogate = rows.UNSTORABLE.search(rows.json_text(value))  # in which a NUL is an escape
            why = rows.why_unstorable(raw) or ("lone surrogate" if surrogate else "nul byte")
            self._observed.put_aside(Reject(self.number, why, rows.raw_text(raw), landed=True))
            value = storable
        row = self._mapping.record(self.number, value, self._observed)
        yield rows.line(row) + self._end % self.number


def _is_storable(raw: bytes) -> bool:
    """Whether Postgres can store all that is in a record; False in doubt."""
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError:
            return False
    return not _UNSTORABLE(raw)


def _list_at(value: Any, path: tuple[str, ...]) -> list[Any] | None:
    """The list of objects that an object has at `path`, if it has one."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if is_list_of_objects(value) else None


def _values_of(text: str) -> Iterator[tuple[Any, str]]:
    """Each value in a text that has nothing but values, with the value's own text; Broken."""
    at = json_blocks.BLANK.match(text).end()  # type: ignore[union-attr]
    while at < len(text):
        try:
            value, end = decode(text, at)
        except RecursionError:
            raise Broken("nested too deep") from None
        except json.JSONDecodeError as error:
            raise json_blocks.broken(error, text) from None
        yield value, text[at:end]
        at = json_blocks.BLANK.match(text, end).end()  # type: ignore[union-attr]
