"""What command lines share: their frame, and the options of a day."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

from loaders.errors import UsageError, guarded

Adds = Callable[[argparse.ArgumentParser], object]
Main = Callable[..., int]


def command(
    module: str, about: str, examples: str, *options: Adds
) -> Callable[[Callable[[argparse.Namespace], int | None]], Main]:
    """A decorator that makes a module's work on its parsed options its `main(arguments, prog)`.
    That returns an exit code, as `guarded` has them, and has --help."""

    def decorated(work: Callable[[argparse.Namespace], int | None]) -> Main:
        def main(arguments: list[str] | None = None, prog: str = f"python -m {module}") -> int:
            parser = argparse.ArgumentParser(prog=prog, description=about, epilog=examples)
            for add in options:
                add(parser)
            args = parser.parse_args(arguments)
            return guarded(lambda: work(args), verbose=getattr(args, "verbose", False))

        return main

    return decorated


def option(*names: str, **about: Any) -> Adds:
    """An option of a command, with the arguments of argparse's add_argument."""
    return lambda parser: parser.add_argument(*names, **about)


JSON = option("--json", action="store_true", help="print JSON")
HALVED = "accept a snapshot that loses, or switches off, more than half"
ALLOW_SHRINK = option("--allow-shrink", action="store_true", help=HALVED)


def add_day(parser: argparse.ArgumentParser) -> None:
    """The day, as an argument or as --day."""
    either = parser.add_mutually_exclusive_group(required=True)
    about: Any = {"metavar": "DAY", "default": argparse.SUPPRESS}
    either.add_argument("day", nargs="?", help="2026-01-05, or day1 to day9999", **about)
    either.add_argument("--day", help="the same, as an option", **about)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """The options of reading raw files, with or without Spark."""
    add = parser.add_argument
    add("--data", metavar="PATH", help="folder that holds the days (default: DATA_BASE_PATH)")
    add("--sources", metavar="FILE", help="overlay: how your files differ (DAYBOOK_SOURCES)")
    add("--allow-empty", action="store_true", help="accept a snapshot without records")


def add_landing(parser: argparse.ArgumentParser) -> None:
    """The options of landing, those of reading among them."""
    add_reading(parser)
    add = parser.add_argument
    add("--workers", type=int, default=1, metavar="N", help="processes for big files (default: 1)")
    add("--force", action="store_true", help="land unchanged files too")
    ALLOW_SHRINK(parser)


def data_path(data: str | None) -> str:
    """--data or DATA_BASE_PATH; UsageError when neither is given."""
    if place := data or os.environ.get("DATA_BASE_PATH"):
        return place
    raise UsageError("Where is the data? Give --data PATH or set DATA_BASE_PATH.")


def check_workers(number: int) -> None:
    """UsageError unless --workers is 1 or more."""
    if number < 1:
        raise UsageError("--workers is a number of processes from 1.")
