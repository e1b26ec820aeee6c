"""What a run of a day would do, and nothing done: `daybook plan day2 --data tests/sample`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from flows.options import Options
from flows.report import wrapped
from loaders import warehouse
from loaders.arguments import JSON, add_day, add_reading, command, option
from loaders.days import parse_day
from loaders.plan import unused
from loaders.preview import Preview, preview_day

WIDTH = 19  # of a table's name
FILES = 3  # named; a folder can have thousands


def print_plan(previews: list[Preview], beside: dict[str, str]) -> None:
    """What would become of each table, for people."""
    for each in previews:
        said = f"\n{' ' * WIDTH}".join(_said(each))
        print(wrapped(f"{each.table.removeprefix('stg_'):<{WIDTH}}{said}", WIDTH))
    if beside:
        print("\nfiles that no table uses")
    for name, why in beside.items():
        print(wrapped(f"  {name}: {why}", 4))


def _said(each: Preview) -> list[str]:
    if each.status == "absent":
        return ["not in the day's files; what it said before stays"]
    if each.status == "dropped":
        return ["no longer in the day's files: what landed of it is dropped"]
    if each.status == "refused":
        return [f"REFUSED: {each.error}"]
    more = f" and {len(each.files) - FILES} more" if len(each.files) > FILES else ""
    files = ", ".join(each.files[:FILES]) + more
    if each.status == "unchanged":
        return [f"{files}: the same as has landed, nothing to do"]
    rows = {"rows": each.rows, "rejected": each.rejected, "repaired": each.repaired}
    said = [f"{files}: {_counted(rows) or 'no rows'}"]
    if keys := each.keys:
        changes = {"new": keys.new, "changed": keys.changed, "gone": keys.gone}
        said.append(f"against {keys.against}: {_counted(changes) or 'no key differs'}")
    return said + [f"fields {kind}: {', '.join(of)}" for kind, of in (each.drift or {}).items()]


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)


@command(
    "flows.plan",
    "Say what a run of a day would land, refuse and change; writes nothing.",
    "example: %(prog)s day2 --data tests/sample. Exit code 1 where it would fail.",
    add_day,
    add_reading,
    option("--allow-shrink", action="store_true", help="accept a halved snapshot"),
    JSON,
)
def main(given: argparse.Namespace) -> int:
    day = parse_day(given.day)
    options = Options.of(vars(given)).checked()
    print(f"reading {day} in {options.data}", file=sys.stderr, flush=True)
    warehouse.wake()
    how = {"allow_empty": options.allow_empty, "allow_shrink": options.allow_shrink}
    previews = preview_day(options.data, day, sources=options.sources, **how)
    beside = unused(options.data, day, options.sources)
    refused = [each.table for each in previews if each.status == "refused" and each.required]
    if given.json:
        tables = [asdict(each) for each in previews]
        print(json.dumps({"day": day.text, "tables": tables, "unused": beside}, indent=2))
    else:
        print_plan(previews, beside)
        if refused:
            print(f"\n{day} would fail: {', '.join(refused)} is required.")
    return int(bool(refused))


if __name__ == "__main__":
    sys.exit(main())
