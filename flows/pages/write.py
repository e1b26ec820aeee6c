"""Write the pages below DAYBOOK_HOME/site: the index, a page for each run, day and table, the
newest run's once more as run.html, and what the warehouse says now of groups and spend.

All are made from the ledgers and dbt's manifest, so that they can be made anew at any time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import transform
from flows.checks.quarantine import read_reasons
from flows.pages import read, runs, shapes, tables
from flows.pages import verdict as verdicts
from flows.pages.news import read_news
from flows.pages.render import file_of, render
from flows.pages.runs import day_text
from loaders import warehouse
from loaders.days import Day

if TYPE_CHECKING:
    from psycopg import Connection

REASONS = 40
RUNS = 60  # listed on the index, and looked at for pages that are to be written


def write_pages(site: Path, *, everything: bool = False) -> Path:
    """Write the pages of the newest runs and their days that are new or changed, or (`everything`)
    of all runs and days; index, run.html and now.html always. Returns run.html's path."""
    with warehouse.connect(
        application_name="daybook pages", autocommit=True, role=warehouse.TRANSFORMER
    ) as connection:
        # Pages are written when a day has failed, too: they wait for nobody's lock.
        connection.execute("set lock_timeout = '5s'")
        connection.execute("set statement_timeout = '2min'")
        found = runs.runs(connection, None if everything else RUNS)
        declared = tables.declared(transform.target_path() / "manifest.json")
        pages = _Pages(
            *(connection, site, runs.is_numbered(connection), runs.calendar(connection)),
            *(declared, tables.trends(connection)),
        )
        changed: dict[date, datetime] = {}
        for run in found:
            changed[run["day"]] = max(run["changed"], changed.get(run["day"], run["changed"]))
            _keep(
                site / "runs" / file_of(run["flow_run_id"]),
                None if everything else run["changed"],
                partial(pages.of_run, run, run["day"], "../"),
            )
        for row in pages.days:
            if everything or row["day"] in changed:
                _keep(
                    site / "days" / file_of(pages.text(row["day"])),
                    None if everything else changed[row["day"]],
                    partial(pages.of_day, row),
                )
        newest = found[0] if found else None
        day = next((row["day"] for row in [*found[:1], *pages.days[::-1]]), None)
        text = pages.of_run(newest, day, "") if day else pages.render("empty.html.j2")
        _write(site / "run.html", text)
        pages.write_tables()
        _write(site / "now.html", pages.now())
        _write(site / "index.html", pages.index(found[:RUNS]))
    return site / "run.html"


def _keep(page: Path, changed: datetime | None, text: Callable[[], str]) -> None:
    """Write a page, unless it is of that moment already: a file's time is that of the newest entry
    which it shows, by the warehouse's clock. Always without a moment."""
    at = int(changed.timestamp() * 1_000_000) * 1000 if changed else 0
    if not at or not page.exists() or page.stat().st_mtime_ns != at:
        _write(page, text())
        if at:
            os.utime(page, ns=(at, at))


def _write(page: Path, text: str) -> None:
    page.parent.mkdir(parents=True, exist_ok=True)
    new = page.with_name(f".{page.name}.new")  # a reader sees the old page or the new one
    new.write_text(text, encoding="utf-8")
    new.replace(page)


@dataclass
class _Pages:
    """The pages of one warehouse as text. `days`: its calendar; `tables`: what has a page of its
    own; `trends`: what its last days brought; `up`: the way to the index."""

    connection: Connection
    site: Path
    numbered: bool
    days: list[read.Row]
    tables: dict[str, read.Row]
    trends: dict[str, list[read.Row]]

    def text(self, day: date) -> str:
        return day_text(self.numbered)(day)

    def logical(self, day: date) -> Day:
        return Day(day, "numbered" if self.numbered else "dated")

    def render(self, template: str, up: str = "", **values: Any) -> str:
        return render(
            template,
            self.numbered,
            up=up,
            tables=self.tables,
            has_lineage=(self.site / "lineage.html").exists(),
            has_checks=(self.site / "checks" / "index.html").exists(),
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"),
            **values,
        )

    def index(self, newest: list[read.Row]) -> str:
        return self.render(
            "index.html.j2",
            runs=newest,
            days=self.days,
            landed={name: rows[-1] for name, rows in self.trends.items()},
            paged={
                row["day"]
                for row in self.days
                if (self.site / "days" / file_of(self.text(row["day"]))).exists()
            },
            months=[] if self.numbered else shapes.months(self.days),
        )

    def of_day(self, row: read.Row) -> str:
        """What became of a day, whichever runs brought it."""
        day: date = row["day"]
        return self.render(
            "day.html.j2",
            "../",
            day=row,
            day_name=self.text(day),
            runs=[
                {**run, "paged": (self.site / "runs" / file_of(run["flow_run_id"])).exists()}
                for run in runs.runs(self.connection, None, day)
            ],
            landings=read.landings(self.connection, None, day),
            converted=read.converted(self.connection, day),
            **_rows(self.connection, self.logical(day)),
        )

    def of_run(self, run: read.Row | None, day: date, up: str) -> str:
        """What a run did, or (None) the warehouse as it is where no flow has run."""
        connection, flow_run_id = self.connection, run["flow_run_id"] if run else ""
        landings = read.landings(connection, flow_run_id, day)
        nodes = read.nodes(connection, flow_run_id)
        rows = _rows(connection, self.logical(day))
        story = verdicts.read_story(connection, run, rows["ledger"])
        left = [one for one in story.remarks if not story.failed or one.kind != "failed"]
        return self.render(
            "run.html.j2",
            up,
            day_name=(run and run["asked_day"]) or self.text(day),
            day=next((row["day"] for row in self.days if row["day"] == day), None),
            run=run,
            story=story,
            news=read_news(connection, self.logical(day), story.failing, left, rows["reasons"]),
            proof=runs.newest_proof(connection),
            landings=landings,
            landed_once=verdicts.landed_once,
            time=shapes.time_line(read.parts(connection, flow_run_id), landings, nodes),
            slow=verdicts.slow_nodes(nodes),
            **rows,
        )

    def write_tables(self) -> None:
        """A page a table; one of a table that is no more stays, for older pages lead to it."""
        checks = read.checks(self.connection, None)
        days = [rows[-1]["day"] for rows in self.trends.values()]
        newest = self.logical(max(days)) if days else None
        reasons = read_reasons(self.connection, newest) if newest else []
        for name, table in self.tables.items():
            trend = self.trends.get(name, [])
            landed = (name, *table["up"].get("bronze", []))
            page = self.render(
                "table.html.j2",
                "../",
                table=table,
                day_name=newest,
                trend=trend,
                drawn=shapes.columns(
                    [self.text(row["day"]) for row in trend],
                    {kind: [row[kind] for row in trend] for kind in read.DISPOSITIONS},
                ),
                dispositions=read.DISPOSITIONS,
                checks=[  # its own, and those of a ledger that failed by rows of it
                    row
                    for row in checks
                    if row["table_name"] == f"{table['layer']}.{name}"
                    or any(key.get("table_name") == name for key in row["sample_keys"])
                ],
                reasons=[one for one in reasons if one.table in landed],
            )
            _write(self.site / "tables" / file_of(name), page)

    def now(self) -> str:
        """Groups and spend as they are: no ledger keeps what they were."""
        shown = read.groups(self.connection)
        return self.render(
            "now.html.j2",
            totals=read.group_totals(self.connection),
            shown=len(shown),
            tree=shapes.tree(shown),
            cyclic=read.in_cycles(self.connection),
            **shapes.spend(read.spend(self.connection)),
        )


def _rows(connection: Connection, day: Day) -> dict[str, Any]:
    """Where the rows of a day went, and why some are in quarantine."""
    return {
        "ledger": read.ledger(connection, day.date),
        "dispositions": read.DISPOSITIONS,
        "reasons": read_reasons(connection, day)[:REASONS],
    }
