"""Writes the pages below DAYBOOK_HOME/site: the index, a page for each run, day and table, the
newest run's again as run.html, and groups and spend as they are now.

All come from the ledgers and dbt's manifest, so they can be written anew at any time.
"""

from __future__ import annotations

import os
from collections import defaultdict
from datetime import UTC, date, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import transform
from flows.checks.quarantine import read_reasons
from flows.pages import read, tables, verdict
from flows.pages.read import Row, ask
from flows.pages.render import columns, file_of, render, time_line
from loaders import warehouse
from loaders.days import Day

if TYPE_CHECKING:
    from psycopg import Connection

REASONS = 40  # of quarantine, so many on a page
RUNS = 60  # the newest ones, which the index lists and whose pages may have changed


def write_pages(site: Path, *, everything: bool = False) -> Path:
    """Write the pages of the newest runs, and of days, that changed; with `everything` of all
    runs and days. All other pages are always written. Returns the path of run.html."""
    with warehouse.connect(
        application_name="daybook flow pages", autocommit=True, role=warehouse.TRANSFORMER
    ) as connection:
        # Pages are written also when a day has failed: they must not wait for a lock.
        connection.execute("set lock_timeout = '5s'")
        connection.execute("set statement_timeout = '2min'")
        pages = _Pages(connection, site)
        runs = read.runs(connection, None if everything else RUNS)
        for run in runs:
            page = f"runs/{file_of(run['flow_run_id'])}"
            if everything or pages.is_older(page, run["changed"]):
                pages.write_run(page, run, run["day"])
        recent = {row["day"] for row in [*runs, *pages.days[-RUNS:]]}
        for day in pages.days:
            page = f"days/{file_of(day['day_name'])}"
            changed = day["changed"] if day["day"] in recent else None
            if everything or (changed and pages.is_older(page, changed)):
                pages.write_day(page, day)
        if newest := [row["day"] for row in [*runs[:1], *pages.days[::-1]]]:
            summary = pages.write_run("run.html", runs[0] if runs else None, newest[0])
        else:
            summary = None
            pages.write("run.html", "empty.html.j2")
        pages.write_tables()
        pages.write_now()
        # last, since it links only to pages that exist
        landed = {name: rows[-1] for name, rows in pages.trends.items()}
        listed: dict[str, Any] = {"runs": runs[:RUNS], "days": pages.days, "landed": landed}
        pages.write("index.html", "index.html.j2", newest=summary, **listed)
    return site / "run.html"


class _Pages:
    """The pages of one warehouse. `days`: its calendar; `tables`: those that have a page; `trends`:
    the counts of each table's last days."""

    def __init__(self, connection: Connection, site: Path) -> None:
        self.connection, self.site = connection, site
        self.kind = read.kind_of_days(connection)
        self.days = read.ask_by_day(connection, "calendar")
        self.tables = tables.declared(transform.target_path() / "manifest.json")
        self.trends: dict[str, list[Row]] = defaultdict(list)
        for row in ask(connection, "trends"):
            self.trends[row["name"]].append(row)
        # Several pages show these, and each query counts a day's rows.
        self.ledger = cache(partial(ask, connection, "ledger"))
        self.reasons = cache(partial(read_reasons, connection))

    def is_older(self, page: str, changed: datetime) -> bool:
        """Whether a page does not show the state of `changed`, which its file has as its time."""
        file = self.site / page
        return not file.exists() or file.stat().st_mtime_ns != _ns(changed)

    def write(
        self, page: str, template: str, changed: datetime | None = None, **values: Any
    ) -> None:
        """Write a page from its template. A reader sees the old page or the new one."""
        text = render(
            template,
            self.kind,
            up="../" * page.count("/"),
            tables=self.tables,
            is_there=lambda other: (self.site / other).exists(),
            dispositions=read.DISPOSITIONS,
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"),
            **values,
        )
        file = self.site / page
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}.new")
        new.write_text(text, encoding="utf-8")
        if changed:
            os.utime(new, ns=(_ns(changed), _ns(changed)))
        new.replace(file)

    def write_day(self, page: str, row: Row) -> None:
        """Write the page of a day: what became of it, in all runs."""
        day = Day(row["day"], self.kind)
        self.write(
            page,
            "day.html.j2",
            row["changed"],
            day=row,
            day_name=day.text,
            runs=read.runs(self.connection, None, day=day.date),
            landings=ask(self.connection, "landings", run=None, day=day.date),
            converted=ask(self.connection, "converted", day=day.date),
            ledger=self.ledger(day=day.date),
            reasons=self.reasons(day)[:REASONS],
        )

    def write_run(self, page: str, run: Row | None, date: date) -> dict[str, Any]:
        """Write the page of a run, or (None) of the warehouse where no flow has run. Returns what
        the index shows of it."""
        connection, day = self.connection, Day(date, self.kind)
        run_id = run["flow_run_id"] if run else ""
        story = verdict.read_story(connection, run_id, date)
        ledger = self.ledger(day=date)
        summary = {
            "day_name": run["day_name"] if run else day.text,
            "story": story,
            "verdict": verdict.verdict(story, ledger),
            "news": verdict.read_news(connection, day, story, self.reasons),
        }
        self.write(
            page,
            "run.html.j2",
            run["changed"] if run else None,
            day=next((row["day"] for row in self.days if row["day"] == date), None),
            proof=next(iter(ask(connection, "proof")), None),
            landed_once=verdict.landed_once,
            time=time_line(ask(connection, "bars", run=run_id)),
            slow=ask(connection, "slow", run=run_id),
            ledger=ledger,
            reasons=self.reasons(day)[:REASONS],
            **summary,
        )
        return summary

    def write_tables(self) -> None:
        """Write a page for each table. That of a dropped table stays: older pages link to it."""
        checks = read.checks(self.connection, None)
        days = [rows[-1]["day"] for rows in self.trends.values()]
        newest = Day(max(days), self.kind) if days else None
        reasons = self.reasons(newest) if newest else []
        for name, table in self.tables.items():
            trend = self.trends.get(name, [])
            landed = (name, *table["up"].get("bronze", []))
            self.write(
                f"tables/{file_of(name)}",
                "table.html.j2",
                table=table,
                day_name=newest,
                trend=trend,
                drawn=columns(
                    [Day(row["day"], self.kind).text for row in trend],
                    {kind: [row[kind] for row in trend] for kind in read.DISPOSITIONS},
                ),
                checks=[  # its own, and checks of a ledger that failed by its rows
                    row
                    for row in checks
                    if row["table_name"] == f"{table['layer']}.{name}"
                    or any(key.get("table_name") == name for key in row["sample_keys"])
                ],
                reasons=[one for one in reasons if one.table in landed],
            )

    def write_now(self) -> None:
        """Write groups and spend as they are now: no ledger keeps what they were."""
        groups, below = ask(self.connection, "groups"), defaultdict(list)
        for group in groups:
            below[group["parent_group_id"] if group["depth"] else None].append(group)
        lines = ask(self.connection, "spend")
        months = lines[0]["months"] if lines else []
        self.write(
            "now.html",
            "now.html.j2",
            totals=next(iter(ask(self.connection, "totals")), {"groups": 0}),
            shown=len(groups),
            below=below,
            cyclic=ask(self.connection, "cyclic"),
            lines=lines,
            months=months,
            drawn=columns(months, {line["colour"]: line["usd"] for line in lines}),
        )


def _ns(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000
