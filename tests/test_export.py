"""`daybook export`: a table as a file, in which a spreadsheet finds no formula."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pandas
import pytest

from flows.cli import main
from tests.watching import insert


@pytest.fixture
def table(db) -> None:
    db.execute("create table marts.odd (name text, usd numeric, at timestamptz, more jsonb)")
    formula = {"name": "=cmd()", "usd": "1.50", "at": "2026-01-05T10:00Z", "more": {"a": [1]}}
    insert(db, "marts.odd", **formula)
    insert(db, "marts.odd", name="plain", usd=-2)


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("form", ["xlsx", "csv"])
def test_formulas_are_escaped(tmp_path, form, capsys):
    target = tmp_path / f"odd.{form}"
    assert main(["export", "marts.odd", "--to", str(target)]) == 0
    assert "2 rows" in capsys.readouterr().out
    read = pandas.read_excel if form == "xlsx" else pandas.read_csv
    frame = read(target, dtype=str)
    assert list(frame["name"]) == ["'=cmd()", "plain"]
    assert [float(usd) for usd in frame["usd"]] == [1.5, -2]
    assert frame["at"][0].startswith("2026-01-05T10:00:00")
    assert frame["more"][0] == '{"a": [1]}'


@pytest.mark.usefixtures("table")
def test_parquet_keeps_types(tmp_path):
    assert main(["export", "odd", "--to", str(tmp_path / "odd.parquet")]) == 0
    frame = pandas.read_parquet(tmp_path / "odd.parquet")
    assert list(frame["name"]) == ["=cmd()", "plain"]
    assert list(frame["usd"]) == [Decimal("1.50"), Decimal("-2.00")]
    assert frame["at"][0] == datetime(2026, 1, 5, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [("a\x1b[31m", 0, ": 1 row\n"), ("x" * 40_000, 2, "A cell holds 32,767 characters")],
    ids=["a control character", "too long"],
)
def test_what_a_sheet_cannot_hold_is_replaced_or_refused(tmp_path, db, capsys, text, code, message):
    db.execute("create table marts.odd (name text)")
    db.execute("insert into marts.odd values (%s)", [text])
    assert main(["export", "marts.odd", "--to", str(tmp_path / "odd.xlsx")]) == code
    printed = capsys.readouterr()
    assert message in printed.out + printed.err
    assert main(["export", "marts.odd", "--to", str(tmp_path / "none" / "odd.csv")]) == 2


@pytest.mark.usefixtures("table")
def test_an_export_that_is_ended_leaves_what_was_there(tmp_path, monkeypatch):
    def ended(_frame, file, **_how):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(pandas.DataFrame, "to_csv", ended)
    target = tmp_path / "odd.csv"
    target.write_text("whole")
    assert main(["export", "odd", "--to", str(target)]) == 1
    assert [(file, file.read_text()) for file in tmp_path.iterdir()] == [(target, "whole")]


@pytest.mark.parametrize("name", ["agents", "agents_history"])
def test_what_is_declared_personal_is_left_out_unless_it_is_asked_for(tmp_path, db, name, capsys):
    columns = ["agent_id", "name", "email", "status", "_extra"]
    db.execute(f"create table silver.{name} ({' text, '.join(columns)} text)")
    target = tmp_path / "agents.csv"
    assert main(["export", f"silver.{name}", "--to", str(target)]) == 0
    assert "without name, email, _extra (--personal has them)" in capsys.readouterr().out
    assert list(pandas.read_csv(target)) == ["agent_id", "status"]
    assert main(["export", name, "--to", str(target), "--personal"]) == 0
    assert list(pandas.read_csv(target)) == columns


@pytest.mark.usefixtures("table")
def test_a_mistake_is_answered_with_what_is_allowed(tmp_path, capsys):
    assert main(["export", "marts.od", "--to", str(tmp_path / "x.csv")]) == 2
    assert "Did you mean marts.odd?" in capsys.readouterr().err
    assert main(["export", "marts.odd", "--to", str(tmp_path / "x.doc")]) == 2
    assert ".xlsx, .csv, .parquet" in capsys.readouterr().err
