"""A file that is read in slices gives the same records as when read whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from loaders import slices
from loaders.raw_file import RawFile
from loaders.readers.formats import read_pieces, scan
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Observed, Row, UnreadableError
from loaders.schema import Table
from loaders.slices import LINE_LIMIT, count_records, cut
from loaders.sources import declared_tables
from tests.copied import rows_of
from tests.hard_day import LINES, PLAIN_LINE, REFUSED, WHOLE, generated, one_each
from tests.raw_days import write

MAPPING = Mapping(declared_tables()["stg_transactions"])
ROLES = Mapping(declared_tables()["stg_roles"])


@pytest.fixture
def scanned(tmp_path) -> Callable[..., RawFile]:
    def written(name: str, content: Any, mapping: Mapping = MAPPING) -> RawFile:
        path = write(tmp_path, name, content)
        form: Any = "csv" if ".csv" in name else "json"
        about = path.stat()
        zipped = name.endswith(".gz")
        file = RawFile(name, path, form, zipped, about.st_size, about.st_mtime_ns)
        return scan(file, mapping)

    return written


def slices_of(file: RawFile, mapping: Mapping = MAPPING) -> tuple[list[RawFile], int | None]:
    """A file's slices, and how many records were counted in them."""

    def counted(parts: list[RawFile], table: Table) -> list[int | None]:
        return [count_records(part, table) for part in parts]

    [parts] = slices.slices_of([file], mapping.table, counted)
    first, records = parts[-1].first, parts[-1].records
    return parts, None if first is None or records is None else first + records - 1


def read(parts: list[RawFile], mapping: Mapping = MAPPING) -> tuple[list[Any], Any, str]:
    """The records, the fields that were found, and what is said of the error that ended it."""
    records: list[Any] = []
    every, error = Observed(), ""
    for part in parts:
        found = Observed(put_aside=records.append)
        try:
            for piece, _ in read_pieces(part, mapping, found):
                records += rows_of(piece)
        except UnreadableError as failure:
            error = failure.public
        every.add(found)
    records.sort(key=lambda one: (one.number, isinstance(one, Row)))
    try:
        every.check_keys()
    except UnreadableError as failure:
        error = error or failure.public
    return records, (every.missing(), every.unknown), error


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("size", [700, 20_000])
def test_a_file_of_lines_is_the_same_in_slices(scanned, monkeypatch, name, size):
    monkeypatch.setattr(slices, "SLICE", size)
    file = scanned(name, LINES[name])
    parts, counted = slices_of(file)
    assert len(parts) > 1 or file.bytes < size
    whole = read([file])
    assert read(parts) == whole
    assert counted in (None, whole[0][-1].number)


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_in_doubt_is_read_whole(scanned, monkeypatch, name):
    monkeypatch.setattr(slices, "SLICE", 700)
    file = scanned(name, WHOLE[name])
    assert slices_of(file) == ([file], None)


def test_a_slice_of_one_odd_line_is_read_as_in_the_whole_file(scanned, monkeypatch):
    """A slice of one odd line, the first or the last, is taken for what it is in the file."""
    for line in one_each(generated(400)):
        for content in ([PLAIN_LINE, line], [line, PLAIN_LINE], [line, line + b"\n"]):
            monkeypatch.setattr(slices, "SLICE", len(content[0]) - 1)
            file = scanned("t.json", b"\n".join(content))
            parts, _ = slices_of(file)
            assert read(parts) == read([file]), line


def test_an_error_at_the_end_of_a_file_is_that_of_its_last_slice(scanned, monkeypatch):
    monkeypatch.setattr(slices, "SLICE", 1_000)
    cut_off = scanned("roles.jsonl", REFUSED["roles.jsonl"], ROLES)
    parts, counted = slices_of(cut_off, ROLES)
    assert counted == 901
    assert read(parts, ROLES) == read([cut_off], ROLES)
    assert "ends in the middle" in read(parts, ROLES)[2]
    # a broken line further up is no end, though no line end follows the last
    open_line = scanned("t.jsonl", b"\n".join([b'{"id":"t', *[PLAIN_LINE] * 99]))
    parts, counted = slices_of(open_line)
    assert counted == 100 and len(parts) > 1
    assert read(parts) == read([open_line])
    assert read(parts)[2] == ""
    ragged = scanned("t.csv", "transaction_id,user_name\n" + "t,x\n" * 900 + "t")
    parts, counted = slices_of(ragged)
    assert counted == 901
    assert "it ends inside record 901, without a line end" in read(parts)[2]
    keyless = scanned("t.jsonl", '{"name": "B"}\n' * 900)
    assert read(slices_of(keyless)[0])[2] == read([keyless])[2] != ""


def test_a_file_is_cut_where_a_line_ends(scanned, monkeypatch):
    monkeypatch.setattr(slices, "SLICE", 10)
    file = scanned("t.json", b"{}\n" * 9)
    ends = [(part.start, part.end) for part in cut(file, MAPPING.table)]
    assert ends == [(0, 12), (12, 24), (24, 27)]
    assert len(cut(scanned("t.json", b"{}\n" * 3), MAPPING.table)) == 1
    line = b'{"id":"' + b"x" * 2 * LINE_LIMIT + b'"}\n'
    assert len(cut(scanned("t.json", line * 2), MAPPING.table)) == 1
    assert cut(file, replace(MAPPING.table, skip_lines=1)) == [file]
