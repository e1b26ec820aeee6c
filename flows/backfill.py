"""Run several days in order: `python -m flows.backfill --days day1 day2 --data tests/sample`."""

from __future__ import annotations

import argparse
import gc
import sys
from functools import partial

from flows.day import show_day
from flows.options import Options, add_options, chosen_days, stopped_at
from flows.report import where_next
from loaders.arguments import command, option
from loaders.days import parse_day
from loaders.errors import UNREAD, check_interrupted, guarded


@command(
    "flows.backfill",
    "Run several days in order, by --days or by --from and --to; the first that fails ends it.",
    "example: %(prog)s --days day1 day2 --data tests/sample",
    option("--days", nargs="+", metavar="D", help="the days, in this order"),
    option("--from", dest="first", metavar="D", help="first day of a range"),
    option("--to", dest="last", metavar="D", help="last day of the range, included"),
    add_options,
)
def main(args: argparse.Namespace) -> int:
    """Run each day in this process; stop at the first that fails and say how to go on."""
    days = chosen_days(args.days, args.first, args.last)
    options = Options.of(vars(args)).checked()
    for number, day in enumerate(days):
        check_interrupted()  # one that came between two days
        one_day = partial(show_day, day, options, verbose=args.verbose)
        if (code := guarded(one_day, verbose=args.verbose)) not in (0, UNREAD):
            print(stopped_at(days, number), file=sys.stderr)
            return code
        gc.collect()  # by itself it runs once in many days
    print(f"\n{where_next(parse_day(days[-1]))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
