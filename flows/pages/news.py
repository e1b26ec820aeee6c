"""What is new since the day before, apart from what is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flows.checks.quarantine import Reason, read_reasons
from flows.pages import read
from flows.pages.remarks import Remark, read_remarks
from loaders.days import Day

if TYPE_CHECKING:
    from psycopg import Connection

Said = dict[tuple[str, ...], str]  # what tells one finding from another → its line


class News(NamedTuple):
    """`since`: the day that was checked before, None where there is none; `gone`: what was said of
    it and is not of this one."""

    since: Day | None
    new: list[str]
    known: list[str]
    gone: list[str]


def read_news(
    connection: Connection,
    day: Day,
    checks: list[read.Row],
    remarks: list[Remark],
    reasons: list[Reason],
) -> News:
    """Hold a run of `day` to the last run of the day before that was checked."""
    now = _said(checks, remarks, reasons)
    before = read.ask(
        connection,
        "metrics.check_results",
        """
        select day, flow_run_id from metrics.check_results
        where day < %s
        order by day desc, id desc
        limit 1
        """,
        day.date,
    )
    if not before:
        return News(None, list(now.values()), [], [])
    since, run = Day(before[0]["day"], day.calendar), before[0]["flow_run_id"]
    then = _said(
        read.failing(read.checks(connection, run)),
        read_remarks(connection, run),
        read_reasons(connection, since),
    )
    return News(
        since,
        [line for key, line in now.items() if key not in then],
        [line for key, line in now.items() if key in then],
        [line for key, line in then.items() if key not in now and key[0] != "drift"],
    )


def _said(checks: list[read.Row], remarks: list[Remark], reasons: list[Reason]) -> Said:
    found: Said = {
        # a change of fields is news each time; all else is the same thing in other numbers
        (one.kind, one.name, one.said if one.kind == "drift" else ""): f"{one.name}: {one.said}"
        for one in remarks
    }
    found |= {
        ("check", row["name"]): f"{row['name']}: {row['description']}; found {row['observed']}"
        for row in checks
    }
    return found | {
        (
            "reason",
            one.table,
            one.reason,
        ): f"{one.table}: {one.rows:,} in quarantine as {one.reason}"
        for one in reasons
    }
