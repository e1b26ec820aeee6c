"""Write the pages below DAYBOOK_HOME/site: the index, a page for each run, day and table, the
newest run's once more as run.html, and what the warehouse says now of groups and spend.

All are made from the ledgers and dbt's manifest, so that they can be made anew at any time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import transform
from flows.checks.quarantine import read_reasons
from flows.pages import read, shapes, tables, verdict
from flows.pages.now import read_now
from flows.pages.render import file_of, render
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
        pages = _Pages(connection, site)
        found = read.runs(connection, None if everything else RUNS)
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
                    site / "days" / file_of(Day(row["day"], pages.kind).text),
                    None if everything else changed[row["day"]],
                    partial(pages.of_day, row),
                )
        newest = found[0] if found else None
        day = next((row["day"] for row in [*found[:1], *pages.days[::-1]]), None)
        text = pages.of_run(newest, day, "") if day else pages.render("empty.html.j2")
        _write(site / "run.html", text)
        pages.write_tables()
        _write(site / "now.html", pages.render("now.html.j2", **read_now(connection)))
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


class _Pages:
    """The pages of one warehouse as text. `days`: its calendar; `tables`: what has a page of its
    own; `trends`: what its last days brought."""

    def __init__(self, connection: Connection, site: Path) -> None:
        self.connection, self.site = connection, site
        self.kind = read.kind_of_days(connection)
        self.days = read.calendar(connection)
        self.tables = tables.declared(transform.target_path() / "manifest.json")
        self.trends = tables.trends(connection)
        # Several pages show them, and each time a day's rows are counted.
        self.ledger = cache(partial(read.ledger, connection))
        self.reasons = cache(partial(read_reasons, connection))

    def render(self, template: str, up: str = "", **values: Any) -> str:
        """A page; `up` is its way to the index."""
        return render(
            template,
            self.kind,
            up=up,
            tables=self.tables,
            is_there=lambda page: (self.site / page).exists(),
            dispositions=read.DISPOSITIONS,
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"),
            **values,
        )

    def index(self, newest: list[read.Row]) -> str:
        """The calendar, the last runs, all tables."""
        return self.render(
            "index.html.j2",
            runs=newest,
            days=self.days,
            landed={name: rows[-1] for name, rows in self.trends.items()},
            months=[] if self.kind == "numbered" else shapes.months(self.days),
        )

    def of_day(self, row: read.Row) -> str:
        """What became of a day, whichever runs brought it."""
        day = Day(row["day"], self.kind)
        return self.render(
            "day.html.j2",
            "../",
            day=row,
            day_name=day.text,
            runs=read.runs(self.connection, None, day.date),
            landings=read.landings(self.connection, None, day.date),
            converted=read.converted(self.connection, day.date),
            ledger=self.ledger(day.date),
            reasons=self.reasons(day)[:REASONS],
        )

    def of_run(self, run: read.Row | None, date: date, up: str) -> str:
        """What a run did, or (None) the warehouse as it is where no flow has run."""
        connection, day = self.connection, Day(date, self.kind)
        run_id = run["flow_run_id"] if run else ""
        story = verdict.read_story(connection, run_id, date, run)
        ledger = self.ledger(date)
        return self.render(
            "run.html.j2",
            up,
            day_name=(run and run["asked_day"]) or day.text,
            day=next((row["day"] for row in self.days if row["day"] == date), None),
            story=story,
            verdict=verdict.verdict(story, ledger),
            news=verdict.read_news(connection, day, story, self.reasons),
            proof=read.newest_proof(connection),
            landed_once=verdict.landed_once,
            time=shapes.time_line(read.bars(connection, run_id)),
            slow=verdict.slow_nodes(story.nodes),
            ledger=ledger,
            reasons=self.reasons(day)[:REASONS],
        )

    def write_tables(self) -> None:
        """A page a table; one of a table that is no more stays, for older pages lead to it."""
        checks = read.checks(self.connection, None)
        days = [rows[-1]["day"] for rows in self.trends.values()]
        newest = Day(max(days), self.kind) if days else None
        reasons = self.reasons(newest) if newest else []
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
                    [Day(row["day"], self.kind).text for row in trend],
                    {kind: [row[kind] for row in trend] for kind in read.DISPOSITIONS},
                ),
                checks=[  # its own, and those of a ledger that failed by rows of it
                    row
                    for row in checks
                    if row["table_name"] == f"{table['layer']}.{name}"
                    or any(key.get("table_name") == name for key in row["sample_keys"])
                ],
                reasons=[one for one in reasons if one.table in landed],
            )
            _write(self.site / "tables" / file_of(name), page)
