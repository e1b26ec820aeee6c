"""CSV is split as by Python's csv, counted independently, and refused where it is cut."""

from __future__ import annotations

import csv
import io
import random
import unicodedata
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from loaders.errors import DaybookError
from loaders.raw_file import RawFile
from loaders.readers import csv_count, csv_file
from loaders.readers.csv_count import Count, MustBeParsed, QuickCount
from loaders.readers.csv_file import read_csv, read_csv_header, records_of
from loaders.readers.guess import ENDS_SO
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Reject, Row, UnreadableError
from loaders.schema import Column, Table
from loaders.slices import count_records

COLUMNS = (Column("a", "text", (("a",),)), Column("b", "text", (("b",),)))
TABLE = Table("stg_t", ("t",), "snapshot", False, ("a",), COLUMNS, 0.1)
MAPPING = Mapping(TABLE)


def raw_file(location: Path, content: bytes) -> RawFile:
    location.write_bytes(content)
    return RawFile(location.name, location, "csv", False, len(content), 0)


def parsed(location: Path, content: bytes, mapping: Mapping = MAPPING) -> list[Row | Reject]:
    file = raw_file(location, content)
    header = read_csv_header(file, mapping)
    assert header is not None
    return list(read_csv(file, io.BytesIO(content), mapping, header))


def fields(content: bytes, delimiter: str = ",") -> list[list[str]]:
    return [found for _, found, _ in records_of(io.BytesIO(content).read, "t", delimiter)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a,b", ["a", "b"]),
        ('"a,b",c', ["a,b", "c"]),
        ('"a""b",""', ['a"b', ""]),
        ('5" desk,3" nail', ['5" desk', '3" nail']),
        ('"5"" desk",x', ['5" desk', "x"]),
        ('ab"cd"ef,x"y,z"', ['ab"cd"ef', 'x"y', 'z"']),
        ('"a"b"c",d', ['ab"c"', "d"]),
        ('a"\nb', ['a"']),
    ],
)
def test_a_quote_inside_an_unquoted_field_is_a_character(line, expected):
    assert fields(line.encode())[0] == expected


def test_a_header_is_found_however_its_accents_are_composed(tmp_path):
    table = replace(TABLE, columns=(COLUMNS[0], Column("b", "text", (("Größe",),))))
    content = unicodedata.normalize("NFD", "a,Größe\n1,2\n").encode()
    assert parsed(tmp_path / "t.csv", content, Mapping(table)) == [Row(1, ["1", "2"], None)]


PIECES = ["a", " ", "é", '"b"', '""', '"c,d"', '"e\nf"', '"g""h"', 'i"j"k', '"\r"', '5"', '"x"y']


def random_csv(chooser: random.Random) -> bytes:
    """Two columns, quotes in every place, and now and then a row that has too much of something."""

    def field() -> str:
        return "".join(chooser.choice(PIECES) for _ in range(chooser.randrange(3)))

    ends = chooser.choice([["\n"], ["\r\n"], ["\r"], ["\n", "\n", "\r\n", "\r"]])
    rows = [f"{field()},{field()}{chooser.choice(ends)}" for _ in range(chooser.randrange(6))]
    if chooser.random() < 0.3:
        rows.insert(0, chooser.choice(['"', ",", "\n", " \n", "a\n"]))
    return (f"a,b{ends[0]}" + "".join(rows)).encode()


def test_records_are_those_of_pythons_csv():
    chooser = random.Random(5)
    for _ in range(3000):
        content = random_csv(chooser)
        lines = io.StringIO(content.decode(), newline="")
        theirs = [one for one in csv.reader(lines) if one and not (len(one) == 1 and one[0] == " ")]
        assert fields(content) == theirs, content


def test_the_count_is_that_of_the_records_wherever_chunks_are_cut():
    chooser = random.Random(6)
    for _ in range(2000):
        content = random_csv(chooser) + chooser.choice([b"", b"\r", b"\r\n", b" \t", b"x"])
        many = len(fields(content)) - 1
        for size in (1, 2, 3, 7, len(content)):
            count = Count("t.csv")
            for at in range(0, len(content), size):
                count.add(content[at : at + size])
            assert count.records() == many, (size, content)


def quick(content: bytes, size: int) -> int | None:
    count = QuickCount("t.csv")
    try:
        for at in range(0, len(content), size):
            count.add(content[at : at + size])
        return count.records()
    except MustBeParsed:
        return None


def test_what_the_quick_count_lets_through_postgres_reads_as_pythons_csv(db):
    chooser = random.Random(7)
    taken = 0
    db.execute("create temporary table t (a text, b text)")
    for _ in range(1500):
        content = random_csv(chooser)
        found = {quick(content, size) for size in (1, 2, 3, 7, len(content))}
        assert len(found) == 1, content
        if None in found:
            continue
        statement = "copy t from stdin (format csv, header true, force_null (a, b))"
        try:
            with db.transaction(), db.cursor().copy(statement) as copy:
                copy.write(content)
        except psycopg.DataError:
            continue
        theirs = [(row["a"], row["b"]) for row in db.execute("select a, b from t order by ctid")]
        db.execute("truncate t")
        if len(theirs) != found.pop():
            continue  # blank lines: parsed instead
        assert [tuple(f or None for f in one) for one in fields(content)[1:]] == theirs, content
        taken += 1
    assert taken > 100


def test_each_bad_row_is_one_reject_or_one_repair(tmp_path):
    content = b'a,b\n1,x\n2\n3,y,z\n4,caf\xe9\n5,\x00\n6,"q\nr"\n7,x,\n'
    found = parsed(tmp_path / "t.csv", content)
    values = {one.number: one.values[1] for one in found if isinstance(one, Row)}
    assert values == {1: "x", 4: "caf\ufffd", 5: "\ufffd", 6: "q\nr"}
    assert [(one.number, one.reason, one.landed) for one in found if isinstance(one, Reject)] == [
        (2, "ragged: 1 fields, 2 expected", False),
        (3, "ragged: 3 fields, 2 expected", False),
        (4, "not utf-8", True),
        (5, "nul byte", True),
        (7, f"ragged: 3 fields, 2 expected; the line {ENDS_SO}", False),
    ]
    shown = {one.number: one.raw for one in found if isinstance(one, Reject)}
    assert (shown[4], shown[5]) == ("4,caf\\xe9\n", "5,\\x00\n")


@pytest.mark.parametrize("content", [b'a,b\n1,x\n2,"open\n3,x\n', b"a,b\n1,x\n2", b"a,b\n1,2,3"])
def test_a_file_that_ends_inside_a_record_is_refused(tmp_path, content):
    message = r"t\.csv: it ends inside record [12], .* It begins with a,b$"
    with pytest.raises(UnreadableError, match=message):
        parsed(tmp_path / "t.csv", content)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_and_a_missing_last_one(tmp_path, end):
    content = end.join([b"a,b", b"1,x", b"", b"  ", b'2,"y"', b"\xef\xbb\xbf3,z"])
    for tail in (b"", end):
        rows = [row for row in parsed(tmp_path / "t.csv", content + tail) if isinstance(row, Row)]
        assert [row.number for row in rows] == [1, 2, 3]
        assert [row.values for row in rows] == [["1", "x"], ["2", "y"], ["3", "z"]]


def test_a_line_of_tabs_is_a_record_of_empty_fields_where_they_are_delimiters(tmp_path):
    tabs = replace(TABLE, delimiter="\t")
    content = b"a\tb\n1\tx\n\t\n \n2\ty\n"
    numbers = [one.number for one in parsed(tmp_path / "t.csv", content, Mapping(tabs))]
    assert numbers == [1, 2, 3]
    assert count_records(raw_file(tmp_path / "t.csv", content), tabs) == len(numbers) + 1


def test_what_begins_like_a_mark_is_counted_as_it_is_read(tmp_path):
    lines = [b'\xef\xbb\xbf"1\n",x', b"\xef\xbb\xbf", b" \xef\xbb\xbf", b"\xbb", b"2,y", b""]
    found = parsed(tmp_path / "t.csv", b"\n".join([b"a,b", *lines]))
    assert [one.values[0] for one in found if isinstance(one, Row)] == ["1\n", "2"]


def header(path: Path, content: bytes, mapping: Mapping = MAPPING) -> tuple[str, ...] | None:
    found = read_csv_header(raw_file(path, content), mapping)
    return None if found is None else found.names


def test_header_is_found_behind_bom_and_blank_lines(tmp_path):
    path = tmp_path / "t.csv"
    assert header(path, b'\xef\xbb\xbf\n \n"a", b\r\n1,2') == ("a", "b")
    assert header(path, b"") is None
    assert header(path, b"\xef\xbb\xbf\n") is None
    assert header(path, b"a,b") == ("a", "b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"17,b,17,17\n", "repeats a name, in column 3, 4\\. Give"),
        (b"a,,b\n", "column 2 of the header has no name"),
        (b",a,b\n", "column 1 of the header has no name.*index=False"),
        (b"a,\xe9\n", "not UTF-8.*cp1252"),
        (b'a,"b\n', "quote open"),
        (b"a," + b"x" * (3 << 20), "longer than 1 MiB"),
        (b",".join(b"c%d" % n for n in range(100_000)) + b"\n", "100000 columns; 1600 are"),
        (b"a;b\n", "as read: a;b .*probably ';': declare delimiter"),
        (b"a\tb\n", "declare delimiter: "),
        (b"sep=;\na;b\n", "Excel's sep="),
        (b"\xef\xbb\xbf\xef\xbb\xbfc,b\n", "second BOM|key column a is missing"),
        ("a,b\n".encode("utf-16"), "UTF-16: save it as UTF-8"),
        ("a,b\n1,2\n".encode("utf-16-le"), "UTF-16"),
        (b"\x1f\x8b\x08" + b"x" * 20, "gzip: unzip it, or give a file of text the ending"),
        (b"PK\x03\x04", "name it .xlsx"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "save it as .xlsx without one"),
        (b"(\xb5/\xfd\x88\x91", "it is zstd: unpack it"),
        (b"<!DOCTYPE html><html>", "HTML, an error page"),
        (b'{"message": "no"}', "it is JSON: name it .json"),
        (b"sep=,\na,b\n1,2\n", "Excel's sep="),
        (b'"sep=;"\r\na;b\n', "Excel's sep=: delete that line, and declare delimiter: ';'\\.$"),
        (b"sep=\t\na\tb\n", r'declare delimiter: "\\t"\.$'),
        (b"sep=,,,\na,b\n", r"Excel's sep=: delete that line\.$"),
        (
            b"People of 2026\n\na,b\n1,2\n",
            "header is further down: delete.* skip_lines: 1. .*read: People of 2026\\.$",
        ),
        (b"People,\n,\na,b\n", "header is further down: delete what stands above it"),
        (b"x,y\n1,a\n", "key column a is missing"),
        (b"a,b,\n1,2,\n", "column 3 of the header has no name: the line ends with a delimiter"),
    ],
)
def test_headers_that_are_refused_say_what_they_probably_are(tmp_path, content, message):
    with pytest.raises(DaybookError, match=message):
        header(tmp_path / "t.csv", content)


def test_lines_above_the_header_are_skipped_where_that_is_said(tmp_path):
    mapping = Mapping(replace(TABLE, skip_lines=2))
    head = b'\xef\xbb\xbf"Activity, of\n2026"\n\nPrepared "for,x\n'
    assert parsed(tmp_path / "t.csv", head + b"\na,b\n1,2\n", mapping) == [Row(1, ["1", "2"], None)]
    found = read_csv_header(raw_file(tmp_path / "t.csv", head + b"a,b\n1,2\n"), mapping)
    assert found is not None and found.streamed is None
    with pytest.raises(DaybookError, match=r"further down: .* declare skip_lines: 3"):
        parsed(tmp_path / "t.csv", head + b"more\na,b\n1,2\n", mapping)
    for cut in (head, b"a,b\n1,2\n", b'"Activity\na,b\n1,2\n'):
        with pytest.raises(DaybookError, match=r"no header follows its [12] lines?, .*: 2 passes"):
            read_csv_header(raw_file(tmp_path / "t.csv", cut), mapping)
    assert read_csv_header(raw_file(tmp_path / "t.csv", b"\n \n"), mapping) is None
    with pytest.raises(DaybookError, match=r"or the header is one of the 2 above it"):
        parsed(tmp_path / "t.csv", b"x\na,b\n1,2\n", mapping)


def test_headers_match_whatever_their_case_and_blanks(tmp_path):
    assert parsed(tmp_path / "t.csv", b" B ,A\n1,2\n") == [Row(1, ["2", "1"], None)]


def test_undeclared_columns_are_kept(tmp_path):
    rows = parsed(tmp_path / "t.csv", b'b,"say ""x""",a\n1,\xc3\xa9,2\n3,,4\n')
    assert rows == [Row(1, ["2", "1"], '{"say \\"x\\"":"é"}'), Row(2, ["4", "3"], None)]


def test_a_record_over_the_limit_is_not_held(monkeypatch):
    monkeypatch.setattr(csv_file.rows, "RECORD_LIMIT", 1000)
    monkeypatch.setattr(csv_count, "RECORD_LIMIT", 1000)
    with pytest.raises(UnreadableError, match="64 MiB"):
        fields(b'a,b\n1,"' + b"1,x\n" * 900)
    with pytest.raises(UnreadableError, match="64 MiB"):
        fields(b"a,b\n" + b"x" * 5000)
    for count in (Count("t.csv"), QuickCount("t.csv")):
        with pytest.raises(UnreadableError, match="quote left open"):
            for _ in range(100):
                count.add(b"x" * 100)


@pytest.mark.parametrize("counter", [Count, QuickCount])
def test_a_record_is_counted_in_time_linear_in_its_size(counter, monkeypatch):
    looked_at = 0
    whole = counter._count

    def counted(self: Count, text: bytes) -> bytes:
        nonlocal looked_at
        looked_at += len(text)
        return whole(self, text)

    monkeypatch.setattr(counter, "_count", counted)
    count = counter("t.csv")
    content = b"a,b\n1," + b"x" * 200_000 + b'\n2,"' + b"x\n" * 100_000 + b'"\n'
    for start in range(0, len(content), 1_000):
        count.add(content[start : start + 1_000])
    assert count.records() == 2
    assert looked_at < 4 * len(content)
