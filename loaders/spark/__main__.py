"""`python -m loaders.spark`: read a day with Spark, for `python -m loaders` to land."""

from __future__ import annotations

import argparse
import sys

from loaders import warehouse
from loaders.arguments import add_day, add_reading, command, data_path, option
from loaders.days import parse_day


@command(
    "loaders.spark",
    "Read a day's raw files with Spark (SPARK_MASTER, default local[*]) into rows for COPY, and"
    " print where they are: daybook land lands them.",
    "example: %(prog)s --day 2026-01-05 --data exports --out read && daybook land"
    " 2026-01-05 --data read",
    add_day,
    add_reading,
    option(
        "--out",
        metavar="PLACE",
        help="where <day>/ is written: a folder that all executors share, or s3://bucket/prefix"
        " (DAYBOOK_HOME/spark)",
    ),
)
def main(args: argparse.Namespace) -> None:
    day, data = parse_day(args.day), data_path(args.data)
    out = args.out or warehouse.own_folder("spark")

    from loaders.spark.reading import read_day

    options = {"allow_empty": args.allow_empty, "sources": args.sources}
    read_day(data, day, out, **options, progress=_tell)
    print(out)


def _tell(table: str, done: int, total: int) -> None:
    print(f"{table} ({done} of {total})", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
