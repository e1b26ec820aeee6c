"""What every command line of the flow has: options of a day, one sentence for an error."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from loaders.arguments import add_landing
from loaders.errors import ended_with


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that flows.day and flows.backfill share."""
    add_landing(parser)
    parser.add_argument(
        "--mode",
        choices=["local", "distributed"],
        default="local",
        help="distributed: each phase and table a run on Prefect's pool (default: local)",
    )
    parser.add_argument(
        "--engine", choices=["python", "spark"], default="python", help="default: python"
    )
    parser.add_argument(
        "--timeout", type=float, metavar="S", help="seconds a day may take (default: 7200)"
    )
    parser.add_argument("--verbose", action="store_true", help="Prefect's log, and tracebacks")


def guarded(command: Callable[[], int], *, verbose: bool = False) -> int:
    """A command's exit code: 0 done, 1 failed, 2 usage, 3 locked."""
    try:
        return command()
    except (Exception, KeyboardInterrupt) as error:
        return ended_with(error, verbose=verbose)
