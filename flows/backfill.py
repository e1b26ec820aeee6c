"""Run several days in order: `python -m flows.backfill --days day1 day2 --data tests/sample`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict

from flows.command import add_options, exit_code, guarded, print_error
from flows.day import get_ready, showing, supervised
from flows.options import Options, chosen_days
from flows.progress import Progress
from flows.report import where_next
from flows.run import BackfillError, Stop
from loaders.days import parse_day
from loaders.files import day_folder

EXAMPLE = """examples:
  %(prog)s --days day1 day2 --data tests/sample
  %(prog)s --from 2026-01-05 --to 2026-01-11"""


def backfill(given: argparse.Namespace) -> int:
    """Run the flow in this process; stop at the first day that fails and say how to go on."""
    days = chosen_days(given.days, given.first, given.last)
    options = Options.of(vars(given)).checked()
    day_folder(options.data, parse_day(days[0]))
    name = " to ".join(dict.fromkeys([days[0], days[-1]]))
    with Progress(name, sys.stderr) as progress:
        progress("starting")
        get_ready(verbose=given.verbose)
    from flows import pipeline

    stop, flow = Stop(), pipeline.backfill
    pipeline.watched_days.set((stop, lambda day: showing(day, verbose=given.verbose)))
    state = supervised(stop, lambda: flow(days=days, **asdict(options), return_state=True))
    outcome = state.result(raise_on_failure=False)
    if isinstance(outcome, BackfillError):
        print(f"{outcome.where}\n{outcome.go_on}", file=sys.stderr)
    elif isinstance(outcome, BaseException):
        print_error(outcome, verbose=given.verbose)
    else:
        print(f"\n{where_next(parse_day(days[-1]))}")
        return 0
    return exit_code(outcome)


def main(argv: list[str] | None = None, prog: str = "python -m flows.backfill") -> int:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Run day-pipeline for several days, in order.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--days", nargs="+", metavar="D", help="the days, in this order")
    parser.add_argument("--from", dest="first", metavar="D", help="first day of a range")
    parser.add_argument("--to", dest="last", metavar="D", help="last day of the range, included")
    add_options(parser)
    given = parser.parse_args(argv)
    return guarded(lambda: backfill(given), verbose=given.verbose)


if __name__ == "__main__":
    sys.exit(main())
