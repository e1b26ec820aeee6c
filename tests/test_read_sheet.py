"""The first sheet of an .xlsx lands as its cells are shown, or is refused with what is wrong."""

from __future__ import annotations

from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from openpyxl import Workbook

from loaders.errors import DaybookError
from loaders.readers import sheet_file
from tests.raw_days import land_one, rejects, rows

pytestmark = pytest.mark.usefixtures("warehouse")
HEADER = ["agent_id", "email", "name", "available", "mobile", "phone", "updated_at", "created_at"]


def save(root: Path, *lines: list[Any], form: str = "General") -> None:
    book = Workbook()
    for line in lines:
        book.active.append(line)
    for row in book.active.iter_rows(min_row=2, max_col=1):
        row[0].number_format = form
    (root / "day1").mkdir(exist_ok=True)
    book.save(root / "day1/agents.xlsx")


def test_cells_land_as_they_are_shown(tmp_path: Path, db: psycopg.Connection) -> None:
    shown: list[Any] = [True, 0.5, 12.0, datetime(2026, 1, 5, 8, 30), datetime(2026, 1, 5)]
    other: list[Any] = [False, time(8, 30), "x", date(2026, 1, 5), None]
    people = [[number, "a@example.com", "A"] for number in range(3, 12)]
    beyond = [12, "a@example.com", *[None] * 6, "one too many"]
    save(
        tmp_path,
        HEADER,
        [1, "a@example.com", "A", *shown],
        [],
        [2, "b@example.com", "B", *other],
        *people,
        beyond,
        form="00000",
    )
    landed = land_one(tmp_path, "stg_agents")
    assert (landed.rows_landed, landed.rows_rejected) == (11, 1)
    first, second, *_ = [tuple(row[name] for name in HEADER) for row in rows(db, "stg_agents")]
    assert first[0] == "00001" and second[0] == "00002"
    assert first[3:] == ("true", "0.5", "12", "2026-01-05T08:30:00", "2026-01-05T00:00:00")
    assert second[3:] == ("false", "08:30:00", "x", "2026-01-05", None)
    ((_, row, reason, raw),) = rejects(db)
    assert (row, reason) == (12, "ragged: 9 fields, 8 expected")
    assert "one too many" in raw


def test_an_error_cell_is_no_value_and_its_record_is_kept(
    tmp_path: Path, db: psycopg.Connection
) -> None:
    save(
        tmp_path,
        HEADER,
        ["#N/A", "a@example.com", "A"],
        [2, "b@example.com", "#REF!", *[None] * 5, "#NUM!"],
        [3, "c@example.com", "C_x000D_\nD_x0000_"],
        ["#VALUE!"],
        *([number, "d@example.com", "D"] for number in range(5, 9)),
    )
    landed = land_one(tmp_path, "stg_agents")
    assert (landed.rows_in_files, landed.rows_landed, landed.rows_repaired) == (8, 8, 4)
    found = [(row["agent_id"], row["email"], row["name"]) for row in rows(db, "stg_agents")]
    assert found[:4] == [
        (None, "a@example.com", "A"),
        ("2", "b@example.com", None),
        ("3", "c@example.com", "C\r\nD\ufffd"),
        (None, None, None),
    ]
    kept = [(row, reason, raw) for _, row, reason, raw in rejects(db)]
    assert [one[:2] for one in kept] == [
        (1, "error cell #N/A"),
        (2, "error cell #REF!"),
        (3, "nul byte"),
        (4, "error cell #VALUE!"),
    ]
    assert "#REF!" in kept[1][2]


def test_a_sheet_that_is_no_table_is_refused_with_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, ["email", "name", None, " "])
    with pytest.raises(DaybookError, match=r"agent_id is missing\. The first sheet's .* email, na"):
        land_one(tmp_path, "stg_agents")
    save(tmp_path)
    with pytest.raises(DaybookError, match="empty"):
        land_one(tmp_path, "stg_agents")
    save(tmp_path, HEADER, [1, "a@example.com", "A"])
    monkeypatch.setattr(sheet_file, "MOST_BYTES", 10)
    with pytest.raises(DaybookError, match="unpacked it is larger"):
        land_one(tmp_path, "stg_agents")
    (tmp_path / "day1/agents.xlsx").write_bytes(b"PK\x03\x04 is all that came")
    with pytest.raises(DaybookError, match=r"not readable as .xlsx .*: save it again"):
        land_one(tmp_path, "stg_agents")
