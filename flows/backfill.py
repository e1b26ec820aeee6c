"""Run several days in order: `python -m flows.backfill --days day1 day2 --data tests/sample`."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from flows.day import show_day
from flows.options import Options, add_options, chosen_days, stopped_at
from flows.report import where_next
from loaders.days import parse_day
from loaders.errors import UNREAD, guarded

EXAMPLE = """examples:
  %(prog)s --days day1 day2 --data tests/sample
  %(prog)s --from 2026-01-05 --to 2026-01-11"""


def backfill(given: argparse.Namespace) -> int:
    """Run each day in this process; stop at the first that fails and say how to go on."""
    days = chosen_days(given.days, given.first, given.last)
    options = Options.of(vars(given)).checked()
    for number, day in enumerate(days):
        one_day = partial(show_day, day, options, verbose=given.verbose)
        if (code := guarded(one_day, verbose=given.verbose)) not in (0, UNREAD):
            print(stopped_at(days, number), file=sys.stderr)
            return code
    print(f"\n{where_next(parse_day(days[-1]))}")
    return 0


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
