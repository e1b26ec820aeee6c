"""What a run of a day would do; writes nothing: `daybook plan day2 --data tests/sample`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Any

from flows.options import Options
from flows.pages.render import show
from loaders import warehouse
from loaders.arguments import ALLOW_SHRINK, JSON, add_day, add_reading, command
from loaders.days import parse_day
from loaders.plan import unused
from loaders.preview import preview_day


@command(
    "flows.plan",
    "Say what a run of a day would land, refuse and change; writes nothing. Exit code 1 where the"
    " run would fail.",
    "example: %(prog)s day2 --data tests/sample",
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
    refused = [each.table for each in previews if each.status == "refused" and each.required]
    plan: dict[str, Any] = {"day": day.text, "tables": [asdict(each) for each in previews]}
    plan |= {"unused": unused(options.data, day, options.sources), "refused": refused}
    show("plan", plan, as_json=args.json)
    return int(bool(refused))


if __name__ == "__main__":
    sys.exit(main())
