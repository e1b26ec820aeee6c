"""Which days are done, missing or failed, and the last runs: `python -m flows.status`."""

from __future__ import annotations

import argparse
import sys
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from flows.pages.read import Row, ask, ask_by_day, runs
from flows.pages.render import show
from flows.pages.verdict import read_story, verdict
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


@command(
    "flows.status",
    "Which days are done, incomplete, missing or failed; the last runs; the lock.",
    "example: %(prog)s --limit 20",
    option("--limit", type=int, default=10, metavar="N", help="runs and landings (default: 10)"),
    JSON,
)
def main(args: argparse.Namespace) -> None:
    if warehouse.is_embedded() and not (warehouse.home() / "pg").exists():
        begin = "make demo, or daybook run DAY --data PATH"
        raise DaybookError(f"Nothing has run in {warehouse.home()} yet: {begin}.")
    if not 0 < args.limit <= MOST:
        raise UsageError(f"--limit is a number of rows, from 1 to {MOST:,}.")
    show("status", read_status(args.limit), as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
