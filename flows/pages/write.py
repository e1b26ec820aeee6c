"""Write the pages below DAYBOOK_HOME/site: the index, and the page of the newest run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.checks.quarantine import read_reasons
from flows.checks.run import shown
from flows.pages import charts, read, runs, shapes
from flows.pages import verdict as verdicts
from flows.pages.runs import day_text
from loaders import warehouse
from loaders.days import Day

if TYPE_CHECKING:
    from psycopg import Connection

TEMPLATES = Path(__file__).parent / "templates"
SECTIONS = [
    ("rows", "Rows"),
    ("checks", "Checks"),
    ("quarantine", "Quarantine"),
    ("calendar", "Days"),
    ("time", "Time"),
    ("groups", "Groups"),
    ("spend", "Spend"),
]
REASONS = 40


def write_pages(site: Path) -> Path:
    """Write index.html and run.html from the warehouse. Returns the run page's path."""
    site.mkdir(parents=True, exist_ok=True)
    with warehouse.connect(
        application_name="daybook pages", autocommit=True, role=warehouse.TRANSFORMER
    ) as connection:
        # Pages are written when a day has failed, too: they wait for nobody's lock.
        connection.execute("set lock_timeout = '5s'")
        connection.execute("set statement_timeout = '2min'")
        pages = {
            "index.html": _index(connection, site),
            "run.html": run_page(connection, site),
        }
    for name, text in pages.items():
        new = site / f".{name}.new"  # a reader sees the old page or the new one
        new.write_text(text, encoding="utf-8")
        new.replace(site / name)
    return site / "run.html"


def _index(connection: Connection, site: Path) -> str:
    return _render(
        "index.html.j2",
        runs.is_numbered(connection),
        runs=runs.runs(connection, 60),
        **_beside(site),
    )


def run_page(connection: Connection, site: Path) -> str:
    """The page of the newest run, or of the warehouse as it is where no flow has run."""
    numbered = runs.is_numbered(connection)
    days = runs.calendar(connection)
    run = runs.newest_run(connection)
    if run is None and not days:
        return _render("empty.html.j2", numbered, **_beside(site))
    day: date = run["day"] if run else days[-1]["day"]
    flow_run_id = run["flow_run_id"] if run else ""
    day_name = (run and run["asked_day"]) or day_text(numbered)(day)
    logical_day = Day(day, "numbered" if numbered else "dated")
    ledger = read.ledger(connection, day)
    landings, nodes = read.landings(connection, flow_run_id), read.nodes(connection, flow_run_id)
    checks = read.checks(connection, flow_run_id)
    failing = [row for row in checks if not row["success"]]
    quarantined = sum(row["rows_quarantined"] for row in ledger)
    what, advice = verdicts.troubles(
        run,
        runs.failures(connection, flow_run_id),
        runs.failed_nodes(connection, flow_run_id),
        failing,
    )
    return _render(
        "run.html.j2",
        numbered,
        **_beside(site),
        sections=SECTIONS,
        day_name=day_name,
        flow_run_id=flow_run_id or "none",
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"),
        verdict=verdicts.verdict(run, day_name, failing, ledger, quarantined),
        troubles=what,
        advices=advice,
        figures=_figures(run, ledger, landings, quarantined, checks, failing),
        proof=runs.newest_proof(connection),
        dispositions=read.DISPOSITIONS,
        ledger=ledger,
        flows=_flows(ledger),
        absent=[row["table_name"] for row in landings if row["status"] == "skipped"],
        drift=[text for row in landings for text in _drift(row)],
        **_checks(connection, numbered, checks, failing),
        reasons=_reasons(connection, logical_day),
        days=shapes.heat_map(days, numbered),
        day_counts=_counted(row["state"] for row in days),
        time=shapes.time_line(landings, nodes, checks),
        **_slow(nodes),
        **_groups(connection),
        **_spend(connection, day),
    )


def _flows(ledger: list[read.Row]) -> list[dict[str, Any]]:
    """Those with most to see first."""
    drawn = [shapes.flow(line) for line in ledger if line["rows_in_files"]]
    return sorted(drawn, key=lambda flow: (-len(flow["ribbons"]), -flow["total"]))


def _beside(site: Path) -> dict[str, bool]:
    return {
        "has_lineage": (site / "lineage.html").exists(),
        "has_checks": (site / "checks" / "index.html").exists(),
    }


def _figures(
    run: read.Row | None,
    ledger: list[read.Row],
    landings: list[read.Row],
    quarantined: int,
    checks: list[read.Row],
    failing: list[read.Row],
) -> list[tuple[str, str]]:
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
        figures.append(("started (UTC)", _moment(run["started_at"])))
    return figures


def _drift(landing: read.Row) -> list[str]:
    drift = landing["drift"] if isinstance(landing["drift"], dict) else {}
    return [
        f"{landing['table_name']} {kind.replace('_', ' ')}: {', '.join(map(str, names))}"
        for kind, names in drift.items()
        if isinstance(names, list) and names
    ]


def _checks(
    connection: Connection, numbered: bool, checks: list[read.Row], failing: list[read.Row]
) -> dict[str, Any]:
    by_day = read.checks_by_day(connection)
    return {
        "checks": checks,
        "failing": failing,
        "passed": len(checks) - len(failing),
        "checks_by_day": by_day,
        "checks_chart": _markup(charts.checks_by_day(by_day, day_text(numbered))),
    }


def _reasons(connection: Connection, day: Day) -> list[Any]:
    return read_reasons(connection, day)[:REASONS]


def _slow(nodes: list[read.Row]) -> dict[str, Any]:
    slow = verdicts.slow_nodes(nodes)
    return {"slow": slow, "slow_chart": _markup(charts.slow_nodes(slow))}


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


def _spend(connection: Connection, day: date) -> dict[str, Any]:
    rows = read.spend(connection)
    chart, months, lines = charts.spend_by_month(rows)
    undrawn = sum(not charts.can_be_drawn(usd) for line in lines for usd in line["months"])
    return {
        "spend_chart": _markup(chart),
        "months": months,
        "spend_lines": lines,
        "undrawn": undrawn,
        "unmatched": verdicts.unmatched_share(rows),
        "converted": read.converted(connection, day),
    }


def _counted(states: Any) -> dict[str, int]:
    counted: dict[str, int] = {}
    for state in states:
        counted[state] = counted.get(state, 0) + 1
    return counted


def _markup(svg: str) -> Any:
    """An SVG that pygal has escaped."""
    from markupsafe import Markup

    return Markup(svg)


def _render(template: str, numbered: bool, **values: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[[Any], str]] = {
        "day": day_text(numbered),
        "number": _number,
        "money": lambda value: "" if value is None else f"{value:,.2f}",
        "seconds": lambda value: "" if value is None else f"{value:,.2f}",
        "moment": _moment,
        "key": shown,
    }
    environment.filters.update(filters)
    style = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    return environment.get_template(template).render(style=style, **values)


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _moment(value: datetime | None) -> str:
    return value.strftime("%Y-%m-%d %H:%M") if value else ""
