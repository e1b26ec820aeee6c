"""The suites: a file each, as Great Expectations keeps them. What is ours stands under `meta`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loaders.days import Day

FOLDER = Path(__file__).parent
SEVERITIES = {"critical": "error", "warning": "warn"}  # Great Expectations' words and ours

# {"name", "expectations", "meta"}, and of the suite's meta: `query`, the rows of the day that is
# in app.day; `table`, where they are from; `keys`, the columns that may be shown of a failing
# row; `calendar`, dated or numbered, where the suite is for such days alone.
Suite = dict[str, Any]


def declared_suites(folder: Path = FOLDER) -> list[Suite]:
    """Every suite, by name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def suites_of(day: Day) -> list[Suite]:
    """The suites that a day is held to: nothing can be said of the age of a numbered day."""
    calendars = (None, day.calendar)
    return [suite for suite in declared_suites() if suite["meta"].get("calendar") in calendars]
