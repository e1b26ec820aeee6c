"""JSON records one by one: every layout, in pieces of any size; a broken line is a reject, what is
broken in an array fails its file. Each test reads twice: by msgspec, and by Python's json alone."""

from __future__ import annotations

import io
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loaders.errors import DaybookError
from loaders.raw_file import RawFile
from loaders.readers import json_blocks, json_file
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Observed, Reject, Row, UnreadableError
from loaders.schema import Column, Table
from loaders.sources import declared_tables
from tests.copied import by_python, rows_of

COLUMNS = (Column("a", "text", (("id",), ("a",))), Column("b", "text", (("in", "b"), ("b",))))
TABLE = Table("stg_t", ("t",), "snapshot", False, ("a",), COLUMNS, 0.1)
FILE = RawFile("t.json", Path("t.json"), "json", False, 0, 0)
LINES = replace(FILE, path="t.jsonl")


def read(
    content: str | bytes, table: Table = TABLE, found: Observed | None = None, file: RawFile = FILE
) -> list[Row | Reject]:
    """The records and rejects by Python's json alone; fails unless msgspec's are the same."""
    raw = content.encode() if isinstance(content, str) else content
    mapping = Mapping(table)
    outcomes: list[Any] = []
    for reader in (by_python, json_file.read_json):
        observed = Observed() if found is None else found
        rejected: list[Reject] = []
        observed.put_aside = rejected.append
        try:
            records: Any = list(reader(file, io.BytesIO(raw), mapping, observed))
            copied = b"".join(piece for piece, _ in records)
            assert sum(many for _, many in records) == len(rows_of(copied))
            records = [*rows_of(copied), *rejected]
            records.sort(key=lambda one: (one.number, isinstance(one, Row)))
        except DaybookError as error:
            records = error
        outcomes.append((records, observed.missing(), observed.unknown))
    (strict, *fields), (fast, *others) = outcomes
    if isinstance(strict, DaybookError):
        assert str(strict) == str(fast)
        raise strict
    assert [_plain(one) for one in fast] == [_plain(one) for one in strict], content
    assert others == fields, content
    return strict


def _plain(one: Row | Reject) -> Any:
    """To be compared: JSON without its blanks, numbers by their digits."""
    if isinstance(one, Reject):
        return one
    extra = one.extra and json.loads(one.extra, parse_float="#{}".format, parse_int="#{}".format)
    return one.number, list(one.values), extra


def ids(found: list[Row | Reject]) -> list[str | None]:
    return [one.values[0] for one in found if isinstance(one, Row)]


def rejects(found: list[Row | Reject]) -> list[tuple[int, str, str]]:
    return [(one.number, one.reason, one.raw) for one in found if isinstance(one, Reject)]


@pytest.fixture(params=[1, 2, 5, 1 << 20])
def chunk(request, monkeypatch) -> int:
    """Pieces so small that every token is cut somewhere."""
    monkeypatch.setattr(json_blocks, "CHUNK", request.param)
    return request.param


@pytest.mark.parametrize(
    "content",
    [
        '[{"id": 1}, {"id": 2}]',
        '{"results": [{"id": 1}, {"id": 2}]}',
        '{"n": 2, "meta": {"results": [{"id": 9}]}, "results": [{"id": 1}, {"id": 2}], "next": 12}',
        '{"id": 1}\n{"id": 2}',
        '{"id": 1}{"id": 2}\n\n',
        '{\n "id": 1\n}\n{\n "id": 2\n}\n',
        '\ufeff[{"id": 1},\n{"id": 2}]\n',
        '{"id": 1}\n\ufeff{"id": 2}\n',
        '[{"id": 1}]\n[{"id": 2}]',
        '[{"id": 1}]\n\ufeff[{"id": 2}]',
        '{"id": 1}\n[{"id": 2}]\n',
        '{"results": [{"id": 1}]}\n{"results": [{"id": 2}]}',
        '{"id": 1}\n{"results": [{"id": 2}]}\n',
        '{"results": [{"id": 1}], "n": {}, "results": [{"id": 2}], "results": 0}',
        '[{"a": 1}, {"id": 2}]',
    ],
)
@pytest.mark.usefixtures("chunk")
def test_every_layout_gives_its_records(content):
    assert read(content) == [Row(1, ["1", None], None), Row(2, ["2", None], None)]


@pytest.mark.parametrize("content", ["", " \n", "[]", '{"results": []}', "\ufeff"])
@pytest.mark.usefixtures("chunk")
def test_files_without_records(content):
    assert read(content) == []


@pytest.mark.usefixtures("chunk")
def test_numbers_keep_their_own_digits():
    content = '[{"id": 9007199254740993, "in": {"b": 1.10, "c": 1E5}, "n": [1.0, -0]}]'
    (row,) = read(content)
    assert row.values == ["9007199254740993", "1.10"]
    assert row.extra == '{"n":[1.0,-0],"in":{"c":1E5}}'


@pytest.mark.usefixtures("chunk")
def test_values_land_as_text():
    content = '[{"id": "x", "in": {"b": [1, {"x": "é\\n"}]}}, {"id": "", "in": {"b": true}}]'
    assert read(content) == [Row(1, ["x", '[1,{"x":"é\\n"}]'], None), Row(2, ["", "true"], None)]


def test_undeclared_fields_keep_their_nesting():
    found = Observed()
    content = '[{"id": 1, "in": {"b": 2, "c": {"d": 3}}, "e": null}, {"in": 4}, {"in": null}]'
    assert [row.extra for row in read(content, found=found)] == [
        '{"e":null,"in":{"c":{"d":3}}}',
        '{"in":4}',
        None,
    ]
    assert found.unknown == {"in", "in.c", "e"}


def test_of_several_places_the_first_with_a_value_counts_and_the_others_are_kept():
    content = '[{"a": 1, "id": 2}, {"id": null, "a": 3}, {"id": 4}, {"b": 5, "a": 6}]'
    assert read(content) == [
        Row(1, ["2", None], '{"a":1}'),
        Row(2, ["3", None], None),
        Row(3, ["4", None], None),
        Row(4, ["6", "5"], None),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"id": 1}, {"id": nope}, {"id": 3}]', "is broken.*Record 2: Expecting value"),
        ('[{"id": 1}, 4]', "is broken.*an element is no object"),
        ('[{"id": 1} {"id": 2}]', "no ',' where it belongs"),
        ('[{"id": 1},]', "Expecting value"),
        ('[,{"id": 1}]', "is broken"),
        ('{"results": [{"id": 1}], "x": }\n{"id": 2}', "Expecting value"),
        ('{"results": [{"id": 1}] "x": {"y": 1}}', "no ',' where it belongs"),
        ('{"results": [{"id": 1}], "x" {}, "y": {}}', "no ':' where it belongs"),
        ('{"results": [{"id": 1}],}', "no '\"' where it belongs"),
        ('[{"id": 1}, {"id": ' + "[" * 100_000 + "]" * 100_000 + "}]", "nested too deep"),
    ],
)
def test_what_is_broken_in_an_array_or_a_page_fails_its_file(content, message):
    with pytest.raises(UnreadableError, match=message):
        read(content)


@pytest.mark.usefixtures("chunk")
def test_a_broken_line_of_many_is_one_reject():
    found = read('{"id": 1}\n{"id": "cut\n{"id": 3}\ngarbage\n{"id": 5}\n7\n')
    assert ids(found) == ["1", "3", "5"]
    raw = {number: raw for number, _, raw in rejects(found)}
    assert raw == {2: '{"id": "cut', 4: "garbage", 6: "7"}
    found = read('oops\n{"id": 1}\n')
    assert (ids(found), len(found)) == (["1"], 2)


@pytest.mark.parametrize(
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
        '{"id": 1}\n{"id": {"n": 2',
        '{"id": 1}\n{"id": 2, "x": {"n": 2}',
        '{\n "id": 1\n}\n{\n "id": ',
    ],
)
@pytest.mark.parametrize("kind", ["snapshot", "delta"])
@pytest.mark.usefixtures("chunk")
def test_what_is_cut_is_refused(content, kind):
    with pytest.raises(UnreadableError, match=r"t\.json ends in the middle: fetch it again\."):
        read(content, replace(TABLE, kind=kind))


@pytest.mark.parametrize("last", ['{"id": "cut\n', '{"id": nope}', "garbage", "]"])
@pytest.mark.usefixtures("chunk")
def test_a_broken_last_line_that_is_all_there_is_a_reject(last):
    found = read('{"id": 1}\n' + last)
    assert (ids(found), len(found)) == (["1"], 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"message": "Rate limit exceeded", "code": 429}', "an error message .message, code."),
        ('{"data": [\n{"id": 1},\n{"id": 2}]}', "its list is under `data`: declare records: data"),
        ('{"response": {"users": [{"id": 1}]}}', "declare records: response.users"),
        ('[{"results": [{"id": 1}]}, {"results": []}]', "its list is under `results`"),
        ('{"id": {"0": 1, "1": 2}, "b": {"0": 3}}', "no list of objects: write it as one"),
        ('{"columns": ["id"], "index": [0], "data": [[1]]}', "in pandas with orient='records'"),
        ('{"results": null}', "none of its records has the key id"),
        ("null", "it is no page of records"),
        ("<html><body>Bad gateway</body></html>", "It begins with <html>"),
        ("Internal Server Error", "It begins with Internal"),
        ('"rate limited"', "none of its records has the key"),
        ('[{"name": "x"}]', "its fields are name: is it another table's"),
        ('[{"b": "x", "status": "on"}]', "its fields are b, status: is it another table's"),
        ('[{"status": 429, "title": "slow"}]', "an error message .status, title."),
        ('[{"id": null}]', "has the key id.*; it is there without a value"),
        ('{"id": ["1", "2"], "b": ["3", "4"]}', "it is no list of objects"),
        ('{"items": [], "next": null}', "its list is under `items`: declare records: items"),
        ('{"id": "req-1", "items": [{"id": 1, "b": 2, "in": {}}]}', "under `items`: declare"),
    ],
)
def test_what_is_no_page_of_records_is_refused(content, message):
    with pytest.raises(UnreadableError, match=message):
        read(content)


def test_a_record_with_a_list_of_objects_that_a_column_has_is_no_envelope():
    table = replace(TABLE, columns=(*COLUMNS, Column("m", "jsonb", (("members", "id"),))))
    content = '{"id": 1, "members": [{"id": 2, "b": 3, "in": {}}]}'
    assert [list(one.values) for one in read(content, table)] == [["1", None, "[2]"]]


def test_a_declared_list_is_read_wherever_it_is():
    table = replace(TABLE, records=("response", "users"))
    page = '{"n": 1, "response": {"x": [], "users": [{"id": 1}, {"id": 2}], "y": 1}, "z": {}}'
    for content in (page, f"{page}\n{page}", f"[{page}]"):
        assert ids(read(content, table))[:2] == ["1", "2"]
    with pytest.raises(UnreadableError, match=r"records: response\.users is declared"):
        read('{"response": {"users": null}}', table)
    assert read('{"response": {"users": []}}', table) == []


def test_what_postgres_cannot_store_is_repaired_and_kept_raw():
    content = (
        b'[{"id": "\xff"}, {"id": "\\u0000"}, {"id": "\\ud800x"}, {"id": 4, "x\\u0000": "\\udc80"},'
        b' {"id": "\\\\u0000"}, {"id": "\\ud83d\\ude00"}, {"id": "\xc3\xa9"}, {"id": "a\x00b"}]'
    )
    found = read(content)
    assert ids(found) == ["\ufffd", "\ufffd", "\ufffdx", "4", "\\u0000", "😀", "é", "a\ufffdb"]
    reasons = {number: reason for number, reason, _ in rejects(found)}
    surrogate = "lone surrogate"
    assert reasons == {1: "not utf-8", 2: "nul byte", 3: surrogate, 4: surrogate, 8: "nul byte"}
    assert all(one.landed for one in found if isinstance(one, Reject))
    assert rejects(found)[0][2] == '{"id": "\\xff"}'
    extra = next(one.extra for one in found if isinstance(one, Row) and one.number == 4)
    assert extra == '{"x\ufffd":"\ufffd"}'


def test_words_and_numbers_that_jsonb_cannot_hold_land_as_text():
    found = read('[{"id": 1, "x": 1e400000}, {"id": 2, "x": [NaN, -Infinity]}, {"id": 1e400000}]')
    extras = [one.extra for one in found if isinstance(one, Row)]
    assert extras == ['{"x":"1e400000"}', '{"x":["NaN","-Infinity"]}', None]
    assert rejects(found) == []


def test_ids_that_went_through_a_float_are_whole():
    content = (
        '[{"id": 9001.0}, {"id": "9002.00"}, {"id": 9003.5}, {"id": 9.00101E+11}, {"id": "x.0"}]'
    )
    assert ids(read(content)) == ["9001", "9002", "9003.5", "9.00101E+11", "x.0"]


@pytest.mark.parametrize("head", ["[", '{"results": [', ""])
def test_a_record_over_the_limit_is_not_held(head, monkeypatch):
    monkeypatch.setattr(json_blocks, "RECORD_LIMIT", 10_000)
    monkeypatch.setattr(json_blocks, "CHUNK", 100)
    with pytest.raises(UnreadableError, match="64 MiB"):
        read(head + '{"id": "' + "x" * 11_000 + '"}')


def test_millions_of_brackets_are_refused():
    with pytest.raises(UnreadableError, match=r"nested too deep|64 MiB"):
        read("[" * 3_000_000)


HARD = [
    *(
        f'{{"id": "a", "in": {{"b": {number}, "q": {number}}}, "zz": {number}, "y": [{number}]}}'
        for number in ["1.10", "1e5", "1E+5", "-0", "-0.0", "9007199254740993", "1e400", "9" * 5000]
    ),
    r'{"id":"a\"b\\c\/d\n\u00e9\ud83d\ude00","b":"\u0000"}',
    '{"id":"a","id":"b","zz":1,"zz":2.0}',
    '{"id":"a","in":{"x":1},"in":{"b":2}}',
    '{"id":"a","in":5}',
    '{"id":"a","in":{"q":[1.10, "x"],"b":{"a" : 1}}}',
    '{"id":true,"x":null,"y":{}}',
    '{"id":"null","in":{"b":"NULL"},"z":"\\\\."}',
    '{"id":"a","of a broken record":1,"n":007}',
    "{'id':1}",
    '{"id":"a",}',
    '{"id":"a","zz\\u0041":1}',
    '{"id":"a","m\\"x":1}',
    '{"zz`":1,"id":"q"}',
    '{"id":"a","zz":{"a":{"b":[1.50, "c"]}}}',
    '{"id":"a","results":[1]}',
    '{"id":"say \\"hi\\", ok","zz":"say \\"hi\\", ok"}',
    '{"id":"a\tb"}',
    r'{"r\u0065sults": [{"id": "a"}, {"id": "b"}]}',
]


def test_fast_and_strict_agree_on_hard_and_random_records():
    chooser = random.Random(7)

    def value(depth: int = 0) -> str:
        kind = chooser.random()
        if kind < 0.25:
            return chooser.choice(["1.10", "-0", "1e5", "12", "0.0", "123456789012345678901.0"])
        if kind < 0.6:
            letters = chooser.choices('ab"\\\n,é😀\u2028 {[/', k=chooser.randrange(7))
            return json.dumps("".join(letters), ensure_ascii=chooser.random() < 0.5)
        if kind < 0.7:
            return chooser.choice(["true", "false", "null", "NaN"])
        if depth > 2:
            return "[]"
        inner = [value(depth + 1) for _ in range(chooser.randrange(4))]
        if kind < 0.85:
            return f"[{chooser.choice([',', ' , ']).join(inner)}]"
        return "{" + ",".join(f'"{chooser.choice("abq")}":{one}' for one in inner) + "}"

    names = ["id", "a", "b", "in", "memo", "x y", "é", "id"]
    lines = [*HARD]
    for _ in range(1200):
        pairs = [f'"{name}": {value()}' for name in chooser.sample(names, chooser.randrange(1, 7))]
        lines.append("{" + ", ".join(pairs) + "}")
    for size in (1, 7, 60):
        for at in range(0, len(lines), size):
            text = "\n".join(['{"id": 0}', *lines[at : at + size]]) + "\n"
            read(text, file=LINES)


def test_generated_documents_are_read_as_json_reads_them(monkeypatch):
    chooser = random.Random(7)

    def value(depth: int) -> Any:
        kinds = [
            lambda: chooser.choice([None, True, False, "", 'a"\\,]}', "é😀\n", "[{", "},{"]),
            lambda: chooser.randrange(-(10**20), 10**20),
            lambda: [value(depth + 1) for _ in range(chooser.randrange(4))],
            lambda: {f"k{n}": value(depth + 1) for n in range(chooser.randrange(4))},
        ]
        return chooser.choice(kinds[: 2 if depth > 3 else 4])()

    for _ in range(150):
        monkeypatch.setattr(json_blocks, "CHUNK", chooser.randrange(1, 40))
        count = chooser.randrange(1, 6)
        records = [{"x": value(0), "y": value(0)} for _ in range(count)]
        full = [{"id": n, **record} for n, record in enumerate(records)]
        ascii_only, indent = chooser.random() < 0.5, chooser.choice([None, 1])
        documents = [
            json.dumps(full, ensure_ascii=ascii_only, indent=indent),
            json.dumps({"a": [1], "results": full, "b": {}}, ensure_ascii=ascii_only),
            "\n".join(json.dumps(record, ensure_ascii=ascii_only) for record in full),
        ]
        for document in documents:
            found = read(document)
            assert [json.loads(row.extra) for row in found] == records, document


def test_declared_paths_are_found_in_real_shapes():
    table = declared_tables()["stg_transactions"]
    record = {"id": "t1", "currencyData": {"originalCurrencyAmount": 12, "exchangeRate": 1.5}}
    (row,) = read(json.dumps([record]), table)
    values = dict(zip(table.column_names, row.values, strict=True))
    expected = {"transaction_id": "t1", "amount_minor": "12", "exchange_rate": "1.5"}
    assert values.items() >= expected.items()


def test_a_list_under_a_name_with_a_dot_is_part_of_its_record():
    record = {"id": "1", "urn:scim:2.0": {"emails": [{"id": "2"}]}, "more": {"v1.0": [{"id": "3"}]}}
    (row,) = read(json.dumps(record))
    assert row.values == ["1", None]


def test_a_second_value_in_a_list_of_objects_with_more_fields_is_kept():
    ids = Column("ids", "jsonb", (("members", "id"), ("members", "mail")))
    table = replace(TABLE, columns=(*COLUMNS, ids))
    (row,) = read('{"id": "1", "members": [{"id": 7, "mail": "a@b", "role": "x"}]}', table)
    assert row.values == ["1", None, "[7]"]
    assert json.loads(row.extra) == {"members": [{"role": "x"}], "members.mail": ["a@b"]}
