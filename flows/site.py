"""The pages in DAYBOOK_HOME/site: `python -m flows.site`."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from flows import transform
from flows.pages.write import write_pages
from loaders import process, warehouse
from loaders.arguments import command
from loaders.errors import DaybookError
from loaders.sources import PROJECT

COLIBRI = PROJECT / ".venv" / "tools" / "bin" / "colibri"  # where `make tools` has put it
# The pages are complete in themselves: the browser may load nothing else, nor reach dbt's tracker.
_NO_REQUESTS = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    'img-src data: blob:; font-src data:">'
)
_HEAD = re.compile(r"<head\b[^>]*>")
# For a placeholder as icon, and for templates' links before Angular fills them in, the browser
# would look for files that are not there.
_REPLACEMENTS = [
    (re.compile(r'<link rel="shortcut icon"[^>]*>'), '<link rel="icon" href="data:,">'),
    (re.compile(r"(?<!ng-attr-)xlink:href=(?=.{0,2}{{ getIcon)"), "ng-attr-xlink:href="),
]
_DRAWN_FROM = ("models", "macros", "seeds", "dbt_project.yml")
PATIENCE = 300.0  # seconds, for another who writes the pages
A_DAYS_PATIENCE = 10.0  # a day holds the warehouse meanwhile, and the next one writes them


def write_site(*, lineage: bool = True, everything: bool = False) -> Path:
    """Write the pages that are out of date, or `everything`; returns the index's path. `lineage`:
    dbt's page too, when the project is newer; DaybookError when dbt can't build it. With both,
    dbt-colibri, if installed, draws columns too; if it fails, a warning is printed."""
    site = warehouse.home() / "site"
    if not site.exists():
        warehouse.own_folder("site")
    page = site / "lineage.html"
    if lineage and (everything or _is_older(page)):
        _write_offline(transform.document(), page)
    if lineage and everything and COLIBRI.exists():
        _write_columns(site / "columns.html")
    # who wrote older rows last would bring back what another has written
    patience = PATIENCE if everything else A_DAYS_PATIENCE
    with process.only_one(site.with_name("site.lock"), patience):
        write_pages(site, everything=everything)
    return site / "index.html"


def _is_older(page: Path) -> bool:
    if not page.exists():
        return True
    places = [PROJECT / name for name in _DRAWN_FROM]
    files = [file for place in places for file in (place, *place.rglob("*"))]
    return max(file.stat().st_mtime for file in files) > page.stat().st_mtime


def _write_columns(page: Path) -> None:
    target = transform.target_path()
    with TemporaryDirectory() as folder:
        command: list[str | Path] = [COLIBRI, "generate", "--light", "--output-dir", folder]
        command += ["--manifest", target / "manifest.json", "--catalog", target / "catalog.json"]
        environment = {**os.environ, "PYTHONUTF8": "1"}  # it prints emoji
        try:
            subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", "") or str(error)
            print(f"warning: dbt-colibri drew no columns: {why.strip()[-300:]}", file=sys.stderr)
            return
        _write_offline(Path(folder, "index.html"), page)


def _write_offline(built: Path, page: Path) -> None:
    """Write another tool's one-file page so that it requests nothing from any machine."""
    text = built.read_text(encoding="utf-8")
    text, heads = _HEAD.subn(lambda head: head[0] + _NO_REQUESTS, text, count=1)
    if not heads:
        raise DaybookError(f"{built} is not a page that is known to be built.")
    for pattern, replacement in _REPLACEMENTS:
        text = pattern.sub(replacement, text)
    with process.whole(page) as new:
        new.write_text(text, encoding="utf-8")


@command(
    "flows.site",
    "Write all pages anew: index, runs, days, tables, groups and spend, lineage.",
    "example: %(prog)s, and open the index that it names",
)
def main(_given: argparse.Namespace) -> None:
    print("writing the pages, with dbt's lineage", file=sys.stderr, flush=True)
    warehouse.wake()
    with warehouse.connect(application_name="daybook site") as connection:
        warehouse.check_ready(connection)
    print(f"The pages are in {write_site(everything=True)}")


if __name__ == "__main__":
    sys.exit(main())
