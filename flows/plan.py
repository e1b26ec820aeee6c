"""What a run of a day would do; writes nothing: `daybook plan day2 --data tests/sample`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from flows.options import Options
from flows.report import wrapped
from loaders import warehouse
from loaders.arguments import ALLOW_SHRINK, JSON, add_day, add_reading, command
from loaders.days import parse_day
from loaders.plan import unused
from loaders.preview import Preview, preview_day

WIDTH = 19  # of a table's name
FILES = 3  # names shown of a table's files, which can be thousands


def print_plan(previews: list[Preview], unused_files: dict[str, str]) -> None:
    """Print what would become of each table, and the files that no table uses, each with why."""
    for preview in previews:
        lines = f"\n{' ' * WIDTH}".join(_lines(preview))
        print(wrapped(f"{preview.table.removeprefix('stg_'):<{WIDTH}}{lines}", WIDTH))
    if unused_files:
        print("\nfiles that no table uses")
    for name, why in unused_files.items():
        print(wrapped(f"  {name}: {why}", 4))


def _lines(preview: Preview) -> list[str]:
    if preview.status == "absent":
        return ["not in the day's files; what it said before stays"]
    if preview.status == "dropped":
        return ["no longer in the day's files: what landed of it is dropped"]
    if preview.status == "refused":
        return [f"REFUSED: {preview.error}"]
    more = f" and {len(preview.files) - FILES} more" if len(preview.files) > FILES else ""
    files = ", ".join(preview.files[:FILES]) + more
    if preview.status == "unchanged":
        return [f"{files}: the same as has landed, nothing to do"]
    rows = {"rows": preview.rows, "rejected": preview.rejected, "repaired": preview.repaired}
    lines = [f"{files}: {_nonzero(rows) or 'no rows'}"]
    if keys := preview.keys:
        changes = {"new": keys.new, "changed": keys.changed, "gone": keys.gone}
        lines.append(f"against {keys.against}: {_nonzero(changes) or 'no key differs'}")
    return lines + [f"fields {kind}: {', '.join(f)}" for kind, f in (preview.drift or {}).items()]


def _nonzero(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


@command(
    "flows.plan",
    "Say what a run of a day would land, refuse and change; writes nothing.",
    "example: %(prog)s day2 --data tests/sample. Exit code 1 where it would fail.",
    add_day,
    add_reading,
    ALLOW_SHRINK,
    JSON,
)
def main(args: argparse.Namespace) -> int:
    day = parse_day(args.day)
    options = Options.of(vars(args)).checked()
    print(f"reading {day} in {options.data}", file=sys.stderr, flush=True)
    warehouse.wake()
    allowed = {"allow_empty": options.allow_empty, "allow_shrink": options.allow_shrink}
    previews = preview_day(options.data, day, sources=options.sources, **allowed)
    unused_files = unused(options.data, day, options.sources)
    refused = [each.table for each in previews if each.status == "refused" and each.required]
    if args.json:
        tables = [asdict(each) for each in previews]
        print(json.dumps({"day": day.text, "tables": tables, "unused": unused_files}, indent=2))
    else:
        print_plan(previews, unused_files)
        if refused:
            print(f"\n{day} would fail: {', '.join(refused)} is required.")
    return int(bool(refused))


if __name__ == "__main__":
    sys.exit(main())
