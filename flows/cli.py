"""`daybook`: one command for what the modules do, from any folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

# Command → the module whose main() takes the rest of the line, and what it is for.
MODULES = {
    "run": ("flows.day", "one day through the whole flow: daybook run day1 --data PATH"),
    "backfill": ("flows.backfill", "several days, in order"),
    "land": ("loaders.__main__", "land a day's files, without the flow: daybook land day1"),
    "new": ("loaders.scaffold", "what a new entity needs, from a sample of its files"),
    "status": ("flows.status", "what runs, the last runs, who holds the warehouse"),
    "prove": ("flows.prove", "whether what the days built is what they build anew"),
    "backup": ("loaders.backup", "the whole warehouse as one file: daybook backup FILE"),
    "restore": ("loaders.restore", "put back what was saved: daybook restore FILE"),
    "site": ("flows.site", "the pages"),
    "warehouse": ("loaders.warehouse", "start, stop, status, uri or migrate"),
}
OF_A_DAY = ("run", "land")


def main(arguments: list[str] | None = None) -> int:
    """Do what the line says; the exit code (0 done, 1 failed, 2 usage, 3 locked)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = given[0] if given else ""
    if command in MODULES:
        rest = given[1:]
        if command in OF_A_DAY and rest and not rest[0].startswith("-"):
            rest = ["--day", *rest]
        work: Callable[[list[str]], int | None] = import_module(MODULES[command][0]).main
        return work(rest) or 0
    parser = _parser()
    options = parser.parse_args(given)
    return _export(options)


def _export(options: argparse.Namespace) -> int:
    from loaders.errors import DaybookError
    from loaders.export import export_table

    try:
        rows = export_table(options.table, Path(options.to))
    except (DaybookError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    print(f"{options.to}: {rows:,} rows")
    return 0


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:10} {what}" for name, (_, what) in MODULES.items())
    parser = argparse.ArgumentParser(
        prog="daybook",
        description=f"commands of modules, each with its own --help:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="a table as .xlsx, .csv or .parquet")
    export.add_argument("table", help="marts.unused_access, silver.agents, quarantine.cards …")
    export.add_argument("--to", required=True, metavar="FILE", help="its ending says the format")
    return parser


if __name__ == "__main__":
    sys.exit(main())
