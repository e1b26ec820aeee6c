"""Templates to pages and to what commands print: their shared environment and filters, and which
bars and columns are drawn of long lists."""

from __future__ import annotations

import functools
import json
import re
import shutil
import textwrap
from pathlib import Path
from typing import Any, Literal

from flows.checks.run import shown
from flows.pages.read import Row
from loaders.days import Day
from loaders.errors import many, readable

TEMPLATES = Path(__file__).parent / "templates"
BARS = 30  # in the time line: the critical path, then the longest
CUT = 20  # times the median: the height of the highest column drawn in full


@functools.cache
def environment(kind: Literal["dated", "numbered"]) -> Any:
    """The templates' environment, for a warehouse with days of that kind."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup, escape

    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: not str(name).endswith(".txt.j2"),
        undefined=StrictUndefined,
        finalize=lambda value: readable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "day": lambda day: Day(day, kind).text,
        "number": lambda value: _figure(value, 0 if value is None or value == int(value) else 1),
        "many": many,
        "money": _figure,
        "seconds": _figure,
        "moment": lambda moment: moment.strftime("%Y-%m-%d %H:%M") if moment else "",
        "key": shown,
        "file": file_of,
        "zip": zip,
        "json": json.dumps,
        "wrapped": wrapped,
        "prose": lambda text: Markup(re.sub("`(.*?)`", r"<code>\1</code>", str(escape(text)))),
    }
    style = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    templates.globals |= {"style": style, "dated": kind == "dated"}
    return templates


def render(template: str, kind: Literal["dated", "numbered"] = "dated", **values: Any) -> str:
    """A page, or what a command prints, as text."""
    return str(environment(kind).get_template(template).render(**values))


def show(command: str, answer: dict[str, Any], *, as_json: bool = False) -> None:
    """Print what a command found: as JSON for a program, else by the command's template."""
    text = json.dumps(answer, indent=2) if as_json else render(f"{command}.txt.j2", **answer)
    print(text.rstrip("\n"))


def wrapped(text: str, indent: int = 2) -> str:
    """The text in lines that fit the terminal; those after the first are indented. Line ends stay,
    characters that control a terminal don't."""
    room = max(shutil.get_terminal_size().columns, 40)
    return "\n".join(
        textwrap.fill(
            line,
            room,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in readable(text).split("\n")
    )


def file_of(name: str) -> str:
    """The file name of a run's or day's page. Any caller of dbt or the flow may choose `name`."""
    return re.sub(r"[^\w-]", "_", name) + ".html"


def time_line(bars: list[Row]) -> dict[str, Any]:
    """What the time line shows of bars, the rows of sql/bars.sql; `path`: the critical path. It is
    found backwards from the bar that ended last. Before a bar comes its input that ended last; when
    it has no inputs, whatever ended last before it began."""
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
    """Stacked columns, one for each label; `series`: colour class → a value for each label. `most`:
    the height of the chart; `cut`: labels of the columns above it. They are higher than CUT times
    the median: one absurd amount would make all others too small to see."""
    totals = [sum(max(v, 0) for v in stack) for stack in zip(*series.values(), strict=True)]
    heights = sorted(total for total in totals if total)
    median = heights[(len(heights) - 1) // 2] if heights else 0
    most = max((h for h in heights if h <= CUT * median), default=0)
    cut = [label for label, total in zip(labels, totals, strict=True) if total > most]
    return {"labels": labels, "series": series, "most": most, "cut": cut}


def _figure(value: Any, digits: int = 2) -> str:
    if value is None:
        return ""
    # a long number would stretch its table
    return f"{value:,.{digits}f}" if abs(value) < 1e15 else f"{value:.2e}"
