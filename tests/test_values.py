"""What the words of a column do to a single value, in every format."""

from __future__ import annotations

from pathlib import Path

import pytest

from loaders.readers.mapping import Mapping
from loaders.sources import declared_tables
from tests.test_declaration import sources


@pytest.mark.parametrize(
    ("theirs", "minor"),
    [
        ("12.5", "1250"),
        ("12", "1200"),
        ("-0.07", "-7"),
        ("0", "0"),
        (" 12.50 ", "1250"),
        ("12.5000", "1250"),
        ("1.005", "100.5"),
        ("123456789012345678901234567890.12", "12345678901234567890123456789012"),
        ("1.25e1", "1.25e3"),
        ("12,50", "12,50"),
        ("NaN", "NaN"),
        (None, None),
    ],
)
def test_amounts_in_major_units_land_in_minor_ones_exactly(
    tmp_path: Path, theirs: str | None, minor: str | None
) -> None:
    text = "stg_transactions: {columns: {amount_minor: {from: amount, scale: 2}}}"
    mapping = Mapping(declared_tables(sources(tmp_path, text))["stg_transactions"])
    assert mapping.header(["id", "amount"]).row(1, ["1", theirs]).values[14] == minor


@pytest.mark.parametrize(
    ("decimal", "theirs", "ours"),
    [
        (",", "1.234,50", "1234.50"),
        (",", "-1\u202f234,50 €", "-1234.50"),
        (",", "1'234'567", "1234567"),
        (",", "1,234.50", "1,234.50"),
        (".", "$1,234.50", "1234.50"),
        (".", "-12.5", "-12.5"),
        (".", "1,234,567", "1234567"),
        (".", "1.234,567.8", "1.234,567.8"),
        (".", "12.50 USD", "12.50 USD"),
    ],
)
def test_numbers_are_read_as_people_write_them(
    tmp_path: Path, decimal: str, theirs: str, ours: str
) -> None:
    overlay = sources(tmp_path, f"stg_budgets: {{decimal: '{decimal}'}}")
    header = Mapping(declared_tables(overlay)["stg_budgets"]).header(["id", "limit_amount"])
    assert ours in header.row(1, ["1", theirs]).values


@pytest.mark.parametrize(
    ("form", "theirs", "ours"),
    [
        ("%s", "1767340800", "2026-01-02T08:00:00+00:00"),
        ("%s", "1767340800.25", "2026-01-02T08:00:00.250000+00:00"),
        ("%Q", "1767340800123", "2026-01-02T08:00:00.123000+00:00"),
        ("%s", "1767340800123", "1767340800123"),
        ("%s", "nan", "nan"),
    ],
)
def test_seconds_from_1970_land_as_a_time(
    tmp_path: Path, form: str, theirs: str, ours: str
) -> None:
    text = f"stg_agents: {{columns: {{updated_at: {{from: updated, format: '{form}'}}}}}}"
    mapping = Mapping(declared_tables(sources(tmp_path, text))["stg_agents"])
    assert mapping.header(["id", "updated"]).row(1, ["1", theirs]).values[-1] == ours
