"""Templates to pages: one environment a process, with the filters that all of them share, and what
is drawn of long lists, so that it can be seen."""

from __future__ import annotations

import functools
import re
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from flows.checks.run import shown
from flows.pages.read import Row
from loaders.days import Day
from loaders.errors import readable

TEMPLATES = Path(__file__).parent / "templates"
BARS = 30  # in the time line: what takes longest, and the critical path
CUT = 20


@functools.cache
def environment(kind: Literal["dated", "numbered"]) -> Any:
    """For a warehouse of days of that kind."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup, escape

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: readable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "day": lambda day: Day(day, kind).text,
        "number": lambda value: _figure(value, 0 if value is None or value == int(value) else 1),
        "money": _figure,
        "seconds": _figure,
        "moment": _moment,
        "key": shown,
        "file": file_of,
        "zip": zip,
        "prose": lambda text: Markup(re.sub("`(.*?)`", r"<code>\1</code>", str(escape(text)))),
    }
    style = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    made.globals |= {"style": style, "dated": kind == "dated"}
    return made


def render(template: str, kind: Literal["dated", "numbered"], **values: Any) -> str:
    """A page as text."""
    return str(environment(kind).get_template(template).render(**values))


def file_of(name: str) -> str:
    """The file of a run's or a day's page: names come from whoever called dbt or the flow."""
    return re.sub(r"[^\w-]", "_", name) + ".html"


def time_line(bars: list[Row]) -> dict[str, Any]:
    """Bars as sql/bars.sql has them, and which of them the day waited for: followed backwards from
    what ended last, to the input that ended last, or from what has none to what ended last before
    it began."""
    nodes = [bar for bar in bars if bar["kind"] == "dbt"]
    path: list[Row] = []
    here = max(bars, key=lambda bar: bar["ends"], default=None)
    while here is not None and here not in path:
        path.append(here)
        inputs = [bar for bar in nodes if bar["name"] in here["waited_for"]]
        before = inputs or [bar for bar in bars if bar["ends"] <= here["begins"]]
        here = max(before, key=lambda bar: bar["ends"], default=None)
    by_length = sorted(bars, key=lambda bar: (bar not in path, -bar["seconds"]))
    return {
        "bars": [bar for bar in bars if bar in by_length[:BARS]],
        "left_out": len(by_length[BARS:]),
        "path": path[::-1],
        "seconds": max((bar["ends"] for bar in bars), default=0) or 0.001,
    }


def columns(labels: list[str], series: dict[str, list[Any]]) -> dict[str, Any]:
    """Stacked columns: for each label one of every series, by the class of its colour. A column of
    more than CUT times the middle one is cut, and said to be: one absurd amount would leave nothing
    to see of the others."""
    totals = [sum(max(v, 0) for v in stack) for stack in zip(*series.values(), strict=True)]
    heights = sorted(total for total in totals if total)
    middle = heights[(len(heights) - 1) // 2] if heights else 0
    most = max((h for h in heights if h <= CUT * middle), default=0)
    cut = [label for label, total in zip(labels, totals, strict=True) if total > most]
    return {"labels": labels, "series": series, "most": most, "cut": cut}


def _figure(value: Any, digits: int = 2) -> str:
    if value is None:
        return ""
    # digits without end would stretch a table
    return f"{value:,.{digits}f}" if abs(value) < 1e15 else f"{value:.2e}"


def _moment(value: datetime | None) -> str:
    return value.strftime("%Y-%m-%d %H:%M") if value else ""
