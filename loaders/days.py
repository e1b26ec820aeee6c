"""Logical days: an ISO date, or `dayN` stored as 1970-01-01 + N days."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from loaders.errors import UsageError

EPOCH = date(1970, 1, 1)
_NUMBERED = re.compile(r"day([1-9][0-9]{0,3})")
_DATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, order=True)
class Day:
    """A logical day. `date` is what is stored in `_day`; `text` is how people write it."""

    date: date
    calendar: Literal["dated", "numbered"]

    @property
    def text(self) -> str:
        if self.calendar == "numbered":
            return f"day{(self.date - EPOCH).days}"
        return self.date.isoformat()

    def __str__(self) -> str:
        return self.text


def parse_day(text: str) -> Day:
    """The day that `text` names; UsageError for anything but YYYY-MM-DD or day1 to day9999."""
    if numbered := _NUMBERED.fullmatch(text):
        return Day(EPOCH + timedelta(days=int(numbered[1])), "numbered")
    if _DATED.fullmatch(text):
        with suppress(ValueError):
            return Day(date.fromisoformat(text), "dated")
    shown = text if len(text) <= 40 else text[:40] + "…"
    raise UsageError(
        f"{shown!r} is not a logical day: write an ISO date such as 2026-01-05, or day1 to day9999."
    )
