"""Whether a day has come by its hour: `python -m flows.late --by 06:00`, for a schedule."""

from __future__ import annotations

import argparse
import os
import re
import sys
from datetime import UTC, datetime, time, timedelta

from flows import notify
from flows.pages.read import Row, ask
from loaders import ledger, warehouse
from loaders.arguments import command, option
from loaders.days import Day, parse_day
from loaders.errors import UsageError
from loaders.sources import declared_tables

MOMENT = "%Y-%m-%d %H:%M UTC"  # of times from a session, whose zone is UTC


def late(day: Day, by: time, now: datetime) -> int:
    """Say whether `day` came by the hour `by`, in UTC, of the day after it. Returns 1 when it
    is late, else 0; the webhook hears of a late day once. UsageError for a numbered day."""
    if day.calendar == "numbered":
        raise UsageError(f"{day} is a number, and has no hour to come by: give a date.")
    due = datetime.combine(day.date + timedelta(days=1), by, UTC)
    warehouse.wake()
    with warehouse.connect(
        application_name="daybook late", autocommit=True, role=warehouse.TRANSFORMER
    ) as connection:
        warehouse.check_ready(connection)
        ledger.check_calendar(connection, day)
        required = [table.name for table in declared_tables().values() if table.required]
        [arrived] = ask(connection, "arrival", day=day.date, required=required)
        came = arrived["came"]
        arrival = f"came at {came:{MOMENT}}" if came else "has not come"
        if came and came <= due:
            print(f"{day} {arrival}, in time for {due:{MOMENT}}.")
            return 0
        if now < due:
            print(f"{day} {arrival}; it is due by {due:{MOMENT}}.")
            return 0
        sentence = f"{day} is late: it {arrival}, and was due by {due:{MOMENT}}."
        print(sentence)
        message = {"text": f"Daybook: {sentence}", "day": day.text, "status": "late"}
        if arrived["is_noted"] or not os.environ.get(notify.SETTING):
            return 1
        if complaint := notify.post(message):
            print(f"warning: {complaint}", file=sys.stderr)
            return 1
        row: Row = {"task_name": "late", "pipeline_name": "day", "day": day.date}
        row |= {"flow_run_id": f"late-{day}", "status": "failure", "error_message": sentence}
        row |= {"started_at": "now", "finished_at": "now"}
        ledger.note(connection, "pipeline_metrics", row)
    return 1


def _hour(text: str) -> time:
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise UsageError(f"--by {text[:20]!r} is no hour: write one such as 06:00, in UTC.")
    return time.fromisoformat(text)


@command(
    "flows.late",
    "Whether a day has come by its hour: exit code 0 in time, 1 late. Late is told to"
    " DAYBOOK_WEBHOOK_URL, once.",
    "example: %(prog)s --by 06:00",
    option("--by", required=True, metavar="HH:MM", help="time (UTC) on the day after"),
    option("--day", metavar="DAY", help="a date (default: yesterday, in UTC)"),
)
def main(args: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    day = args.day or (now.date() - timedelta(days=1)).isoformat()
    return late(parse_day(day), _hour(args.by), now)


if __name__ == "__main__":
    sys.exit(main())
