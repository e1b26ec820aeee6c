"""The options of a day that command lines of the flow share."""

from __future__ import annotations

import argparse

from loaders.arguments import add_landing


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
