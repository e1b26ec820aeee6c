"""Charts as SVG by pygal, without its script: the page's own stylesheet gives colours and fonts,
so that they follow light, dark and print."""

from __future__ import annotations

from typing import Any

from flows.pages.read import Row

LARGEST = 7  # applications with a colour of their own
TOO_LARGE = 1e100  # dollars: sums of what is near a float's limit are infinite, and can't be drawn
# In place of pygal's stylesheets; colours are in style.css, as variables.
STYLE = "inline:{{ id }}.axis .guide.line{ fill: none }"


def _chart(kind: str, **options: Any) -> Any:
    import pygal
    from pygal.style import Style

    return getattr(pygal, kind)(
        title=None,
        css=[STYLE],
        style=Style(font_family="inherit"),
        max_scale=6,
        js=[],
        disable_xml_declaration=True,
        width=options.pop("width", 720),
        height=options.pop("height", 280),
        margin=10,
        show_legend=False,  # in the page: there it wraps, and a screen reader finds it
        print_values=False,
        no_data_text="nothing to show",
        **options,
    )


def _svg(chart: Any, title: str) -> str:
    """The drawing with a name, and without the script that pygal writes its figures into."""
    from xml.etree import ElementTree

    svg = chart.render_tree()
    for parent in svg.iter():
        for child in [*parent]:
            if isinstance(child.tag, str) and child.tag.rpartition("}")[2] == "script":
                parent.remove(child)
    name = ElementTree.Element("title")
    name.text = title
    svg.insert(0, name)
    svg.set("role", "img")
    svg.set("aria-label", title)
    return ElementTree.tostring(svg, encoding="unicode")


def spend_by_month(rows: list[Row]) -> tuple[str, list[str], list[Row]]:
    """Stacked bars of dollars a month, the months, and the lines of the table behind them."""
    months = sorted({row["month"] for row in rows})
    totals: dict[str, Any] = {}
    for row in rows:
        if row["application"] != "unmatched":
            totals[row["application"]] = totals.get(row["application"], 0) + row["usd"]
    largest = sorted(totals, key=lambda name: -totals[name])[:LARGEST]
    names = [*largest, "other applications", "unmatched"]
    table: dict[str, dict[Any, Any]] = {name: {} for name in names}
    for row in rows:
        name = row["application"]
        name = name if name in table else "other applications"
        table[name][row["month"]] = table[name].get(row["month"], 0) + row["usd"]
    # A colour each, also where some are absent: unmatched is always the same grey.
    colours = {name: place for place, name in enumerate(largest)}
    colours |= {"other applications": LARGEST, "unmatched": LARGEST + 1}
    lines: list[Row] = [
        {
            "name": name,
            "colour": colours[name],
            "months": [table[name].get(month, 0) for month in months],
        }
        for name in names
        if table[name]
    ]
    texts = [month.strftime("%b %Y") for month in months]
    if not lines:
        return "", texts, []
    chart = _chart("StackedBar", value_formatter=_short)
    chart.x_labels = texts
    coloured = {line["colour"]: line for line in lines}
    for place in range(LARGEST + 2):
        line = coloured.get(place)
        chart.add(str(line["name"]) if line else "", _drawn(line["months"]) if line else [])
    return _svg(chart, "US dollars by application and month"), texts, lines


def can_be_drawn(amount: Any) -> bool:
    return abs(amount) < TOO_LARGE


def _drawn(amounts: list[Any]) -> list[float | None]:
    return [float(amount) if can_be_drawn(amount) else None for amount in amounts]


def checks_by_day(rows: list[Row], day_text: Any) -> str:
    """Stacked bars: checks passed, warned, failed on each of the last days."""
    if not rows:
        return ""
    chart = _chart("StackedBar", height=200, x_label_rotation=40 if len(rows) > 8 else 0)
    chart.x_labels = [day_text(row["day"]) for row in rows]
    for name in ("passed", "warned", "failed"):
        chart.add(name, [row[name] for row in rows])
    return _svg(chart, "Checks passed, warned and failed by day")


def slow_nodes(rows: list[Row]) -> str:
    """Bars: each node's seconds, and the median of its last 14 days."""
    if not rows:
        return ""
    chart = _chart(
        "HorizontalBar",
        height=80 + 34 * len(rows),
        value_formatter=lambda value: f"{value:.2f} s",
    )
    chart.x_labels = [row["node"] for row in reversed(rows)]
    chart.add("this run", [row["seconds"] for row in reversed(rows)])
    chart.add("median of 14 days", [row["median"] for row in reversed(rows)])
    return _svg(chart, "Seconds of the slowest nodes, against their median")


def _short(dollars: float) -> str:
    """An amount for an axis; the exact ones are in the table."""
    for limit, unit in ((1e15, ""), (1e9, " bn"), (1e6, " m"), (1e3, " k")):
        if abs(dollars) >= limit:
            return f"{dollars:.2g}" if not unit else f"{dollars / limit:,.4g}{unit}"
    return f"{dollars:,.4g}"
