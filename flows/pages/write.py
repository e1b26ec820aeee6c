"""Write the pages below DAYBOOK_HOME/site: the index, a page for each run and each day, the newest
run's once more as run.html, and what the warehouse says now of groups and spend.

Pages of runs and days are made from the ledgers alone, so that all can be made anew at any time.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.checks.quarantine import read_reasons
from flows.pages import charts, read, remarks, runs, shapes
from flows.pages import verdict as verdicts
from flows.pages.news import read_news
from flows.pages.render import file_of, markup, render
from flows.pages.runs import day_text
from loaders import warehouse
from loaders.days import Day

if TYPE_CHECKING:
    from psycopg import Connection

SECTIONS = [("rows", "Rows"), ("checks", "Checks"), ("quarantine", "Quarantine"), ("time", "Time")]
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
        pages = _Pages(connection, site, runs.is_numbered(connection), runs.calendar(connection))
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
        if found:
            newest = pages.of_run(found[0], found[0]["day"], "")
        elif pages.days:
            newest = pages.of_run(None, pages.days[-1]["day"], "")
        else:
            newest = pages.render("empty.html.j2")
        _write(site / "run.html", newest)
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
    """The pages of one warehouse as text. `days`: its calendar; `up`: the way to the index."""

    connection: Connection
    site: Path
    numbered: bool
    days: list[read.Row]

    def text(self, day: date) -> str:
        return day_text(self.numbered)(day)

    def logical(self, day: date) -> Day:
        return Day(day, "numbered" if self.numbered else "dated")

    def render(self, template: str, up: str = "", **values: Any) -> str:
        return render(
            template,
            self.numbered,
            up=up,
            has_lineage=(self.site / "lineage.html").exists(),
            has_checks=(self.site / "checks" / "index.html").exists(),
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"),
            **values,
        )

    def index(self, newest: list[read.Row]) -> str:
        seen = {
            state: [row["day"] for row in self.days if row["state"] == state]
            for state in ("failed", "missing")
        }
        return self.render(
            "index.html.j2",
            runs=newest,
            days=self.days,
            paged={
                row["day"]
                for row in self.days
                if (self.site / "days" / file_of(self.text(row["day"]))).exists()
            },
            months=[] if self.numbered else shapes.months(self.days),
            seen=seen | {"late": [row["day"] for row in self.days if row["is_late"]]},
            counts=Counter(row["state"] for row in self.days),
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
        nodes, checks = read.nodes(connection, flow_run_id), read.checks(connection, flow_run_id)
        failing = [row for row in checks if not row["success"]]
        found = remarks.read_remarks(connection, flow_run_id)
        rows = _rows(connection, self.logical(day))
        what, advice = verdicts.troubles(
            run,
            runs.failures(connection, flow_run_id),
            runs.failed_nodes(connection, flow_run_id),
            failing,
        )
        left = [one for one in found if not what or one.kind != "failed"]
        return self.render(
            "run.html.j2",
            up,
            sections=SECTIONS,
            day_name=(run and run["asked_day"]) or self.text(day),
            day=next((row["day"] for row in self.days if row["day"] == day), None),
            flow_run_id=flow_run_id or "none",
            verdict=verdicts.verdict(run, failing, rows["ledger"], found),
            news=read_news(connection, self.logical(day), failing, left, rows["reasons"]),
            troubles=what,
            advices=advice,
            proof=runs.newest_proof(connection),
            figures=_figures(run, rows["ledger"], landings, checks, failing),
            absent=[row["table_name"] for row in landings if row["status"] == "skipped"],
            drift=[text for row in landings for text in _drift(row)],
            **_checks(connection, self.numbered, day, checks, failing),
            time=shapes.time_line(landings, nodes, checks),
            **_slow(nodes),
            **rows,
        )

    def now(self) -> str:
        """Groups and spend as they are: no ledger keeps what they were."""
        return self.render("now.html.j2", **_groups(self.connection), **_spend(self.connection))


def _rows(connection: Connection, day: Day) -> dict[str, Any]:
    """Where the rows of a day went, and why some are in quarantine."""
    ledger = read.ledger(connection, day.date)
    drawn = [shapes.flow(line) for line in ledger if line["rows_in_files"]]
    return {
        "ledger": ledger,
        # those with most to see first
        "flows": sorted(drawn, key=lambda flow: (-len(flow["ribbons"]), -flow["total"])),
        "dispositions": read.DISPOSITIONS,
        "reasons": read_reasons(connection, day)[:REASONS],
    }


def _figures(
    run: read.Row | None,
    ledger: list[read.Row],
    landings: list[read.Row],
    checks: list[read.Row],
    failing: list[read.Row],
) -> list[tuple[str, str]]:
    quarantined = sum(row["rows_quarantined"] for row in ledger)
    # Nothing is built: what has landed is known all the same.
    counted = ledger or [{**row, "target": ""} for row in landings]
    figures = [
        ("rows in files", f"{verdicts.landed_once(counted, 'rows_in_files'):,}"),
        ("landed", f"{verdicts.landed_once(counted, 'rows_landed'):,}"),
        ("rejected", f"{verdicts.landed_once(counted, 'rows_rejected'):,}"),
        ("quarantined", f"{quarantined:,}" if ledger else "–"),
    ]
    if checks:
        figures.append(("checks passed", f"{len(checks) - len(failing)} of {len(checks)}"))
    if run and run["duration_seconds"]:
        figures.append(("seconds", f"{run['duration_seconds']:,.1f}"))
    if run:
        figures.append(("started (UTC)", f"{run['started_at']:%Y-%m-%d %H:%M}"))
    return figures


def _drift(landing: read.Row) -> list[str]:
    drift = landing["drift"] if isinstance(landing["drift"], dict) else {}
    return [
        f"{landing['table_name']} {kind.replace('_', ' ')}: {', '.join(map(str, names))}"
        for kind, names in drift.items()
        if isinstance(names, list) and names
    ]


def _checks(
    connection: Connection,
    numbered: bool,
    day: date,
    checks: list[read.Row],
    failing: list[read.Row],
) -> dict[str, Any]:
    by_day = read.checks_by_day(connection, day)
    return {
        "checks": checks,
        "failing": failing,
        "passed": len(checks) - len(failing),
        "checks_by_day": by_day,
        "checks_chart": markup(charts.checks_by_day(by_day, day_text(numbered))),
    }


def _slow(nodes: list[read.Row]) -> dict[str, Any]:
    slow = verdicts.slow_nodes(nodes)
    return {"slow": slow, "slow_chart": markup(charts.slow_nodes(slow))}


def _groups(connection: Connection) -> dict[str, Any]:
    totals, shown = read.group_totals(connection), read.groups(connection)
    cyclic = read.in_cycles(connection)
    return {
        "group_totals": totals,
        "tree": shapes.tree(shown),
        "opened": len(shown) <= 60,
        "cyclic": cyclic,
        "tree_left_out": totals["groups"] - len(shown) - len(cyclic),
    }


def _spend(connection: Connection) -> dict[str, Any]:
    rows = read.spend(connection)
    chart, months, lines = charts.spend_by_month(rows)
    undrawn = sum(not charts.can_be_drawn(usd) for line in lines for usd in line["months"])
    return {
        "spend_chart": markup(chart),
        "months": months,
        "spend_lines": lines,
        "undrawn": undrawn,
        "unmatched": verdicts.unmatched_share(rows),
    }
