"""The sample days are what their README says."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from tests.raw_days import SAMPLE

ROW = re.compile(r"^\| (?P<rule>.+?) \| `(?P<where>[^`]+)` \| (?P<records>.+?) \|$", re.MULTILINE)
ROWS = [
    (row["rule"], row["where"], re.findall("`([^`]+)`", row["records"]))
    for row in ROW.finditer((SAMPLE / "README.md").read_text(encoding="utf-8"))
]


def values(path: Path) -> set[str]:
    """Every cell or scalar of a sample file or folder, as text."""
    if path.is_dir():
        return set().union(*(values(file) for file in path.iterdir()))
    if path.suffix == ".parquet":
        import pyarrow.parquet

        return scalars(pyarrow.parquet.read_table(path).to_pylist())
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as lines:
            return scalars(list(csv.reader(lines)))
    text = path.read_text(encoding="utf-8")
    try:
        return scalars(json.loads(text)) if text else set()
    except json.JSONDecodeError:
        return scalars([json.loads(line) for line in text.splitlines()])


def scalars(value: object) -> set[str]:
    if isinstance(value, dict):
        return scalars(list(value.values()))
    if isinstance(value, list):
        return set().union(*(scalars(item) for item in value))
    return {str(value)}


@pytest.mark.parametrize(("rule", "where", "records"), ROWS, ids=[row[0] for row in ROWS])
def test_readme_names_records_that_are_there(rule, where, records):
    assert records, rule
    assert set(records) <= values(SAMPLE / where)


def test_each_day_has_the_required_tables_and_each_shape_is_there():
    days = ("day1", "day2", "day3")
    names = {day: {path.stem for path in (SAMPLE / day).iterdir()} for day in days}
    for day, found in names.items():
        assert {"agents", "transactions"} <= found, day
        assert found & {"groups", "admin_groups"}, day
    assert not names["day3"] & {"agent_details", "group_memberships"}
    assert (SAMPLE / "day1/transactions/_SUCCESS").is_file()
    shapes = {path.suffix for path in SAMPLE.rglob("*") if path.is_file()}
    assert {".csv", ".json", ".parquet"} <= shapes


def test_nobody_real_is_in_the_sample():
    everything = set().union(*(values(path) for path in SAMPLE.glob("day*/*")))
    addresses = {value for value in everything if "@" in value}
    assert addresses
    assert all(address.endswith("@example.com") for address in addresses)
    phones = {value for value in everything if value.startswith("+")}
    assert phones
    assert all(re.fullmatch(r"\+1\d{3}55501\d{2}", phone) for phone in phones)
