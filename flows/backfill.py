"""Run several days in order: `python -m flows.backfill --days day1 day2 --data tests/sample`."""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta

from flows.day import (
    add_options,
    check_usage,
    exit_code,
    get_ready,
    guarded,
    print_error,
    sources_path,
    supervised,
    told,
)
from flows.stopping import Stop
from loaders.days import Day, parse_day
from loaders.errors import DaybookError, UsageError

EXAMPLE = """examples:
  python -m flows.backfill --days day1 day2 --data tests/sample
  python -m flows.backfill --from 2026-01-05 --to 2026-01-11"""


class BackfillError(DaybookError):
    """A day failed, and those after it were not run. `where`: the message without the cause."""

    def __init__(self, days: list[str], failed: int, cause: BaseException) -> None:
        done, left = days[:failed], days[failed + 1 :]
        self.where = (
            f"backfill stopped at {days[failed]}: done {', '.join(done) or 'none'}; "
            f"not run {', '.join(left) or 'none'}."
        )
        self.go_on = (
            "When its cause is mended, go on, with the same options: "
            f"python -m flows.backfill --days {' '.join(days[failed:])}"
        )
        super().__init__(f"{self.where} {cause}\n{self.go_on}")
        self.exit_code = exit_code(cause)


def days_between(first: str, last: str) -> list[str]:
    """Every day from first to last, both included. UsageError when they don't make a range."""
    start, end = parse_day(first), parse_day(last)
    if start.calendar != end.calendar:
        raise UsageError(f"{first} and {last} are not of one calendar.")
    if end < start:
        raise UsageError(f"--from {first} is after --to {last}.")
    count = (end.date - start.date).days + 1
    return [Day(start.date + timedelta(days=n), start.calendar).text for n in range(count)]


def chosen_days(days: list[str] | None, first: str | None, last: str | None) -> list[str]:
    """The days that were named, or all from first to last, in the order they will run."""
    if days and (first or last):
        raise UsageError("Give --days, or --from and --to, not both.")
    if days:
        return days
    if not (first and last):
        raise UsageError("Give --days D1 D2 …, or both --from D and --to D.")
    return days_between(first, last)


def backfill(given: argparse.Namespace) -> int:
    """Run the flow in this process; stop at the first day that fails and say how to go on."""
    from flows.report import where_next

    days = chosen_days(given.days, given.first, given.last)
    options = {
        "data": given.data,
        "mode": given.mode or "local",
        "engine": given.engine or "python",
        "timeout": given.timeout,
    }
    for day in days:
        check_usage(day, **options)
    get_ready(verbose=given.verbose)
    from flows import pipeline

    stop, flow = Stop(), pipeline.backfill
    pipeline.watched_days.set((stop, lambda day: told(day, verbose=given.verbose)))
    state = supervised(
        stop,
        lambda: flow(
            days=days,
            force=given.force,
            allow_empty=given.allow_empty,
            allow_shrink=given.allow_shrink,
            sources=sources_path(given.sources),
            return_state=True,
            **options,
        ),
    )
    outcome = state.result(raise_on_failure=False)
    if isinstance(outcome, BackfillError):
        print(f"{outcome.where}\n{outcome.go_on}", file=sys.stderr)
    elif isinstance(outcome, BaseException):
        print_error(outcome, verbose=given.verbose)
    else:
        print(f"\n{where_next(parse_day(days[-1]))}")
        return 0
    return exit_code(outcome)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flows.backfill",
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
