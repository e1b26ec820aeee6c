"""Geometry for what no chart library here draws: the flow of rows, the time line, the calendar.

Plain numbers in, plain dicts out; the template draws them as SVG.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from flows.pages.read import DISPOSITIONS, Row

FLOW_HEIGHT, FLOW_GAP = 150, 16
LINE_WIDTH, LINE_HEIGHT, LINE_LABEL = 900, 17, 230
BARS = 30  # in the time line: what takes longest, and the critical path


def flow(line: Row) -> dict[str, Any]:
    """A ledger line as ribbons from its files to each disposition."""
    counts = {name: line[f"rows_{name}"] or 0 for name in DISPOSITIONS}
    total = line["rows_in_files"] or 0
    present = {name: count for name, count in counts.items() if count}
    gaps = FLOW_GAP * max(len(present) - 1, 0)
    # Where all rows went one way there is little to see.
    room = FLOW_HEIGHT - gaps if len(present) > 1 else FLOW_HEIGHT / 4
    ribbons, left, right = [], 0.0, 0.0
    for name, count in present.items():
        height = max(room * count / total, 1.5) if total else 0
        y0, y1 = gaps / 2 + left, right
        ribbons.append(
            {
                "name": name,
                "count": count,
                "share": count / total if total else 0,
                "path": (
                    f"M14 {y0:.1f} C110 {y0:.1f} 90 {y1:.1f} 200 {y1:.1f} V{y1 + height:.1f} "
                    f"C90 {y1 + height:.1f} 110 {y0 + height:.1f} 14 {y0 + height:.1f} Z"
                ),
                "y": y1,
                "height": height,
            }
        )
        left, right = left + height, right + height + FLOW_GAP
    bottom = max(right - FLOW_GAP, gaps / 2 + left, 20)
    return {
        **{"line": line, "ribbons": ribbons, "total": total},
        **{"top": gaps / 2, "height": left, "bottom": bottom},
    }


def time_line(landings: list[Row], nodes: list[Row], checks: list[Row]) -> dict[str, Any]:
    """Bars for landings, dbt nodes and checks on one clock, and which of them the day waited for.

    The critical path is followed backwards from what ended last: to the input that ended last, and
    from what has none to the end of the phase before.
    """
    bars = [
        _bar(row["table_name"], "landing", row["started_at"], row["finished_at"], [])
        for row in landings
        if row["finished_at"] and row["status"] != "skipped"
    ]
    bars += [
        _bar(row["node"], "dbt", row["started_at"], row["finished_at"], row["depends_on"])
        for row in nodes
        if row["finished_at"] and row["resource_type"] not in ("operation", "exposure")
    ]
    if checks:
        ended = max(row["checked_at"] for row in checks)
        begun = max((bar["end"] for bar in bars), default=ended)
        bars.append(_bar("checks", "checks", min(begun, ended), ended, []))
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
    digits = 1 if seconds >= 4 else 2 if seconds >= 0.4 else 3
    return {
        "bars": shown,
        "left_out": len(bars) - len(shown),
        "seconds": seconds,
        "path": list(reversed(path)),
        "height": len(shown) * LINE_HEIGHT + 26,
        "ticks": [
            {"x": LINE_LABEL + seconds * part * scale, "label": f"{seconds * part:.{digits}f} s"}
            for part in (0, 0.25, 0.5, 0.75, 1)
        ],
    }


def _bar(name: str, kind: str, start: Any, end: Any, waited_for: list[str]) -> dict[str, Any]:
    return {"name": name, "kind": kind, "start": start, "end": end, "waited_for": waited_for}


def _critical(bars: list[dict[str, Any]]) -> list[dict[str, Any]]:
    before = {"checks": "dbt", "dbt": "landing"}
    by_name = {(bar["kind"], bar["name"]): bar for bar in bars}
    here: dict[str, Any] | None = max(bars, key=lambda bar: bar["end"])
    path: list[dict[str, Any]] = []
    while here is not None and here not in path:
        path.append(here)
        inputs = [
            by_name[here["kind"], name]
            for name in here["waited_for"]
            if (here["kind"], name) in by_name
        ]
        if not inputs and here["kind"] in before:
            kinds = (before[here["kind"]], "landing")
            inputs = [bar for bar in bars if bar["kind"] == kinds[0]] or [
                bar for bar in bars if bar["kind"] == kinds[1]
            ]
        here = max(inputs, key=lambda bar: bar["end"], default=None)
    return path


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
