"""Run several days in order: `python -m flows.backfill --days day1 day2 --data tests/sample`."""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta

from flows.day import (
    add_options,
    attempt_and_tell,
    check_usage,
    exit_code,
    guarded,
)
from loaders.days import Day, parse_day
from loaders.errors import UsageError

EXAMPLE = """examples:
  python -m flows.backfill --days day1 day2 --data tests/sample
  python -m flows.backfill --from 2026-01-05 --to 2026-01-11"""


def days_between(first: str, last: str) -> list[str]:
    """Every day from first to last, both included. UsageError when they don't make a range."""
    start, end = parse_day(first), parse_day(last)
    if start.calendar != end.calendar:
        raise UsageError(f"{first} and {last} are not of one calendar.")
    if end < start:
        raise UsageError(f"--from {first} is after --to {last}.")
    count = (end.date - start.date).days + 1
    return [Day(start.date + timedelta(days=n), start.calendar).text for n in range(count)]


def chosen_days(given: argparse.Namespace) -> list[str]:
    """The days that the options name, in the order they will run."""
    if given.days and (given.first or given.last):
        raise UsageError("Give --days, or --from and --to, not both.")
    if given.days:
        return given.days
    if not (given.first and given.last):
        raise UsageError("Give --days D1 D2 …, or both --from D and --to D.")
    return days_between(given.first, given.last)


def backfill(given: argparse.Namespace) -> int:
    """Run each day; stop at the first that fails and say which are done. The exit code."""
    from flows.report import where_next

    days = chosen_days(given)
    for day in days:
        check_usage(day, given.data, mode=given.mode, engine=given.engine, timeout=given.timeout)
    for number, day in enumerate(days):
        done = attempt_and_tell(day, given)
        if done.error is not None:
            finished, left = days[:number], days[number + 1 :]
            print(
                f"backfill stopped at {day}: done {', '.join(finished) or 'none'}; "
                f"not run {', '.join(left) or 'none'}.",
                file=sys.stderr,
            )
            return exit_code(done.error)
    print(f"\n{where_next(done.day)}")
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flows.backfill",
        description="Run day-pipeline for several days, in order, in one process.",
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
