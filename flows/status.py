"""Which days are done, missing or failed, and the last runs: `python -m flows.status`."""

from __future__ import annotations

import argparse
import json
import sys
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from flows.pages.read import Row, ask, ask_by_day, runs
from flows.pages.verdict import read_story, verdict
from flows.report import wrapped
from loaders import warehouse
from loaders.arguments import JSON, command, option
from loaders.errors import DaybookError, UsageError
from loaders.lock import holder

if TYPE_CHECKING:
    from psycopg import Connection

MOST = 1_000_000  # the highest --limit


def days_by_state(days: list[Row]) -> dict[str, list[list[str]]]:
    """State → its spans of consecutive days, each as [first, last]."""
    spans: dict[str, list[list[str]]] = {}
    state_and_span = itemgetter("state", "span")
    for (state, _), group in groupby(sorted(days, key=state_and_span), state_and_span):
        names = [row["day_name"] for row in group]
        spans.setdefault(state, []).append([names[0], names[-1]])
    return spans


def last_run(connection: Connection, run: Row) -> dict[str, Any]:
    """A run in words: its verdict, what failed, advice, warnings, and the accepted ones."""
    story = read_story(connection, run["flow_run_id"], run["day"])
    judged = verdict(story, ask(connection, "ledger", day=run["day"]))
    sentence, notes = f"{judged.word}: {judged.sentence}", story.by_severity
    if run["status"] == "killed":
        sentence = "ended without a word (killed?): run the same command again."
    return {
        "verdict": f"{run['day_name']} {sentence}",
        "failed": [each.as_failure for each in story.failures() if story.has_failed],
        "advice": story.advice if story.has_failed else [],
        "warnings": [*([] if story.has_failed else notes["failed"]), *notes["warnings"]],
        "accepted": story.accepted,
    }


def read_status(limit: int) -> dict[str, Any]:
    """The command's --json; `limit`: how many runs and landings."""
    with warehouse.connect(application_name="daybook status") as connection:
        warehouse.check_ready(connection)
        held = holder(connection)
        newest, days = runs(connection, limit), ask_by_day(connection, "calendar")
        held = held or holder(connection)  # a run that ends, or begins, between the two is alive
        for row in [] if held else [*newest, *days]:
            for name in ("status", "state"):  # nobody is at work, and the next run closes it
                if row.get(name) == "running":
                    row[name] = "killed"
        return {
            "lock": held and held[0],
            "last_run": last_run(connection, newest[0]) if newest else None,
            "days": days_by_state(days),
            "runs": [
                {
                    "started": f"{run['started_at']:%Y-%m-%d %H:%M:%S}",
                    "day": run["day_name"],
                    "status": run["status"],
                    "seconds": round(run["duration_seconds"] or 0, 1),
                    "run": run["flow_run_id"],
                    "error": run["error_message"],
                }
                for run in newest
            ],
            "landings": [
                landing | {"day": landing.pop("day_name")}
                for landing in ask_by_day(connection, "batches", most=limit)
            ],
        }


def print_status(status: dict[str, Any]) -> None:
    """Print the status for people, as wide as the terminal."""
    print(f"lock: {status['lock'] or 'free'}")
    if last := status["last_run"]:
        print("\nlast run\n" + wrapped(f"  {last['verdict']}", 4))
        for line in (*last["failed"], *last["advice"], *last["warnings"], *last["accepted"]):
            print(wrapped(f"    {line}", 6))
    if status["days"]:
        print("\ndays")
    for state, spans in status["days"].items():
        days = ", ".join(a if a == b else f"{a} to {b}" for a, b in spans)
        print(wrapped(f"  {state:10} {days}", 13))
    print(f"\nlast runs\n{'started (UTC)':21}{'day':12}{'status':9}{'seconds':>8}  run")
    for run in status["runs"]:
        line = f"{run['started']:21}{run['day']:12}{run['status']:9}{run['seconds']:>8}"
        print(wrapped(f"{line}  {run['run'][:8]}"))
        if run["error"]:
            print(wrapped(f"    {run['error']}", 4))
    if not status["runs"]:
        print("  no run yet: make demo")
    if status["landings"]:
        print(f"\nlast landings\n{'landed':>9}{'rejected':>10}  {'day':12}{'status':11}table")
    for row in status["landings"]:
        landed, rejected = ("" if row[n] is None else row[n] for n in ("landed", "rejected"))
        line = f"{landed:>9}{rejected:>10}  {row['day']:12}{row['status']:11}{row['table']}"
        print(wrapped(line, 45))


@command(
    "flows.status",
    "Which days are done, incomplete, missing or failed; the last runs; the lock.",
    "example: %(prog)s --limit 20",
    option("--limit", type=int, default=10, help="days and runs shown (default: 10)"),
    JSON,
)
def main(args: argparse.Namespace) -> None:
    if warehouse.is_embedded() and not (warehouse.home() / "pg").exists():
        begin = "make demo, or daybook run DAY --data PATH"
        raise DaybookError(f"Nothing has run in {warehouse.home()} yet: {begin}.")
    if not 0 < args.limit <= MOST:
        raise UsageError(f"--limit is a number of rows, from 1 to {MOST:,}.")
    status = read_status(args.limit)
    print(json.dumps(status, indent=2)) if args.json else print_status(status)


if __name__ == "__main__":
    sys.exit(main())
