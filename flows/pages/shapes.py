"""Geometry of what the pages draw: columns, the time line, the calendar, the tree of groups.

Plain numbers in, plain dicts out; the template draws them as SVG.
"""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Any

from flows.pages.read import Row

LINE_WIDTH, LINE_HEIGHT, LINE_LABEL = 900, 17, 230
BARS = 30  # in the time line: what takes longest, and the critical path
COLUMNS_WIDTH, COLUMNS_HEIGHT, COLUMNS_LEFT, COLUMNS_TOP = 660, 150.0, 60, 10
CUT = 20
LARGEST = 7  # applications with a colour of their own


def time_line(parts: list[Row], landings: list[Row], nodes: list[Row]) -> dict[str, Any]:
    """Bars for a run's phases and what comes before them, landings and dbt nodes on one clock, and
    which of them the day waited for: followed backwards from what ended last, to the input that
    ended last, or from what has none to what ended last before it began."""
    # the phases that are drawn in their parts are left out
    whole = [row for row in parts if row["phase"] not in ("land-day", "transform-day")]
    landed = [row for row in landings if row["finished_at"] and row["status"] != "skipped"]
    ran = [row for row in nodes if row["finished_at"]]
    bars = [
        {
            **{"name": row[name], "kind": kind, "waited_for": row.get("depends_on") or []},
            **{"start": row["started_at"], "end": row["finished_at"]},
        }
        for kind, name, rows in (
            *(("phase", "phase", whole), ("landing", "table_name", landed), ("dbt", "node", ran)),
        )
        for row in rows
    ]
    if not bars:
        return {"bars": [], "seconds": 0, "path": []}
    path = _critical(bars)
    start, end = min(bar["start"] for bar in bars), max(bar["end"] for bar in bars)
    seconds = max((end - start).total_seconds(), 0.001)
    for bar in bars:
        bar["critical"] = bar in path
        bar["seconds"] = (bar["end"] - bar["start"]).total_seconds()
        bar["at"] = (bar["start"] - start).total_seconds()
    longest = sorted(bars, key=lambda bar: (not bar["critical"], -bar["seconds"]))[:BARS]
    shown = sorted(longest, key=lambda bar: (bar["start"], bar["end"]))
    scale = (LINE_WIDTH - LINE_LABEL - 70) / seconds
    for number, bar in enumerate(shown):
        bar["x"], bar["y"] = LINE_LABEL + bar["at"] * scale, number * LINE_HEIGHT + 4
        bar["width"] = max(bar["seconds"] * scale, 1.5)
    return {
        **{"bars": shown, "left_out": len(bars) - len(shown), "path": path[::-1]},
        **{"seconds": seconds, "height": len(shown) * LINE_HEIGHT + 26},
        "ticks": [(LINE_LABEL + seconds * n / 4 * scale, seconds * n / 4) for n in range(5)],
    }


def _critical(bars: list[dict[str, Any]]) -> list[dict[str, Any]]:
    nodes = {bar["name"]: bar for bar in bars if bar["kind"] == "dbt"}
    here: dict[str, Any] | None = max(bars, key=lambda bar: bar["end"])
    path: list[dict[str, Any]] = []
    while here is not None and here not in path:
        path.append(here)
        inputs = [nodes[name] for name in here["waited_for"] if name in nodes]
        before = inputs or [bar for bar in bars if bar["end"] <= here["start"]]
        here = max(before, key=lambda bar: bar["end"], default=None)
    return path


def columns(labels: list[str], series: dict[str, list[Any]]) -> dict[str, Any]:
    """Stacked columns: for each label one of every series, by the class of its colour; what is
    below zero has none. A column of more than CUT times the middle one is cut, and said to be: one
    absurd amount would leave nothing to see of the others."""
    totals = [sum(max(v, 0) for v in stack) for stack in zip(*series.values(), strict=True)]
    heights = sorted(total for total in totals if total)
    middle = heights[(len(heights) - 1) // 2] if heights else 0
    most = max((h for h in heights if h <= CUT * middle), default=0)
    wide, drawn, every = min(COLUMNS_WIDTH / max(len(labels), 1), 66), [], -(-len(labels) // 6)
    for place, label in enumerate(labels):
        top, parts = COLUMNS_HEIGHT, []
        for kind, values in series.items():
            if values[place] > 0 and top > 0:
                tall = min(float(min(values[place] / most, 1)) * COLUMNS_HEIGHT, top)
                top -= tall
                parts.append({"kind": kind, "y": COLUMNS_TOP + top, "height": tall})
        drawn.append(
            {
                **{"label": label, "x": COLUMNS_LEFT + place * wide, "width": wide * 0.8},
                **{"parts": parts, "figures": {kind: v[place] for kind, v in series.items()}},
                "is_named": place % every == (len(labels) - 1) % every,
            }
        )
    cut = [label for label, total in zip(labels, totals, strict=True) if total > most]
    return {"columns": drawn, "cut": cut, "most": most, "zero": COLUMNS_TOP + COLUMNS_HEIGHT}


def spend(rows: list[Row]) -> dict[str, Any]:
    """Dollars a month: the largest applications, all others, and what matches none, each with a
    colour that is its own also where others are absent."""
    months = sorted({row["month"] for row in rows})
    totals: Counter[str] = Counter()
    for row in rows:
        totals[row["application"]] += row["usd"]
    unmatched = totals.pop("unmatched", 0)
    names = [name for name, _ in totals.most_common(LARGEST)]
    colours = [*(f"c{n}" for n in range(len(names))), f"c{LARGEST}", f"c{LARGEST + 1}"]
    names += ["other applications", "unmatched"]
    lines: dict[str, Counter[Any]] = {name: Counter() for name in names}
    for row in rows:
        name = row["application"] if row["application"] in lines else "other applications"
        lines[name][row["month"]] += row["usd"]
    found: list[Row] = [
        {"name": name, "colour": colour, "usd": [lines[name][month] for month in months]}
        for name, colour in zip(names, colours, strict=True)
        if lines[name]
    ]
    texts = [month.strftime("%b %Y") for month in months]
    total = abs(unmatched) + sum(map(abs, totals.values()))
    return {
        **{"months": texts, "lines": found, "unmatched": abs(unmatched) / total if total else None},
        "drawn": columns(texts, {line["colour"]: line["usd"] for line in found}),
    }


def months(days: list[Row]) -> list[tuple[str, list[Row]]]:
    """Days, which are in order, by month, the newest month first."""
    by_month = groupby(days, lambda row: f"{row['day']:%B %Y}")
    return [(name, list(of_month)) for name, of_month in by_month][::-1]


def tree(rows: list[Row]) -> list[dict[str, Any]]:
    """Groups nested below their parents; `hidden` children are those that the page leaves out."""
    nodes = {row["group_id"]: {**row, "below": []} for row in rows}
    roots: list[dict[str, Any]] = []
    for node in nodes.values():
        parent = nodes.get(node["parent_group_id"]) if node["depth"] else None
        (parent["below"] if parent else roots).append(node)
    for node in nodes.values():
        node["hidden"] = node["children"] - len(node["below"])
    return roots
