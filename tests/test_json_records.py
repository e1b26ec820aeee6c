"""Which JSON records are read through msgspec alone, and which Python's json decides."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from loaders.raw_file import RawFile
from loaders.readers.json_file import read_json
from loaders.readers.json_records import Reader
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Found
from loaders.schema import Column, Table
from tests.copied import rows_of

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
    real, looked = Reader._of_line, []

    def watched(reader: Reader, text: str, *, cut: bool) -> Any:
        looked.append(text)
        return real(reader, text, cut=cut)

    monkeypatch.setattr(Reader, "_of_line", watched)
    stream = io.BytesIO(f"{line}\n".encode())
    pieces = read_json(FILE, stream, Mapping(TABLE), Found())
    (row,) = rows_of(b"".join(piece for piece, _ in pieces))
    assert list(row.values) == values
    assert (json.loads(row.extra) if row.extra else None) == extra
    assert [one for one in looked if one] == ([line] if doubtful else [])
