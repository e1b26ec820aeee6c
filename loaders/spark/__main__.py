"""`python -m loaders.spark`: read a day with Spark, for `python -m loaders` to land."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from loaders.days import parse_day
from loaders.errors import UsageError, ended_with


def main(arguments: list[str] | None = None) -> int:
    """Read a day as the arguments say; prints the folder to land. The exit code (0, 1 or 2)."""
    options = _parser().parse_args(arguments)
    try:
        day = parse_day(options.day)
        data = options.data or os.environ.get("DATA_BASE_PATH")
        if not data:
            raise UsageError("Where is the data? Give --data PATH or set DATA_BASE_PATH.")
        out = Path(options.out).absolute() if options.out else default_out()

        from loaders.spark.reading import read_day
        from loaders.spark.session import check_installed

        check_installed()
        read_day(
            data,
            day,
            out,
            allow_empty=options.allow_empty,
            sources=options.sources,
            progress=_tell,
        )
    except (Exception, KeyboardInterrupt) as error:
        return ended_with(error)
    print(out)
    return 0


def default_out() -> Path:
    """`spark/` in Daybook's home."""
    from loaders import warehouse

    return warehouse.home() / "spark"


def _tell(table: str, done: int, total: int) -> None:
    print(f"{table} ({done} of {total})", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loaders.spark",
        description="Read a day's raw files with Spark (SPARK_MASTER, default local[*]) into "
        "Parquet, and print where it is: python -m loaders lands it from there.",
        epilog="Example: python -m loaders.spark --day 2026-01-05 --data exports --out read && "
        "python -m loaders --day 2026-01-05 --data read",
    )
    parser.add_argument(
        "--day", required=True, metavar="DAY", help="2026-01-05, or day1 to day9999"
    )
    parser.add_argument(
        "--data", metavar="PATH", help="folder that holds the days (default: DATA_BASE_PATH)"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="where <day>/ is written, shared by all executors (default: DAYBOOK_HOME/spark)",
    )
    parser.add_argument(
        "--sources", metavar="FILE", help="how files differ from the declared (DAYBOOK_SOURCES)"
    )
    parser.add_argument(
        "--allow-empty", action="store_true", help="accept an empty list of a required snapshot"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
