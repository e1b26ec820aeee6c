"""The suites: one JSON file each, with the rows to look at and what is expected of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loaders.days import Day

FOLDER = Path(__file__).parent
SEVERITIES = {"critical": "error", "warning": "warn"}  # Great Expectations' words and ours


@dataclass(frozen=True)
class Suite:
    """One query over a day's rows, and the expectations that its rows are held to.

    `query` reads the day from `app.day`; `keys` are the columns that may be shown of a failing
    row; `calendar` limits the suite to dated or numbered days.
    """

    name: str
    table: str
    description: str
    keys: tuple[str, ...]
    query: str
    expectations: tuple[dict[str, Any], ...]
    calendar: str | None


def declared_suites(folder: Path = FOLDER) -> list[Suite]:
    """Every suite, by name."""
    return [_suite(path) for path in sorted(folder.glob("*.json"))]


def suites_of(day: Day) -> list[Suite]:
    """The suites that a day is held to: nothing can be said of the age of a numbered day."""
    return [suite for suite in declared_suites() if suite.calendar in (None, day.calendar)]


def _suite(path: Path) -> Suite:
    read = json.loads(path.read_text(encoding="utf-8"))
    return Suite(
        name=read["name"],
        table=read["table"],
        description=read["description"],
        keys=tuple(read["keys"]),
        query="\n".join(read["query"]),
        expectations=tuple(read["expectations"]),
        calendar=read.get("calendar"),
    )


def expected(kind: str, kwargs: dict[str, Any]) -> str:
    """What an expectation asks for, in a few words."""
    said = _asked(kind, kwargs)
    share = kwargs.get("mostly")
    return f"{said}, for at least {share:.0%} of rows" if share is not None else said


def _asked(kind: str, kwargs: dict[str, Any]) -> str:
    if kind == "expect_column_values_to_be_between":
        low, high = kwargs.get("min_value"), kwargs.get("max_value")
        above = ">" if kwargs.get("strict_min") else "≥"
        parts = [
            *([f"{above} {_figure(low)}"] if low is not None else []),
            *([f"≤ {_figure(high)}"] if high is not None else []),
        ]
        return f"{kwargs['column']} {' and '.join(parts)}"
    if kind == "expect_column_values_to_be_in_set":
        allowed = ", ".join(str(value).lower() for value in kwargs["value_set"])
        return f"{kwargs['column']} is {allowed}"
    if kind == "expect_column_pair_values_a_to_be_greater_than_b":
        return f"{kwargs['column_A']} ≥ {kwargs['column_B']}"
    columns = kwargs.get("column_list") or [kwargs.get("column", "rows")]
    return f"{', '.join(columns)} unique"


def _figure(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number:,}"
