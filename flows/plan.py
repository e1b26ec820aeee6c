"""What a run of a day would do, and nothing done: `daybook plan day2 --data tests/sample`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from flows.options import Options
from flows.report import wrapped
from loaders import warehouse
from loaders.arguments import add_day, add_reading
from loaders.days import parse_day
from loaders.errors import guarded
from loaders.preview import Preview, preview_day

WIDTH = 19  # of a table's name
FILES = 3  # named; a folder can have thousands


def print_plan(previews: list[Preview], unused: dict[str, str]) -> None:
    """What would become of each table, for people."""
    for each in previews:
        said = f"\n{' ' * WIDTH}".join(_said(each))
        print(wrapped(f"{each.table.removeprefix('stg_'):<{WIDTH}}{said}", WIDTH))
    if unused:
        print("\nfiles that no table uses")
    for name, why in unused.items():
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
    counts = {"rows": each.rows, "rejected": each.rejected, "repaired": each.repaired}
    said = [", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "no rows"]
    if keys := each.keys:
        changes = {"new": keys.new, "changed": keys.changed, "gone": keys.gone}
        words = ", ".join(f"{count:,} {what}" for what, count in changes.items() if count)
        said.append(f"against {keys.against}: {words or 'no key differs'}")
    for kind, names in (each.drift or {}).items():
        said.append(f"fields {kind}: {', '.join(names)}")
    return [f"{files}: {said[0]}", *said[1:]]


def main(argv: list[str] | None = None, prog: str = "python -m flows.plan") -> int:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Say what a run of a day would land, refuse and change; writes nothing.",
        epilog="example: %(prog)s day2 --data tests/sample. Exit code 1 where it would fail.",
    )
    add_day(parser)
    add_reading(parser)
    parser.add_argument("--allow-shrink", action="store_true", help="accept a halved snapshot")
    parser.add_argument("--json", action="store_true", help="for a program")
    given = parser.parse_args(argv)

    def command() -> int:
        day = parse_day(given.place if given.day is None else given.day)
        options = Options.of(vars(given)).checked()
        print(f"reading {day} in {options.data}", file=sys.stderr, flush=True)
        warehouse.wake()
        previews, unused = preview_day(
            options.data,
            day,
            allow_empty=options.allow_empty,
            allow_shrink=options.allow_shrink,
            sources=options.sources,
        )
        refused = [each.table for each in previews if each.status == "refused" and each.required]
        if given.json:
            tables = [
                {**asdict(each), "keys": each.keys and each.keys._asdict()} for each in previews
            ]
            print(json.dumps({"day": day.text, "tables": tables, "unused": unused}, indent=2))
        else:
            print_plan(previews, unused)
            if refused:
                print(f"\n{day} would fail: {', '.join(refused)} is required.")
        return int(bool(refused))

    return guarded(command)


if __name__ == "__main__":
    sys.exit(main())
