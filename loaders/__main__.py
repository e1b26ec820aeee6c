"""`python -m loaders`: what comes before `dbt build`, without the flow: rates, files, names."""

from __future__ import annotations

import argparse
import sys
import uuid

from loaders import warehouse
from loaders.arguments import add_day, add_landing, check_workers, command, data_path, option
from loaders.days import parse_day
from loaders.errors import many, readable
from loaders.landing import Landed, land_day, reap_running
from loaders.lock import run_lock
from loaders.match import match_names
from loaders.progress import Progress
from loaders.rates import refresh_rates
from loaders.sources import declared_tables


@command(
    "loaders",
    "Land a day's raw files in bronze.stg_*, one table and day per transaction.",
    "example: %(prog)s --day 2026-01-05 --data exports --table stg_agents",
    add_day,
    add_landing,
    option(
        "--table",
        action="append",
        metavar="stg_x",
        help="land this table only, whatever else is there; may be given again",
    ),
)
def main(args: argparse.Namespace) -> int:
    day = parse_day(args.day)
    declared_tables(args.sources)
    check_workers(args.workers)
    data, run = data_path(args.data), f"land-{uuid.uuid4()}"
    with Progress(day.text, sys.stderr) as progress:
        progress("landing")
        warehouse.start()
        with run_lock(f"daybook land {run} {day}") as lock:
            reap_running()
            refresh_rates(day, run, lock=lock)
            landed = land_day(
                data,
                day,
                flow_run_id=run,
                tables=args.table,
                force=args.force,
                allow_empty=args.allow_empty,
                allow_shrink=args.allow_shrink,
                sources=args.sources,
                progress=progress,
                lock=lock,
                workers=args.workers,
            )
            match_names(day, flow_run_id=run, lock=lock)
    print(readable(account(landed)))
    # an optional table that is there and could not land is for someone to look at
    return 1 if any(one.status == "failed" for one in landed) else 0


def account(landed: list[Landed]) -> str:
    """What became of each table, as a table for people."""

    def count(rows: int | None) -> str:
        return "-" if rows is None else f"{rows:,}"

    rows = [["table", "status", "in files", "landed", "rejected", "seconds"]]
    for one in landed:
        counts = map(count, (one.rows_in_files, one.rows_landed, one.rows_rejected))
        rows.append([one.table, one.status, *counts, f"{one.seconds:.2f}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = zip(row, widths, "<<>>>>", strict=True)
        lines.append("  ".join(f"{text:{side}{width}}" for text, width, side in cells).rstrip())
    for one in landed:
        if one.error:
            lines.append(f"warning: {one.error}")
        if one.rows_repaired:
            lines.append(
                f"{one.table}: {many(one.rows_repaired, 'record')} landed repaired; "
                "bronze.load_rejects keeps their raw text and why"
            )
        if one.drift and one.status != "unchanged":
            changes = "; ".join(f"{kind} {_few(names)}" for kind, names in one.drift.items())
            lines.append(f"{one.table}: fields {changes}")
    return "\n".join(lines)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


if __name__ == "__main__":
    sys.exit(main())
