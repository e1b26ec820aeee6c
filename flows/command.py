"""What every command line has: options of a day, one message for an error, an exit code."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable

from loaders.arguments import add_landing
from loaders.errors import DaybookError, plain


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that flows.day and flows.backfill share."""
    add_landing(parser)
    parser.add_argument(
        "--mode", choices=["local", "distributed"], default="local", help="default: local"
    )
    parser.add_argument(
        "--engine", choices=["python", "spark"], default="python", help="default: python"
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
