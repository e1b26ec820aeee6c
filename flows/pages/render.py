"""Templates to pages: one environment a process, with the filters that all of them share."""

from __future__ import annotations

import functools
import re
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from flows.checks.run import shown
from loaders.days import Day

TEMPLATES = Path(__file__).parent / "templates"


@functools.cache
def environment(kind: Literal["dated", "numbered"]) -> Any:
    """For a warehouse of days of that kind."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup, escape

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
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


def _figure(value: Any, digits: int = 2) -> str:
    if value is None:
        return ""
    # digits without end would stretch a table
    return f"{value:,.{digits}f}" if abs(value) < 1e15 else f"{value:.2e}"


def _moment(value: datetime | None) -> str:
    return value.strftime("%Y-%m-%d %H:%M") if value else ""
