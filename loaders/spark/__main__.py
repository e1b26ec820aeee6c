"""`python -m loaders.spark`: read a day with Spark, for `python -m loaders` to land."""

from __future__ import annotations

import argparse
import sys

from loaders import warehouse
from loaders.arguments import add_reading, data_path
from loaders.days import parse_day
from loaders.errors import guarded


def main(arguments: list[str] | None = None) -> int:
    """Read a day as the arguments say; prints the place to land. The exit code (0, 1 or 2)."""
    options = _parser().parse_args(arguments)
    return guarded(lambda: _read(options))


def _read(options: argparse.Namespace) -> None:
    day, data = parse_day(options.day), data_path(options.data)
    out = options.out or warehouse.home() / "spark"

    from loaders.spark.reading import read_day

    how = {"allow_empty": options.allow_empty, "sources": options.sources}
    read_day(data, day, out, **how, progress=_tell)
    print(out)


def _tell(table: str, done: int, total: int) -> None:
    print(f"{table} ({done} of {total})", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loaders.spark",
        description="Read a day's raw files with Spark (SPARK_MASTER, default local[*]) into "
        "rows for COPY, and print where they are: python -m loaders lands them.",
        epilog="Example: python -m loaders.spark --day 2026-01-05 --data exports --out read && "
        "python -m loaders --day 2026-01-05 --data read",
    )
    parser.add_argument("--day", required=True, metavar="DAY", help="a date, or day1 to day9999")
    add_reading(parser)
    where = "a folder that all executors share, or s3://bucket/prefix (DAYBOOK_HOME/spark)"
    parser.add_argument("--out", metavar="PLACE", help=f"where <day>/ is written: {where}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
