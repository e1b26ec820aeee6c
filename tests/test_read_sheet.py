"""The first sheet of an .xlsx lands as its cells are shown, or is refused with what is wrong."""

from __future__ import annotations

import zipfile
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

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


def rewrite(root: Path, text: str, other: str) -> None:
    """Replaces a text in the workbook's XML; charts lose what they are linked to."""
    path = root / "day1/agents.xlsx"
    with zipfile.ZipFile(path) as packed:
        names = [name for name in packed.namelist() if "chartsheets/_rels" not in name]
        parts = {name: packed.read(name) for name in names}
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in parts.items():
            packed.writestr(name, content.replace(text.encode(), other.encode()))


def test_cells_land_as_they_are_shown(tmp_path, db):
    shown: list[Any] = [True, 0.5, 12.0, datetime(2026, 1, 5, 8, 30), datetime(2026, 1, 5)]
    other: list[Any] = [False, time(8, 30), "x", date(2026, 1, 5), None]
    people = [[number, "a@example.com", "A"] for number in range(3, 12)]
    beyond = [12, "a@example.com", *[None] * 6, "one too many"]
    first_line, second_line = [1, "a@example.com", "A", *shown], [2, "b@example.com", "B", *other]
    save(tmp_path, HEADER, first_line, [], second_line, *people, beyond, form="00000")
    landed = land_one(tmp_path, "stg_agents")
    assert (landed.rows_landed, landed.rows_rejected) == (11, 1)
    first, second, *_ = [tuple(row[name] for name in HEADER) for row in rows(db, "stg_agents")]
    assert first[0] == "00001" and second[0] == "00002"
    assert first[3:] == ("true", "0.5", "12", "2026-01-05T08:30:00", "2026-01-05T00:00:00")
    assert second[3:] == ("false", "08:30:00", "x", "2026-01-05", None)
    ((_, row, reason, raw),) = rejects(db)
    assert (row, reason) == (12, "ragged: 9 fields, 8 expected")
    assert "one too many" in raw


def test_durations_and_dates_land_as_their_formats_show_them(tmp_path, db):
    line = [datetime(2026, 1, 5), timedelta(hours=26, minutes=30), timedelta(seconds=-1.5)]
    save(tmp_path, HEADER[:3], line, form='[$-en-US]d "hs" mmm;@')
    land_one(tmp_path, "stg_agents")
    ((*landed,),) = [[row[name] for name in HEADER[:3]] for row in rows(db, "stg_agents")]
    assert landed == ["2026-01-05", "26:30:00", "-0:00:01.500000"]


def test_an_error_cell_is_no_value_and_its_record_is_kept(tmp_path, db):
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
    errors = ["error cell #N/A", "error cell #REF!", "nul byte", "error cell #VALUE!"]
    assert [(row, reason) for _, row, reason, _ in rejects(db)] == [*enumerate(errors, 1)]
    assert "#REF!" in rejects(db)[1][3]


def test_a_date_beyond_the_calendar_keeps_its_number(tmp_path, db):
    save(tmp_path, HEADER, [20260105, "a@example.com"], [46027, "b@example.com"], form="yyyy-mm-dd")
    assert land_one(tmp_path, "stg_agents").rows_repaired == 0
    assert [row["agent_id"] for row in rows(db, "stg_agents")] == ["20260105", "2026-01-05"]


def test_a_number_has_the_digits_that_a_sheet_has_of_it(tmp_path, db):
    lines = [[number, "a@example.com", "A", 1] for number in (11, 22, 33)]
    save(tmp_path, [*HEADER[:3], "phone"], *lines)
    for text, other in {
        "<v>11</v>": "<v>1.23456789012345E+17</v>",  # typed as 123456789012345678
        "<v>22</v>": "<v>9.00101E+11</v>",
        "<v>33</v>": "<v>1234567890123456789</v>",  # of another program
        "<v>1</v>": "<v>59.970000000000006</v>",  # =3*19.99
    }.items():
        rewrite(tmp_path, text, other)
    land_one(tmp_path, "stg_agents")
    found = [(row["agent_id"], row["phone"]) for row in rows(db, "stg_agents")]
    ids = ["1.23456789012345000E+17", "900101000000", "1234567890123456789"]
    assert found == [(one, "59.97") for one in ids]


def test_a_formula_that_nobody_has_calculated_is_no_empty_cell(tmp_path, db):
    lines = ([1, "a@example.com", '="A"'], [2, "b@example.com", None], [None, None, '="A"'])
    save(tmp_path, HEADER, *lines)
    rewrite(tmp_path, "<v />", "<v></v>")
    landed = land_one(tmp_path, "stg_agents")
    assert (landed.rows_landed, landed.rows_repaired) == (2, 1)  # a row of nothing else is empty
    ((_, row, reason, _),) = rejects(db)
    assert (row, reason) == (1, "error cell (a formula without a value)")
    rewrite(tmp_path, '<c r="C2"><f>', '<c r="C2" t="str"><f>')
    assert land_one(tmp_path, "stg_agents").rows_repaired == 0


@pytest.mark.parametrize("before", ["chart", "hidden", "chart and hidden"])
def test_the_first_sheet_that_is_shown_is_read(tmp_path, before):
    book = Workbook()
    book.active.append(HEADER)
    book.active.append([1, "a@example.com", "A"])
    if "hidden" in before:
        book.create_sheet("hidden", 0).append([*HEADER, "other"])
        book["hidden"].sheet_state = "hidden"
    if "chart" in before:
        book.create_chartsheet("chart", 0)
    (tmp_path / "day1").mkdir()
    book.save(tmp_path / "day1/agents.xlsx")
    rewrite(tmp_path, '<drawing r:id="rId1" />', "")
    assert land_one(tmp_path, "stg_agents").rows_landed == 1
    book["Sheet"].sheet_state = "hidden"
    book.create_chartsheet("shown")
    book.save(tmp_path / "day1/agents.xlsx")
    with pytest.raises(DaybookError, match="no sheet of cells is shown: unhide"):
        land_one(tmp_path, "stg_agents")


def test_what_nobody_declared_is_kept_as_it_is_shown(tmp_path, db):
    header = ["PLZ", *HEADER[:3], "other"]
    save(tmp_path, header, [123, 1, "a@example.com", "A", 0.5], form="00000")
    assert land_one(tmp_path, "stg_agents").rows_landed == 1
    assert rows(db, "stg_agents")[0]["_extra"] == {"PLZ": "00123", "other": 0.5}


def test_rows_above_the_header_are_skipped_where_that_is_said(tmp_path, db, monkeypatch):
    overlay = tmp_path / "overlay.yml"
    overlay.write_text("stg_agents: {skip_lines: 2}")
    monkeypatch.setenv("DAYBOOK_SOURCES", str(overlay))
    save(tmp_path, ["People"], [], ["of", "today"], HEADER, [1, "a@example.com", "A"])
    assert land_one(tmp_path, "stg_agents").rows_landed == 1
    [agent] = rows(db, "stg_agents")
    assert (agent["agent_id"], agent["_source_row"]) == ("1", 1)
    save(tmp_path, HEADER, [1, "a@example.com", "A"])
    with pytest.raises(DaybookError, match="no header follows its 2 lines"):
        land_one(tmp_path, "stg_agents")


def test_a_sheet_that_is_no_table_is_refused_with_what_was_found(tmp_path, monkeypatch):
    save(tmp_path, ["email", "name", None, " "])
    with pytest.raises(DaybookError, match=r"agent_id is missing\. The first sheet's .* email, na"):
        land_one(tmp_path, "stg_agents")
    save(tmp_path, ["People"], [], HEADER, [1, "a@example.com", "A"])
    with pytest.raises(DaybookError, match=r"its header is further down: .* read: People\."):
        land_one(tmp_path, "stg_agents")
    save(tmp_path)
    with pytest.raises(DaybookError, match="empty"):
        land_one(tmp_path, "stg_agents")
    save(tmp_path, HEADER, [1, "a@example.com", "A"])
    monkeypatch.setattr(sheet_file, "MOST_BYTES", 10)
    with pytest.raises(DaybookError, match="unpacked it is larger"):
        land_one(tmp_path, "stg_agents")
    for content, message in (
        (b"PK\x03\x04 is all that came", r"not readable as .xlsx .*: save it again"),
        (b"\xd0\xcf\x11\xe0 with a password", "or has a password: save it as .xlsx without one"),
        (b"<html>Please sign in</html>", "it is HTML, an error page perhaps: fetch it again"),
    ):
        (tmp_path / "day1/agents.xlsx").write_bytes(content)
        with pytest.raises(DaybookError, match=message):
            land_one(tmp_path, "stg_agents")
