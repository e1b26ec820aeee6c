"""What every command line of the flow has: options of a day, one sentence for an error."""

from __future__ import annotations

import argparse
import atexit
import gc
from collections.abc import Callable

from loaders.arguments import add_landing
from loaders.errors import ended_with


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


def collect_rarely() -> None:
    """Look less often for what can be freed. What is imported stays, and to look through it again
    and again, and twice more at the end, is a quarter of what dbt, Prefect and the checks cost."""
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)


def guarded(command: Callable[[], int], *, verbose: bool = False) -> int:
    """A command's exit code: 0 done, 1 failed, 2 usage, 3 locked."""
    try:
        return command()
    except (Exception, KeyboardInterrupt) as error:
        return ended_with(error, verbose=verbose)
