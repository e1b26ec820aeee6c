"""Which JSON records are read by msgspec alone, and which by Python's json."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loaders.raw_file import RawFile
from loaders.readers.json_cells import Cells
from loaders.readers.json_file import Reader, read_json
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Observed, UnreadableError
from loaders.schema import Column, Table
from tests.copied import by_python, rows_of

COLUMNS = (
    Column("id", "text", (("id",),)),
    Column("email", "text", (("contact", "email"),)),
    Column("zip", "text", (("contact", "address", "zip"),)),
)
TABLE = Table("stg_t", ("t",), "delta", False, ("id",), COLUMNS)
FILE = RawFile("t.jsonl", Path("t.jsonl"), "json", False, 0, 0)


def read(
    content: str,
    mapping: Mapping | None = None,
    found: Observed | None = None,
    reader: Any = read_json,
) -> list[tuple[list[str | None], Any]]:
    """Each record's values and its undeclared fields."""
    stream = io.BytesIO(content.encode())
    pieces = list(reader(FILE, stream, mapping or Mapping(TABLE), found or Observed()))
    rows = rows_of(b"".join(piece for piece, _ in pieces))
    return [(list(row.values), json.loads(row.extra) if row.extra else None) for row in rows]


@pytest.mark.parametrize(
    ("line", "values", "extra", "doubtful"),
    [
        ('{"id": 1, "contact": null}', ["1", None, None], None, False),
        ('{"id": 1, "contact": {"address": null}}', ["1", None, None], None, False),
        ('{"id": 1, "contact": {"email": "a", "address": null}}', ["1", "a", None], None, False),
        ('{"id": 1, "note": "\\u20ac"}', ["1", None, None], {"note": "€"}, False),
        ('{"id": 1, "note": "\\u00e9", "contact": null}', ["1", None, None], {"note": "é"}, False),
        ('{"id": 1, "note": "a\\u0000"}', ["1", None, None], {"note": "a\ufffd"}, True),
        ('{"id": 1, "note": "\\ud83d"}', ["1", None, None], {"note": "\ufffd"}, True),
        ('{"id": 1, "note": 1e99999}', ["1", None, None], {"note": "1e99999"}, False),
    ],
)
def test_only_doubtful_lines_go_to_pythons_json(line, values, extra, doubtful, monkeypatch):
    real, looked = Reader._lines_of, []

    def watched(reader: Reader, text: str, *, may_be_cut: bool) -> Any:
        looked.append(text)
        return real(reader, text, may_be_cut=may_be_cut)

    monkeypatch.setattr(Reader, "_lines_of", watched)
    assert read(f"{line}\n") == [(values, extra)]
    assert [one for one in looked if one] == ([line] if doubtful else [])


@pytest.mark.parametrize("records", [(), ("email",)])
def test_thousands_of_names_and_split_places_are_read_as_python_reads_them(records):
    """More names than are learnt, a column that is an object's place, and one that a list has."""
    places = (("contact",), ("email",), ("mails", "first"))
    table = replace(TABLE, columns=(*COLUMNS, Column("who", "text", places)), records=records)
    records_given = [
        {"id": "a", f"n{n}": n, "contact": [{"zip": n, f"m{n}": n}, f"c{n}", None][n % 3]}
        | ({"email": n} if n % 5 else {"email": None, "mails": {"first": 1, "last": 2}})
        for n in range(400)
    ]
    content = "\n".join(map(json.dumps, records_given))
    outcomes = []
    for reader in (by_python, read_json):
        found = Observed()
        rows = read(content, Mapping(table), found, reader)
        outcomes.append((rows, found.missing(), len(found.unknown)))
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0][0]) == 400


def test_more_names_than_the_reader_learns_are_kept():
    extra = {f"n{n}": n for n in range(300)} | {"contact": {"new": 1}}
    assert read(json.dumps({"id": 1} | extra)) == [(["1", None, None], extra)]


def test_a_declared_name_may_have_what_json_escapes():
    places = (('say "a"',), ("in", "a\\b"))
    table = replace(TABLE, columns=(COLUMNS[0], Column("a", "text", places)))
    content = r'{"id": 1, "say \"a\"": 1}' + "\n" + r'{"id": 2, "in": {"a\\b": 2, "c": 3}}'
    expected = [(["1", "1"], None), (["2", "2"], {"in": {"c": 3}})]
    assert read(content, Mapping(table)) == expected


def test_a_text_is_looked_at_in_time_linear_in_its_escapes():
    class Looked(bytes):
        seen = 0

        def count(self, sub: Any, start: Any = 0, end: Any = None) -> int:
            Looked.seen += (len(self) if end is None else end) - start
            return super().count(sub, start, end)

    values = Looked(b'\0"' + rb"line\n" * 10_000 + b'"\0{"b": 1}\0[]')
    cells = Cells(Mapping(TABLE), Observed())._row(values)
    assert cells == b'"' + b"line\n" * 10_000 + b'","{""b"":1}",[]'
    assert Looked.seen <= len(values)


def test_nan_and_infinity_are_no_ids():
    """The text NaN is one: people are called Nan."""
    rows = read('[{"id": 1}, {"id": NaN}, {"id": -Infinity}, {"id": "NaN"}]')
    assert [values[0] for values, _ in rows] == ["1", None, None, "NaN"]
    with pytest.raises(UnreadableError, match="none of its records has the key"):
        read('[{"id": NaN}]')


@pytest.mark.parametrize(
    ("members", "ids", "extra"),
    [
        ('[{"id": 1, "name": "a"}, {"id": "b"}]', '[1,"b"]', {"members": [{"name": "a"}, {}]}),
        ('[{"id": 1}, {"name": "b"}]', "[1,null]", {"members": [{}, {"name": "b"}]}),
        ('[{"id": 1}, {"id": 2}]', "[1,2]", None),
        ('["u1", "u2"]', '["u1","u2"]', None),
        ("[]", "[]", None),
        ("null", None, None),
    ],
)
def test_a_path_goes_through_a_list_of_objects_for_a_column_of_lists(members, ids, extra):
    lists = Column("agent_ids", "jsonb", (("members", "id"), ("members",)))
    mapping = Mapping(replace(TABLE, columns=(COLUMNS[0], lists)))
    assert read(f'{{"id": 1, "members": {members}}}\n', mapping) == [(["1", ids], extra)]


@pytest.mark.parametrize(
    ("emails", "first", "extra"),
    [
        ([{"value": "a"}, {"value": "b"}], "a", {"emails": [{"value": "a"}, {"value": "b"}]}),
        ([{}, {"value": "b"}], None, {"emails": [{}, {"value": "b"}]}),
        ([], None, {"emails": []}),
        ({"0": {"value": "a"}}, "a", None),
        ("a", None, {"emails": "a"}),
    ],
)
def test_a_number_in_a_path_is_an_element_of_a_list(emails, first, extra):
    email = Column("email", "text", (("emails", "0", "value"),))
    mapping = Mapping(replace(TABLE, columns=(COLUMNS[0], email)))
    assert read(json.dumps({"id": 1, "emails": emails}), mapping) == [(["1", first], extra)]


def test_an_element_of_a_list_leaves_it_to_other_columns_and_one_name_to_drift():
    ids = Column("ids", "jsonb", (("members", "id"), ("ids",)))
    first = Column("first", "text", (("members", "0", "id"), ("ids", "0")))
    mapping = Mapping(replace(TABLE, columns=(COLUMNS[0], ids, first)))
    observed = Observed()
    for lists, extra in (
        ({"members": [{"id": "a"}, {"id": "b"}]}, None),
        ({"ids": ["a", "b"]}, None),
        ({"members": [{"id": "a", "x": n} for n in range(200)]}, "members.x"),
    ):
        [(values, undeclared)] = read(json.dumps({"id": 1} | lists), mapping, observed)
        assert (values[2], json.loads(values[1])[:2][0]) == ("a", "a")
        assert (undeclared is None) == (extra is None)
        assert observed.unknown == ({extra} if extra else set())


def test_a_place_is_found_where_the_outermost_name_has_dots():
    schema = "urn:enterprise:2.0:User"
    place = tuple(f"{schema}.manager.id".split("."))
    mapping = Mapping(replace(TABLE, columns=(*COLUMNS, Column("boss", "text", (place,)))))
    flat = {"id": 1, "contact.email": "a", "contact.address.zip": "b", f"{schema}.manager.id": 7}
    nested = {"id": 2, "contact": {"address": {"zip": "b"}}, schema: {"manager": {"id": 7, "x": 8}}}
    both = {"id": 3, "contact": {"email": "a"}, "contact.email": "c"}
    assert read("\n".join(map(json.dumps, (flat, nested, both))), mapping) == [
        (["1", "a", "b", "7"], None),
        (["2", None, "b", "7"], {schema: {"manager": {"x": 8}}}),
        (["3", "a", None, None], {"contact.email": "c"}),
    ]


def test_a_list_where_a_column_expects_an_object_is_kept_whole():
    extra = {"contact": [{"email": "a"}]}
    assert read(json.dumps({"id": 1} | extra)) == [(["1", None, None], extra)]


@pytest.mark.parametrize(
    ("first", "last", "name"),
    [
        ("Ada", "Brook", "Ada Brook"),
        (" Ada ", "Brook", "Ada Brook"),
        ("Ada", " ", "Ada"),
        (None, "Brook", "Brook"),
        (None, None, None),
    ],
)
def test_joined_places_give_one_text_in_each_format(first, last, name):
    both = Column("name", "text", (("p", "first"), ("p", "last")), join=True)
    mapping = Mapping(replace(TABLE, columns=(COLUMNS[0], both)))
    row = mapping.header(["id", "p.last", "P.First", "name"]).row(1, ["1", last, first, "own"])
    assert (row.values[1], row.extra) == (name, '{"name":"own"}')
    fields = {"id": 1, "p": {"last": last, "first": first}, "name": "own"}
    assert read(json.dumps(fields), mapping) == [(["1", name], {"name": "own"})]
