"""A first day from small to large, and a day's build behind 2, 20 and 200 others: what grows.

Runs only when it is named: `python -m benchmarks growth` (twenty minutes, 10 GB of disk).
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path

from benchmarks.raw_days import day_text, write_json_day
from benchmarks.stage import Measure, build, cpu_of_all, peak_of, scratch_warehouse
from loaders.days import parse_day
from loaders.landing import land_day
from loaders.match import match_names
from loaders.rates import refresh_rates

# transactions, from XS to XL; without --rows the last is left out
SIZES = (30_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
HISTORY = (2, 20, 200)
ROUNDS = 3
NODES = ("build", "--exclude-resource-type", "unit_test", "test")
LANDING, REST = "landing and names", "build, checks, pages"
MEMORY = "peak memory of landing"
COLOURS = {LANDING: "#1b6ca8", REST: "#c2571a"}


def run(folder: Path, *, quick: bool, rows: int | None = None) -> list[Measure]:
    """`rows`: no day of more transactions (three million)."""
    found: list[Measure] = []
    before: dict[str, float] = {}
    for many in (100, 300) if quick else SIZES:
        if many > (rows or SIZES[-2]):
            break
        groups, agents = many // 10 + 1, many // 20 + 1
        size = f"{many:,} transactions, {groups:,} groups, {agents:,} agents"
        with scratch_warehouse(folder):
            write_json_day(folder / "data", 0, range(many), groups=groups, agents=agents)
            took = _first_day(folder / "data")
        for name, value in took.items():
            if "memory" in name:
                aim = "<= 300" if name == MEMORY else None
                found.append(Measure(name, size, value, None, aim, "MB"))
                continue
            took[name], smaller = value * 1e6 / many, before.get(name)
            what, aim = f"{name}, a million transactions", "<= 1.15" if smaller else None
            found.append(Measure(what, size, took[name], smaller, aim, "CPU s"))
        before = took
    return found + _history(folder, quick=quick)


def _first_day(data: Path) -> dict[str, float]:
    """Landing in a process of its own, then the rest of the day: CPU with the server's, memory."""
    peaks: list[float] = []
    where = ("--day", day_text(0), "--data", str(data))
    return {
        LANDING: cpu_of_all(lambda: peaks.append(peak_of("loaders", *where))),
        REST: cpu_of_all(lambda: peaks.append(peak_of("flows.day", *where))),
        MEMORY: peaks[0],
        "peak memory of the flow": peaks[1],
    }


def _history(folder: Path, *, quick: bool) -> list[Measure]:
    """Landing and build of a day like all the others, its rows half new and half newer."""
    data, took, number = folder / "data", {}, 0
    size = (100, 20, 20) if quick else (10_000, 1_000, 500)

    def land(*, built: bool) -> float:
        nonlocal number
        many, groups, agents = size
        start = number * many // 2
        write_json_day(data, number, range(start, start + many), groups=groups, agents=agents)
        day = parse_day(day_text(number))
        number += 1

        def work() -> None:
            land_day(data, day)
            match_names(day, flow_run_id="bench")
            if built:
                build(*NODES, day=day.text)

        return cpu_of_all(work)

    with scratch_warehouse(folder) as conn:
        refresh_rates()
        for days in HISTORY[: 2 if quick else None]:
            while number < days:
                land(built=number + 1 == days)
            conn.execute("vacuum analyze")
            took[days] = statistics.median(land(built=True) for _ in range(ROUNDS))
    first = took.pop(HISTORY[0])
    what = f"a day of {size[0]:,} transactions, landed and built, against {HISTORY[0]} days before"
    return [
        Measure(what, f"{days} days before", spent, first, "<= 1.15", "CPU s")
        for days, spent in took.items()
    ]


def plot(measures: list[Measure]) -> str:
    """The CPU seconds of a first day's parts by its transactions, both logarithmic: SVG."""

    def at(many: float, spent: float) -> tuple[float, float]:
        return 60 + (math.log10(many) - 4) * 140, 320 - (math.log10(spent) + 1) * 75

    parts = ['<text x="60" y="14">CPU seconds of a first day, by its transactions</text>']
    for power in range(-1, 4):
        _, y = at(1, 10**power)
        parts.append(f'<path d="M60 {y}H500" stroke="#ddd"/>')
        parts.append(f'<text x="54" y="{y + 4}" text-anchor="end">{10**power:g} s</text>')
    for power in range(4, 8):
        x, _ = at(10**power, 1)
        parts.append(f'<text x="{x}" y="340" text-anchor="middle">{10**power:,}</text>')
    for name, colour in COLOURS.items():
        points = [
            at(many, one.ours * many / 1e6)
            for one in measures
            if one.what.startswith(f"{name}, ")
            for many in [int(one.size.split()[0].replace(",", ""))]
        ]
        line = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}"/>')
        x, y = points[-1]
        parts.append(f'<text x="{x + 6:.0f}" y="{y + 4:.0f}" fill="{colour}">{name}</text>')
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 350" font-size="12"'
    head += ' font-family="sans-serif"><rect width="640" height="350" fill="#fff"/>'
    return "\n".join([head, *parts, "</svg>"]) + "\n"
