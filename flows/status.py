"""Which days are done, missing, failed, and what the last runs did: `python -m flows.status`."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import date
from typing import TYPE_CHECKING, Any

from flows.command import guarded
from flows.pages import read, runs
from flows.pages.read import Row, ask
from flows.pages.runs import day_text
from flows.pages.verdict import read_story
from flows.report import aligned, wrapped
from loaders import warehouse
from loaders.lock import holder

if TYPE_CHECKING:
    from psycopg import Connection


LANDINGS = """
select
    batch_id as batch, day, table_name as "table", status, rows_landed as landed,
    rows_rejected as rejected
from bronze.load_batches
order by batch_id desc
limit %s
"""


def days_by_state(connection: Connection, numbered: bool) -> dict[str, list[list[str]]]:
    """State → the days that are in it, as first and last of each row of days."""
    text = day_text(numbered)
    spans: dict[str, list[list[date]]] = {}
    for row in runs.calendar(connection):
        of_state = spans.setdefault(row["state"], [])
        if of_state and (row["day"] - of_state[-1][1]).days == 1:
            of_state[-1][1] = row["day"]
        else:
            of_state.append([row["day"], row["day"]])
    return {
        state: [[text(first), text(last)] for first, last in of_state]
        for state, of_state in sorted(spans.items())
    }


def last_run(connection: Connection, run: Row, day: str) -> dict[str, Any]:
    """What a run did, in words: the verdict, what failed, what to do, what to look at."""
    story = read_story(connection, run, read.ledger(connection, run["day"]))
    said = story.verdict["said"]
    warned = [row for row in story.failing if row["severity"] == "warn"]
    left = [one for one in story.remarks if not story.failed or one.kind != "failed"]
    return {
        "verdict": f"{day} {story.verdict['word']}: {said}",
        # but for what the verdict says already
        "failed": [
            line for line in story.failed if line.rpartition("did not land: ")[2] not in said
        ],
        "advice": story.advice,
        "warnings": [
            *(f"{one.name}: {one.said}" for one in left),
            *(f"{row['name']}: {row['observed']}" for row in warned),
        ],
        "accepted": [read.accepted(row) for row in story.checks if row["accepted"]],
    }


def read_status(limit: int) -> dict[str, Any]:
    """All that the command says, as a program may have it."""
    with warehouse.connect(application_name="daybook status") as connection:
        warehouse.check_ready(connection)
        numbered = runs.is_numbered(connection)
        text = day_text(numbered)
        held = holder(connection)
        newest = [
            (run, run["asked_day"] or text(run["day"])) for run in runs.runs(connection, limit)
        ]
        return {
            "lock": held and held[0],
            "last_run": last_run(connection, *newest[0]) if newest else None,
            "days": days_by_state(connection, numbered),
            "runs": [
                {
                    "started": f"{run['started_at']:%Y-%m-%d %H:%M:%S}",
                    "day": day,
                    "status": run["status"],
                    "seconds": round(run["duration_seconds"] or 0, 1),
                    "run": run["flow_run_id"],
                    "error": run["error_message"],
                }
                for run, day in newest
            ],
            "landings": [
                row | {"day": text(row["day"])}
                for row in ask(connection, "bronze.load_batches", LANDINGS, limit)
            ],
        }


def print_status(found: dict[str, Any]) -> None:
    """The same for people, as wide as there is room."""
    print(f"lock: {found['lock'] or 'free'}")
    if last := found["last_run"]:
        print("\nlast run\n" + wrapped(f"  {last['verdict']}", 4))
        for line in (*last["failed"], *last["advice"], *last["warnings"], *last["accepted"]):
            print(wrapped(f"    {line}", 6))
    if found["days"]:
        print("\ndays")
    for state, spans in found["days"].items():
        said = ", ".join(a if a == b else f"{a} to {b}" for a, b in spans)
        print(wrapped(f"  {state:8} {said}", 11))
    print("\nlast runs")
    header = ["started (UTC)", "day", "status", "seconds", "run"]
    rows = [
        [run["started"], run["day"], run["status"], f"{run['seconds']}", run["run"][:8]]
        for run in found["runs"]
    ]
    print(aligned(header, rows, left=3) if rows else "  none yet: make demo")
    print("\nlast landings")
    header = ["batch", "day", "table", "status", "landed", "rejected"]
    rows = [
        ["" if row[name] is None else str(row[name]) for name in header]
        for row in found["landings"]
    ]
    print(aligned(header, rows, left=4) if rows else "  none yet")


def show(limit: int, as_json: bool) -> int:
    found = read_status(limit)
    print(json.dumps(found, indent=2)) if as_json else print_status(found)
    return 0


def main(argv: list[str] | None = None, prog: str = "python -m flows.status") -> int:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Which days are done, missing or failed; what the last runs did; the lock.",
        epilog="example: %(prog)s --limit 20",
    )
    parser.add_argument("--limit", type=int, default=10, help="rows of each (default 10)")
    parser.add_argument("--json", action="store_true", help="for a program")
    given = parser.parse_args(argv)
    return guarded(lambda: show(given.limit, given.json))


if __name__ == "__main__":
    sys.exit(main())
