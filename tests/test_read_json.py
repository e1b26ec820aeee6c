"""JSON records one by one: every layout, in pieces of any size, broken ones set aside."""

from __future__ import annotations

import io
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loaders import read_json
from loaders.files import RawFile, UnreadableError
from loaders.records import Fields, Reject, Row
from loaders.sources import Column, Table, declared_tables

TABLE = Table(
    "stg_t",
    ("t",),
    "snapshot",
    False,
    ("a",),
    (Column("a", "text", ("id",)), Column("b", "text", ("in", "b"))),
    0.1,
)
DELTA = replace(TABLE, kind="delta")
FILE = RawFile("t.json", Path("t.json"), "json", False, 0, 0)


def read(content: str | bytes, table: Table = TABLE, fields: Fields | None = None) -> list[Any]:
    raw = content.encode() if isinstance(content, str) else content
    return list(read_json.read_json(FILE, io.BytesIO(raw), table, fields or Fields()))


def ids(found: list[Row | Reject]) -> list[str | None]:
    return [one.values[0] for one in found if isinstance(one, Row)]


def rejects(found: list[Row | Reject]) -> list[tuple[int, str, str]]:
    return [(one.number, one.reason, one.raw) for one in found if isinstance(one, Reject)]


@pytest.fixture(params=[1, 2, 5, 1 << 20])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Pieces so small that every token is cut somewhere."""
    monkeypatch.setattr(read_json, "CHUNK", request.param)
    return request.param


@pytest.mark.parametrize(
    "content",
    [
        '[{"id": 1}, {"id": 2}]',
        '{"results": [{"id": 1}, {"id": 2}]}',
        '{"n": 2, "meta": {"results": [{"id": 9}]}, "results": [{"id": 1}, {"id": 2}], "next": 12}',
        '{"id": 1}\n{"id": 2}',
        '{"id": 1}{"id": 2}\n\n',
        '\ufeff[{"id": 1},\n{"id": 2}]\n',
        '[{"id": 1}]\n[{"id": 2}]',
        '{"results": [{"id": 1}]}\n{"results": [{"id": 2}]}',
        '{"results": [{"id": 1}], "n": {}, "results": [{"id": 2}], "results": 0}',
    ],
)
@pytest.mark.usefixtures("chunk")
def test_every_layout_gives_its_records(content: str) -> None:
    assert read(content) == [Row(1, ["1", None], None), Row(2, ["2", None], None)]


@pytest.mark.parametrize("content", ["", " \n", "[]", '{"results": []}', "\ufeff"])
@pytest.mark.usefixtures("chunk")
def test_files_without_records(content: str) -> None:
    assert read(content) == []


@pytest.mark.usefixtures("chunk")
def test_numbers_keep_their_own_digits() -> None:
    content = '[{"id": 9007199254740993, "in": {"b": 1.10, "c": 1E5}, "n": [1.0, -0]}]'
    (row,) = read(content)
    assert row.values == ["9007199254740993", "1.10"]
    assert row.extra == '{"in":{"c":1E5},"n":[1.0,-0]}'


@pytest.mark.usefixtures("chunk")
def test_values_land_as_text() -> None:
    content = '[{"id": [1, {"x": "é\\n"}], "in": {"b": true}}, {"id": "", "in": {"b": null}}]'
    assert read(content) == [
        Row(1, ['[1,{"x":"é\\n"}]', "true"], None),
        Row(2, ["", None], None),
    ]


def test_undeclared_fields_keep_their_nesting() -> None:
    fields = Fields()
    content = '[{"id": 1, "in": {"b": 2, "c": {"d": 3}}, "e": null}, {"in": 4}, {"in": null}]'
    assert [row.extra for row in read(content, fields=fields)] == [
        '{"in":{"c":{"d":3}},"e":null}',
        '{"in":4}',
        None,
    ]
    assert fields.unknown == {"in", "in.c", "e"}


@pytest.mark.usefixtures("chunk")
def test_reading_goes_on_behind_what_is_broken() -> None:
    content = '[{"id": 1}, {"id": nope, "y": ["],"]}, {"id": 3}, 4, {"id": NaN}, {"id": 6}]'
    found = read(content)
    assert ids(found) == ["1", "3", "6"]
    assert [(number, raw) for number, _, raw in rejects(found)] == [
        (2, '{"id": nope, "y": ["],"]}'),
        (4, "4"),
        (5, '{"id": NaN}'),
    ]
    assert [reason for _, reason, _ in rejects(found)] == [
        "broken json: Expecting value",
        "not an object",
        "broken json: NaN is not JSON",
    ]


@pytest.mark.usefixtures("chunk")
def test_a_broken_line_of_many_is_one_reject() -> None:
    found = read('{"id": 1}\n{"id": "cut\n{"id": 3}\ngarbage\n{"id": 5}\n')
    assert ids(found) == ["1", "3", "5"]
    assert [(number, raw) for number, _, raw in rejects(found)] == [
        (2, '{"id": "cut'),
        (4, "garbage"),
    ]


CUT = pytest.mark.parametrize(
    "content",
    [
        '[{"id": 1}, {"id": 2',
        '[{"id": 1}, {"id": "2',
        '[{"id": 1}, ',
        '[{"id": 1}',
        '{"results": [{"id": 1}, {"i',
        '{"results": [{"id": 1}',
        '{"results": [{"id": 1}]',
        '{"results": [{"id": 1}], "next": "x',
        '{"id": 1}\n{"id"',
        '{"id": 1}\n{"id": {"n": 2}',
        '{"results": [{"id": 1}], "x": nope, "next": "x\n',
        '{"id": 1}\n{\n "in": {},\n "results": [',
    ],
)


@CUT
@pytest.mark.usefixtures("chunk")
def test_a_cut_is_one_reject(content: str) -> None:
    found = read(content, DELTA)
    assert ids(found) == ["1"]
    assert len(found) == 2


@CUT
@pytest.mark.parametrize("end", ["", "é"])
@pytest.mark.usefixtures("chunk")
def test_a_cut_snapshot_is_refused(content: str, end: str) -> None:
    raw = content.encode() + end.encode()[:1]
    with pytest.raises(UnreadableError, match=r"t\.json ends in the middle: fetch it again\."):
        read(raw)


@pytest.mark.parametrize("last", ['{"id": "cut\n', '{"id": nope}', "garbage", "]"])
@pytest.mark.usefixtures("chunk")
def test_a_broken_last_line_that_is_all_there_is_a_reject(last: str) -> None:
    found = read('{"id": 1}\n' + last)
    assert (ids(found), len(found)) == (["1"], 2)


@pytest.mark.parametrize(
    ("content", "landed", "reason"),
    [
        ('[{"id": 1} {"id": 2}]', ["1", "2"], "no comma between two records"),
        ('[{"id": 1},]', ["1"], "no record behind a comma"),
        ('[,{"id": 1}]', ["1"], "no record before a comma"),
        ('[{"id": 1},,{"id": 2}]', ["1", "2"], "no record before a comma"),
        ('{"results": [{"id": 1}], "x": }\n{"id": 2}', ["1", "2"], "Expecting value"),
        ('{"results": [{"id": 1}] "x": {"y": 1}}\n{"id": 2}', ["1", "2"], "Expecting ',' delim"),
        ('{"results": [{"id": 1}], "x" {}, "y": {}}', ["1"], "Expecting ':' delimiter"),
        ('{"results": [{"id": 1}],}', ["1"], "Expecting property name"),
        ('{"results": [{"id": 1}], "results": [2]}', ["1"], "not an object"),
    ],
)
@pytest.mark.usefixtures("chunk")
def test_broken_punctuation_is_a_reject(content: str, landed: list[str], reason: str) -> None:
    found = read(content)
    assert ids(found) == landed
    (reject,) = rejects(found)
    assert reason in reject[1]


@pytest.mark.usefixtures("chunk")
def test_strings_that_postgres_cannot_store_are_rejected() -> None:
    content = (
        b'[{"id": "\xff"}, {"id": "\\u0000"}, {"id": "\\ud800"}, {"x\\u0000": 1},'
        b' {"id": "\\\\u0000"}, {"id": "\\ud83d\\ude00"}, {"id": "\xc3\xa9"}]'
    )
    found = read(content)
    assert ids(found) == ["\\u0000", "😀", "é"]
    assert [reason for _, reason, _ in rejects(found)] == [
        "not utf-8",
        "nul byte",
        "lone surrogate",
        "nul byte",
    ]
    assert rejects(found)[0][2] == '{"id": "\\xff"}'


def test_numbers_that_jsonb_cannot_hold_are_rejected() -> None:
    found = read('[{"x": 1e400000}, {"x": -1E+99999}, {"x": 1e-7}, {"id": 1e400000}]')
    assert [reason for _, reason, _ in rejects(found)] == ["a number out of range"] * 2
    assert ids(found) == [None, "1e400000"]


def test_nesting_without_end_is_rejected() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    found = read('[{"id": 1}, {"id": ' + deep + '}, {"id": 3}]')
    assert ids(found) == ["1", "3"]
    assert [reason for _, reason, _ in rejects(found)] == ["broken json: nested too deep"]


@pytest.mark.parametrize("head", ["[", '{"results": [', ""])
def test_a_record_over_the_limit_is_not_held(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_json, "RECORD_LIMIT", 10_000)
    monkeypatch.setattr(read_json, "CHUNK", 100)
    with pytest.raises(UnreadableError, match="64 MiB"):
        read(head + '{"id": "' + "x" * 30_000 + '"}')


def test_generated_documents_are_read_as_json_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    chooser = random.Random(7)

    def value(depth: int) -> Any:
        kinds = [
            lambda: chooser.choice([None, True, False, "", 'a"\\,]}', "é😀\n", "[{"]),
            lambda: chooser.randrange(-(10**20), 10**20),
            lambda: [value(depth + 1) for _ in range(chooser.randrange(4))],
            lambda: {f"k{n}": value(depth + 1) for n in range(chooser.randrange(4))},
        ]
        return chooser.choice(kinds[: 2 if depth > 3 else 4])()

    for _ in range(300):
        monkeypatch.setattr(read_json, "CHUNK", chooser.randrange(1, 40))
        records = [{"x": value(0), "y": value(0)} for _ in range(chooser.randrange(6))]
        ascii_only, indent = chooser.random() < 0.5, chooser.choice([None, 1])
        documents = [
            json.dumps(records, ensure_ascii=ascii_only, indent=indent),
            json.dumps({"a": [1], "results": records, "b": {}}, ensure_ascii=ascii_only),
            "\n".join(json.dumps(record, ensure_ascii=ascii_only) for record in records),
        ]
        for document in documents:
            found = read(document)
            assert [json.loads(row.extra) for row in found] == records, document


def test_declared_paths_are_found_in_real_shapes() -> None:
    table = declared_tables()["stg_transactions"]
    record = {"id": "t1", "currencyData": {"originalCurrencyAmount": 12, "exchangeRate": 1.5}}
    (row,) = read(json.dumps([record]), table)
    values = dict(zip(table.column_names, row.values, strict=True))
    assert (values["transaction_id"], values["amount_minor"], values["exchange_rate"]) == (
        "t1",
        "12",
        "1.5",
    )
