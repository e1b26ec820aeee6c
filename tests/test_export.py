"""`daybook export`: a table as a file for people, in which a spreadsheet finds nothing to run."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pandas
import psycopg
import pytest

from flows.cli import main


@pytest.fixture
def table(db: psycopg.Connection) -> None:
    db.execute("create table marts.odd (name text, usd numeric, at timestamptz, more jsonb)")
    db.execute(
        """insert into marts.odd values ('=cmd()', 1.50, '2026-01-05T10:00Z', '{"a": [1]}'),
        ('plain', -2, null, null)"""
    )


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("form", ["xlsx", "csv"])
def test_formulas_are_escaped(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
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
def test_parquet_keeps_types(tmp_path: Path) -> None:
    assert main(["export", "odd", "--to", str(tmp_path / "odd.parquet")]) == 0
    frame = pandas.read_parquet(tmp_path / "odd.parquet")
    assert list(frame["name"]) == ["=cmd()", "plain"]
    assert list(frame["usd"]) == [Decimal("1.50"), Decimal("-2.00")]
    assert frame["at"][0] == datetime(2026, 1, 5, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "message"),
    [("a\x1b[31m", "1 rows"), ("x" * 40_000, "A cell holds 32,767 characters")],
)
def test_what_a_sheet_cannot_hold_is_replaced_or_refused(
    tmp_path: Path,
    db: psycopg.Connection,
    capsys: pytest.CaptureFixture[str],
    value: str,
    message: str,
) -> None:
    db.execute("create table marts.odd (name text)")
    db.execute("insert into marts.odd values (%s)", [value])
    assert main(["export", "marts.odd", "--to", str(tmp_path / "odd.xlsx")]) == 2 * (
        message[0] == "A"
    )
    printed = capsys.readouterr()
    assert message in printed.out + printed.err
    assert main(["export", "marts.odd", "--to", str(tmp_path / "none" / "odd.csv")]) == 2


@pytest.mark.parametrize("name", ["agents", "agents_history"])
def test_what_is_declared_personal_is_left_out_unless_it_is_asked_for(
    tmp_path: Path, db: psycopg.Connection, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ["agent_id", "name", "email", "status", "_extra"]
    db.execute(f"create table silver.{name} ({' text, '.join(columns)} text)")
    target = tmp_path / "agents.csv"
    assert main(["export", f"silver.{name}", "--to", str(target)]) == 0
    assert "without name, email, _extra (--personal has them)" in capsys.readouterr().out
    assert list(pandas.read_csv(target)) == ["agent_id", "status"]
    assert main(["export", name, "--to", str(target), "--personal"]) == 0
    assert list(pandas.read_csv(target)) == columns


@pytest.mark.usefixtures("table")
def test_a_mistake_is_answered_with_what_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "marts.od", "--to", str(tmp_path / "x.csv")]) == 2
    assert "Did you mean marts.odd?" in capsys.readouterr().err
    assert main(["export", "marts.odd", "--to", str(tmp_path / "x.doc")]) == 2
    assert ".xlsx, .csv, .parquet" in capsys.readouterr().err
