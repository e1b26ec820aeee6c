"""CSV is split, counted and refused as Postgres would: held against Postgres itself."""

from __future__ import annotations

import io
import random
from pathlib import Path

import psycopg
import pytest

from loaders import read_csv
from loaders.errors import DaybookError
from loaders.files import RawFile, UnreadableError
from loaders.read_csv import Count, csv_header, fields_of, records_of
from loaders.records import Reject, Row
from loaders.sources import Column, Table

TABLE = Table(
    "stg_t",
    ("t",),
    "snapshot",
    False,
    ("a",),
    (Column("a", "text", ("a",)), Column("b", "text", ("b",))),
    0.1,
)


def raw_file(location: Path, content: bytes) -> RawFile:
    location.write_bytes(content)
    return RawFile(location.name, location, "csv", False, len(content), 0)


def parsed(location: Path, content: bytes, table: Table = TABLE) -> list[Row | Reject]:
    file = raw_file(location, content)
    header = csv_header(file)
    assert header is not None
    return list(read_csv.read_csv(file, io.BytesIO(content), table, header))


def test_fields_follow_the_quote_toggle_of_postgres() -> None:
    assert fields_of("a,b") == ["a", "b"]
    assert fields_of('"a,b",c') == ["a,b", "c"]
    assert fields_of('"a""b",""') == ['a"b', ""]
    assert fields_of('ab"cd"ef,x"y,z"') == ["abcdef", "xy,z"]
    assert fields_of('"""a",""""') == ['"a', '"']
    assert fields_of("") == [""]


def random_csv(chooser: random.Random) -> bytes:
    """Two columns, quotes in every place, and now and then a row that has too much of something."""

    def field() -> str:
        return "".join(chooser.choice(field_pieces) for _ in range(chooser.randrange(3)))

    field_pieces = ["a", " ", "é", '"b"', '""', '"c,d"', '"e\nf"', '"g""h"', 'i"j"k', '"\r"']
    ends = chooser.choice([["\n"], ["\r\n"], ["\r"], ["\n", "\n", "\r\n", "\r"]])
    rows = [f"{field()},{field()}{chooser.choice(ends)}" for _ in range(chooser.randrange(6))]
    if chooser.random() < 0.3:
        rows.insert(0, chooser.choice(['"', ",", "\n", " \n", "a\n"]))
    return (f"a,b{ends[0]}" + "".join(rows)).encode()


def test_what_postgres_takes_is_read_as_postgres_reads_it(db: psycopg.Connection) -> None:
    chooser = random.Random(5)
    taken = 0
    db.execute("create temporary table t (a text, b text)")
    for _ in range(600):
        content = random_csv(chooser)
        try:
            with (
                db.transaction(),
                db.cursor().copy(
                    "copy t from stdin (format csv, header true, force_null (a, b))"
                ) as copy,
            ):
                copy.write(content)
        except psycopg.DataError:
            continue
        theirs = [(row["a"], row["b"]) for row in db.execute("select a, b from t order by ctid")]
        db.execute("truncate t")
        lines = list(records_of(iter([content])))[1:]
        ours = [
            tuple(field or None for field in fields_of(line.decode().rstrip("\r\n")))
            for _, line, _ in lines
        ]
        assert ours == theirs, content
        for quick in (False, True):
            count = Count(raw_file_stub(), quick=quick)
            count.add(content)
            assert count.records() == len(theirs), content
        taken += 1
    assert taken > 100


def raw_file_stub() -> RawFile:
    return RawFile("t.csv", Path("t.csv"), "csv", False, 0, 0)


def test_cuts_between_chunks_change_nothing() -> None:
    chooser = random.Random(6)
    for _ in range(400):
        content = random_csv(chooser) + chooser.choice([b"", b"\r", b"\r\n", b" \t", b"x"])
        whole = list(records_of(iter([content])))
        counts = []
        quick_counts = []
        for size in (1, 2, 3, 7, len(content)):
            chunks = [content[at : at + size] for at in range(0, len(content), size)]
            assert list(records_of(iter(chunks))) == whole, (size, content)
            count, quick = Count(raw_file_stub()), Count(raw_file_stub(), quick=True)
            for chunk in chunks:
                count.add(chunk)
                quick.add(chunk)
            counts.append(count.records())
            quick_counts.append(quick.records())
        assert set(counts) == {len(whole) - 1}, content
        assert len(set(quick_counts)) == 1, content
        assert quick_counts[0] >= counts[0], content


def test_each_bad_row_is_one_reject_with_its_reason(tmp_path: Path) -> None:
    content = b'a,b\n1,x\n2\n3,y,z\n4,caf\xe9\n5,\x00\n6,"q\nr"\n7,"open\n8,x\n'
    found = parsed(tmp_path / "t.csv", content)
    assert [(one.number, one.values) for one in found if isinstance(one, Row)] == [
        (1, ["1", "x"]),
        (6, ["6", "q\nr"]),
    ]
    assert [(one.number, one.reason, one.weight) for one in found if isinstance(one, Reject)] == [
        (2, "ragged: 1 fields, 2 expected", 1),
        (3, "ragged: 3 fields, 2 expected", 1),
        (4, "not utf-8", 1),
        (5, "nul byte", 1),
        (7, "open quote", 2),
    ]
    shown = {one.number: one.raw for one in found if isinstance(one, Reject)}
    assert shown[4] == "4,caf\\xe9\n"
    assert shown[5] == "5,\\x00\n"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_and_a_missing_last_one(tmp_path: Path, end: bytes) -> None:
    content = end.join([b"a,b", b"1,x", b"", b"  ", b'2,"y"', b"3,z"])
    for tail in (b"", end):
        rows = parsed(tmp_path / "t.csv", content + tail)
        assert [(row.number, *row.values) for row in rows if isinstance(row, Row)] == [
            (1, "1", "x"),
            (2, "2", "y"),
            (3, "3", "z"),
        ]


def test_header_is_found_behind_bom_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    assert csv_header(raw_file(path, b'\xef\xbb\xbf\n \n"a", b\r\n1,2')) == ("a", "b")
    assert csv_header(raw_file(path, b"")) is None
    assert csv_header(raw_file(path, b"\xef\xbb\xbf\n")) is None
    assert csv_header(raw_file(path, b"a,b")) == ("a", "b")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"17,b,17,17\n", "repeats a name, in column 3, 4\\. Give"),
        (b"a,,b\n", "column 2 of the header has no name"),
        (b"a,\xe9\n", "not UTF-8"),
        (b'a,"b\n', "quote open"),
        (b"a," + b"x" * (3 << 20), "longer than 1 MiB"),
    ],
)
def test_headers_that_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(DaybookError, match=said):
        csv_header(raw_file(tmp_path / "t.csv", content))


def test_undeclared_columns_are_kept(tmp_path: Path) -> None:
    rows = parsed(tmp_path / "t.csv", b'b,"say ""x""",a\n1,\xc3\xa9,2\n3,,4\n')
    assert rows == [Row(1, ["2", "1"], '{"say \\"x\\"":"é"}'), Row(2, ["4", "3"], None)]


def test_a_record_over_the_limit_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_csv, "RECORD_LIMIT", 1000)
    endless = (b"1,x\n" * 9 if number else b'a,b\n1,"' for number in range(100))
    with pytest.raises(UnreadableError, match="64 MiB"):
        list(records_of(endless))
    count = Count(raw_file_stub(), quick=True)
    with pytest.raises(UnreadableError, match="quote left open"):
        for _ in range(100):
            count.add(b"x" * 100)
