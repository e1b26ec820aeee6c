"""The options of a run. All functions raise UsageError before disk or database is touched."""

from __future__ import annotations

import argparse
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from flows import api
from loaders import retention, s3
from loaders.arguments import add_landing, check_workers, data_path
from loaders.days import Day, parse_day
from loaders.errors import UsageError
from loaders.readers.rows import UNSTORABLE
from loaders.sources import SETTING, declared_tables

Mode = Literal["local", "distributed"]
Engine = Literal["python", "spark"]


@dataclass(frozen=True)
class Options:
    """The options of a day, with the names that the command line and the flow's parameters have.

    `data`: the folder of days; `sources`: an overlay of the sources file; `timeout`: the seconds
    that the whole day may take; `workers`: how many processes read a big table's files.
    """

    data: str = ""
    mode: Mode = "local"
    engine: Engine = "python"
    force: bool = False
    allow_empty: bool = False
    allow_shrink: bool = False
    sources: str | None = None
    timeout: float | None = None
    workers: int = 1

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Options:
        """The options among `values`, by name; None, like an absent one, means the default."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: values[name] for name in names if values.get(name) is not None})

    def checked(self) -> Options:
        """The same options with absolute paths, since dbt changes the working directory. Raises
        UsageError; reads the overlay, and touches nothing else of disk or database."""
        data = data_path(self.data)
        needs_server = self.mode == "distributed" and "PREFECT_API_URL" not in os.environ
        if needs_server and not api.url():
            raise UsageError("--mode distributed needs a Prefect server and a worker: make up.")
        retention.keep_days()
        if self.timeout is not None and not 0 < self.timeout <= threading.TIMEOUT_MAX:
            raise UsageError("--timeout is a number of seconds above zero that a timer can hold.")
        if os.environ.get("DBT_TARGET", "") not in ("", "embedded", "prod"):
            raise UsageError(
                "DBT_TARGET of a run is embedded or prod: it builds what all read. What is for you"
                " alone dbt build --target dev makes."
            )
        if os.environ.get("DAYBOOK_DBT_RUNNER", "") not in ("", "prefect"):
            raise UsageError("DAYBOOK_DBT_RUNNER is prefect, or empty for dbt's own runner.")
        check_workers(self.workers)
        declared_tables(self.sources)
        sources = self.sources or os.environ.get(SETTING)
        if UNSTORABLE.search(f"{data}{sources}"):
            raise UsageError("A path that is not UTF-8 can't be told to Prefect: rename it.")
        return replace(
            self,
            data=str(s3.place(data)),
            sources=str(Path(sources).absolute()) if sources else None,
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that flows.day and flows.backfill share."""
    add_landing(parser)
    add = parser.add_argument
    modes = "distributed: each phase and table a run on Prefect's pool (default: local)"
    add("--mode", choices=["local", "distributed"], default="local", help=modes)
    add("--engine", choices=["python", "spark"], default="python", help="default: python")
    add("--timeout", type=float, metavar="S", help="seconds a day may take (default: 7200)")
    add("--verbose", action="store_true", help="show Prefect's log and tracebacks")


def chosen_days(days: list[str] | None, first: str | None, last: str | None) -> list[str]:
    """The days of a backfill, in the order of their runs: `days`, or all from `first` to `last`.
    UsageError unless exactly one of the two is given."""
    if bool(days) == bool(first or last) or bool(first) != bool(last):
        raise UsageError("Give --days D1 D2 …, or both --from D and --to D.")
    named = [parse_day(day) for day in days or (first or "", last or "")]
    if others := [day.text for day in named if day.calendar != named[0].calendar]:
        raise UsageError(f"{named[0]} and {others[0]} are not of one calendar.")
    if days:
        return [day.text for day in named]
    begin, end = named
    if end < begin:
        raise UsageError(f"--from {begin} is after --to {end}.")
    count = (end.date - begin.date).days + 1
    return [Day(begin.date + timedelta(days=n), begin.calendar).text for n in range(count)]


def stopped_at(days: list[str], failed: int) -> str:
    """The message of a backfill that stopped at `days[failed]`: done, not run, how to go on."""
    done, left = days[:failed], days[failed + 1 :]
    return (
        f"backfill stopped at {days[failed]}; done: {', '.join(done) or 'none'}; "
        f"not run: {', '.join(left) or 'none'}.\n"
        "When its cause is mended, go on, with the same options: "
        f"daybook backfill --days {' '.join(days[failed:])}"
    )
