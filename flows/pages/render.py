"""Templates to pages: one environment a process, with the filters that all of them share."""

from __future__ import annotations

import functools
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from flows.checks.run import shown
from flows.pages.runs import day_text

TEMPLATES = Path(__file__).parent / "templates"


@functools.cache
def environment(numbered: bool) -> Any:
    """For a warehouse of numbered or of dated days."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "day": day_text(numbered),
        "number": _number,
        "money": lambda value: "" if value is None else f"{value:,.2f}",
        "seconds": lambda value: "" if value is None else f"{value:,.2f}",
        "moment": _moment,
        "key": shown,
        "file": file_of,
    }
    made.globals |= {"style": markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))}
    return made


def render(template: str, numbered: bool, **values: Any) -> str:
    text: str = environment(numbered).get_template(template).render(**values)
    return text


def markup(text: str) -> Any:
    """Text that is markup already, such as an SVG that pygal has escaped."""
    from markupsafe import Markup

    return Markup(text)


def file_of(name: str) -> str:
    """The file of a run's or a day's page: names come from whoever called dbt or the flow."""
    return re.sub(r"[^\w-]", "_", name) + ".html"


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _moment(value: datetime | None) -> str:
    return value.strftime("%Y-%m-%d %H:%M") if value else ""
