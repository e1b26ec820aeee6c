"""What every command line has: options of a day, one message for an error, an exit code."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable

from loaders.errors import DaybookError, plain


def add_day(parser: argparse.ArgumentParser) -> None:
    """The day, by place or by name."""
    day = parser.add_mutually_exclusive_group(required=True)
    day.add_argument("place", nargs="?", metavar="DAY", help="2026-01-05, or day1 to day9999")
    day.add_argument("--day", metavar="DAY", help="the same, by name")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that flows.day and flows.backfill share."""
    parser.add_argument("--data", metavar="PATH", help="folder of days (default: DATA_BASE_PATH)")
    parser.add_argument(
        "--mode", choices=["local", "distributed"], default="local", help="default: local"
    )
    parser.add_argument(
        "--engine", choices=["python", "spark"], default="python", help="default: python"
    )
    parser.add_argument(
        "--sources", metavar="FILE", help="how files differ from the declared (DAYBOOK_SOURCES)"
    )
    parser.add_argument("--force", action="store_true", help="land unchanged files again")
    parser.add_argument("--allow-empty", action="store_true", help="accept an empty snapshot")
    parser.add_argument("--allow-shrink", action="store_true", help="accept a halved snapshot")
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that read big files",
    )
    parser.add_argument("--timeout", type=float, metavar="S", help="seconds a day may take")
    parser.add_argument("--verbose", action="store_true", help="Prefect's log, and tracebacks")


def print_error(error: BaseException, *, verbose: bool = False) -> None:
    """One clear message on standard error; with `verbose` the traceback before it."""
    if verbose:
        traceback.print_exception(error)
    error = plain(error) if isinstance(error, Exception) else error
    kind = "" if isinstance(error, DaybookError) else f"{type(error).__name__}: "
    print(f"error: {kind}{error}", file=sys.stderr)


def guarded(command: Callable[[], int], *, verbose: bool = False) -> int:
    """A command's exit code: 0 done, 1 failed, 2 usage, 3 locked."""
    try:
        return command()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 1
    except Exception as error:
        print_error(error, verbose=verbose)
        return exit_code(error)


def exit_code(error: BaseException | None) -> int:
    """The exit code that an error ends a command with."""
    return 0 if error is None else getattr(error, "exit_code", 1)
