"""What is drawn of long lists, so that it can be seen; the templates draw it."""

from __future__ import annotations

from typing import Any

from flows.pages.read import Row

BARS = 30  # in the time line: what takes longest, and the critical path
CUT = 20


def time_line(bars: list[Row]) -> dict[str, Any]:
    """Bars as read.bars has them, and which of them the day waited for: followed backwards from
    what ended last, to the input that ended last, or from what has none to what ended last before
    it began."""
    nodes = {bar["name"]: bar for bar in bars if bar["kind"] == "dbt"}
    path: list[Row] = []
    here = max(bars, key=lambda bar: bar["ends"], default=None)
    while here is not None and here not in path:
        path.append(here)
        inputs = [nodes[name] for name in here["waited_for"] if name in nodes]
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
