"""Which JSON records are read through msgspec alone, and which Python's json decides."""

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
def test_only_what_is_in_doubt_goes_to_pythons_json(
    line: str,
    values: list[str | None],
    extra: dict[str, str] | None,
    doubtful: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, looked = Reader._lines_of, []

    def watched(reader: Reader, text: str, *, may_be_cut: bool) -> Any:
        looked.append(text)
        return real(reader, text, may_be_cut=may_be_cut)

    monkeypatch.setattr(Reader, "_lines_of", watched)
    stream = io.BytesIO(f"{line}\n".encode())
    pieces = read_json(FILE, stream, Mapping(TABLE), Observed())
    (row,) = rows_of(b"".join(piece for piece, _ in pieces))
    assert list(row.values) == values
    assert (json.loads(row.extra) if row.extra else None) == extra
    assert [one for one in looked if one] == ([line] if doubtful else [])


@pytest.mark.parametrize("records", [(), ("email",)])
def test_names_that_are_data_and_places_that_part_are_read_alike(records: tuple[str, ...]) -> None:
    """More names than are learnt, a column that is an object's place, and one that a list has."""
    places = (("contact",), ("email",), ("mails", "first"))
    table = replace(TABLE, columns=(*COLUMNS, Column("who", "text", places)), records=records)
    given = [
        {"id": "a", f"n{n}": n, "contact": [{"zip": n, f"m{n}": n}, f"c{n}", None][n % 3]}
        | ({"email": n} if n % 5 else {"email": None, "mails": {"first": 1, "last": 2}})
        for n in range(400)
    ]
    content = "\n".join(map(json.dumps, given)).encode()
    outcomes = []
    for reader in (by_python, read_json):
        found = Observed()
        pieces = list(reader(FILE, io.BytesIO(content), Mapping(table), found))
        rows = rows_of(b"".join(piece for piece, _ in pieces))
        plain = [(row.values, json.loads(row.extra) if row.extra else None) for row in rows]
        outcomes.append((plain, found.missing(), len(found.unknown)))
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0][0]) == 400


def test_names_beyond_those_that_are_learnt_are_kept() -> None:
    extra = {f"n{n}": n for n in range(300)} | {"contact": {"new": 1}}
    content = json.dumps({"id": 1} | extra).encode()
    read = read_json(FILE, io.BytesIO(content), Mapping(TABLE), Observed())
    (row,) = rows_of(b"".join(piece for piece, _ in read))
    assert json.loads(row.extra or "") == extra


def test_a_declared_name_may_have_what_json_escapes() -> None:
    places = (('say "a"',), ("in", "a\\b"))
    table = replace(TABLE, columns=(COLUMNS[0], Column("a", "text", places)))
    content = r'{"id": 1, "say \"a\"": 1}' + "\n" + r'{"id": 2, "in": {"a\\b": 2, "c": 3}}'
    found = Observed()
    read = read_json(FILE, io.BytesIO(content.encode()), Mapping(table), found)
    rows = rows_of(b"".join(piece for piece, _ in read))
    assert [(row.values, row.extra) for row in rows] == [
        (["1", "1"], None),
        (["2", "2"], '{"in":{"c":3}}'),
    ]


def test_a_text_is_looked_at_in_time_linear_in_its_escapes() -> None:
    class Looked(bytes):
        seen = 0

        def count(self, sub: Any, start: Any = 0, end: Any = None) -> int:
            Looked.seen += (len(self) if end is None else end) - start
            return super().count(sub, start, end)

    values = Looked(b'\0"' + rb"line\n" * 10_000 + b'"\0{"b": 1}\0[]')
    cells = Cells(Mapping(TABLE), Observed())._row(values)
    assert cells == b'"' + b"line\n" * 10_000 + b'","{""b"":1}",[]'
    assert Looked.seen <= len(values)


def test_a_number_that_is_none_is_no_id() -> None:
    """The text is one: people are called Nan."""

    def ids(content: bytes) -> list[str | None]:
        pieces = read_json(FILE, io.BytesIO(content), Mapping(TABLE), Observed())
        return [row.values[0] for row in rows_of(b"".join(piece for piece, _ in pieces))]

    found = ids(b'[{"id": 1}, {"id": NaN}, {"id": -Infinity}, {"id": "NaN"}]')
    assert found == ["1", None, None, "NaN"]
    with pytest.raises(UnreadableError, match="none of its records has the key"):
        ids(b'[{"id": NaN}]')


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
def test_a_path_goes_through_a_list_of_objects_for_a_column_of_lists(
    members: str, ids: str | None, extra: Any
) -> None:
    lists = Column("agent_ids", "jsonb", (("members", "id"), ("members",)))
    mapping = Mapping(replace(TABLE, columns=(COLUMNS[0], lists)))
    stream = io.BytesIO(f'{{"id": 1, "members": {members}}}\n'.encode())
    pieces = read_json(FILE, stream, mapping, Observed())
    (row,) = rows_of(b"".join(piece for piece, _ in pieces))
    assert list(row.values) == ["1", ids]
    assert (json.loads(row.extra) if row.extra else None) == extra


def test_what_a_list_has_of_a_column_that_is_none_is_kept_whole() -> None:
    stream = io.BytesIO(b'{"id": 1, "contact": [{"email": "a"}]}\n')
    pieces = read_json(FILE, stream, Mapping(TABLE), Observed())
    (row,) = rows_of(b"".join(piece for piece, _ in pieces))
    assert (list(row.values), json.loads(row.extra or "")) == (
        ["1", None, None],
        {"contact": [{"email": "a"}]},
    )


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
def test_places_that_are_joined_come_together_in_each_format(
    first: str | None, last: str | None, name: str | None
) -> None:
    both = Column("name", "text", (("p", "first"), ("p", "last")), join=True)
    mapping = Mapping(replace(TABLE, columns=(COLUMNS[0], both)))
    row = mapping.header(["id", "p.last", "P.First", "name"]).row(1, ["1", last, first, "own"])
    assert (row.values[1], row.extra) == (name, '{"name":"own"}')
    fields = {"id": 1, "p": {"last": last, "first": first}, "name": "own"}
    pieces = read_json(FILE, io.BytesIO(json.dumps(fields).encode()), mapping, Observed())
    (read,) = rows_of(b"".join(piece for piece, _ in pieces))
    assert (read.values[1], read.extra) == (row.values[1], row.extra)
