"""What a run may be asked for. Everything here raises UsageError before anything is touched."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from flows import stack
from loaders import retention
from loaders.days import Day, parse_day
from loaders.errors import UsageError
from loaders.sources import SETTING, declared_tables


def check_usage(
    day: str,
    data: str | None,
    *,
    mode: str = "local",
    engine: str = "python",
    timeout: float | None = None,
) -> Day:
    """The day that was meant. Raises UsageError; touches neither disk nor database."""
    logical_day = parse_day(day)
    if not data_path(data):
        raise UsageError("Say where the raw files are: --data PATH, or DATA_BASE_PATH.")
    if mode not in ("local", "distributed"):
        raise UsageError("--mode is local or distributed.")
    if mode == "distributed" and not (os.environ.get("PREFECT_API_URL") or stack.api_url()):
        raise UsageError("--mode distributed needs a Prefect server and a worker: make up.")
    if engine not in ("python", "spark"):
        raise UsageError("--engine is python or spark.")
    retention.keep_days()
    if timeout is not None and not timeout > 0:
        raise UsageError("--timeout is a number of seconds above zero.")
    return logical_day


def data_path(data: str | None) -> str:
    """Where the raw files are, absolute when on disk: dbt changes the working directory."""
    path = data or os.environ.get("DATA_BASE_PATH", "")
    return path if not path or "://" in path else str(Path(path).absolute())


def sources_path(sources: str | None) -> str | None:
    """The overlay as every process of the run finds it. UsageError when it can't be used."""
    given = sources or os.environ.get(SETTING)
    declared_tables(given)
    return str(Path(given).absolute()) if given else None


def days_between(first: str, last: str) -> list[str]:
    """Every day from first to last, both included. UsageError when they don't make a range."""
    start, end = parse_day(first), parse_day(last)
    if start.calendar != end.calendar:
        raise UsageError(f"{first} and {last} are not of one calendar.")
    if end < start:
        raise UsageError(f"--from {first} is after --to {last}.")
    count = (end.date - start.date).days + 1
    return [Day(start.date + timedelta(days=n), start.calendar).text for n in range(count)]


def chosen_days(days: list[str] | None, first: str | None, last: str | None) -> list[str]:
    """The days that were named, or all from first to last, in the order they will run."""
    if days and (first or last):
        raise UsageError("Give --days, or --from and --to, not both.")
    if days:
        return days
    if not (first and last):
        raise UsageError("Give --days D1 D2 …, or both --from D and --to D.")
    return days_between(first, last)
