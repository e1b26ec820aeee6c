"""The pages in DAYBOOK_HOME/site: `python -m flows.site target/static_index.html`."""

from __future__ import annotations

import argparse
import html
import shutil
import sys
from pathlib import Path

from flows.day import guarded

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Daybook</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem }}
pre {{ overflow-x: auto; background: #f4f4f4; padding: 1rem; font-size: 13px }}
</style>
<h1>Daybook</h1>
<p><a href="lineage.html">Lineage, tables and columns</a></p>
<h2>Last runs</h2>
<pre>{runs}</pre>
</html>
"""


def write_site(lineage: Path) -> Path:
    """Put dbt's self-contained page beside an index of the last runs. Returns the index's path."""
    from flows.report import aligned
    from flows.status import read_runs
    from loaders import warehouse

    site = warehouse.home() / "site"
    site.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(lineage, site / "lineage.html")
    with warehouse.connect(application_name="daybook site") as connection:
        runs = read_runs(connection, 50)
    header = ["started (UTC)", "day", "status", "seconds", "run", "error"]
    text = aligned(header, runs, left=6) if runs else "none yet"
    index = site / "index.html"
    index.write_text(PAGE.format(runs=html.escape(text)), encoding="utf-8")
    return index


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flows.site",
        description="Write the pages from the page that `dbt docs generate --static` built.",
        epilog="example: python -m flows.site target/static_index.html (or: make site)",
    )
    parser.add_argument("lineage", type=Path, help="dbt's static_index.html")
    given = parser.parse_args(argv)

    def command() -> int:
        print(f"The pages are in {write_site(given.lineage)}")
        return 0

    return guarded(command)


if __name__ == "__main__":
    sys.exit(main())
