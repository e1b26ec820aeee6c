"""`python -m benchmarks [NAME …] [--quick] [--rows N] [--record]`: ratios, within one run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from benchmarks import growth
from benchmarks.stage import Measure, surroundings

# flow first: it starts a Prefect server, which must be there before Prefect is imported.
NAMES = (
    *("flow", "orchestration", "landing", "transactions", "activity", "day"),
    *("history", "growth", "spark"),
)
# a quarter of an hour to half of one; spark needs Java and its extra
ONLY_NAMED = ("history", "growth", "spark")
HERE = Path(__file__).parent
HEAD = ("benchmark", "what", "size", "Daybook", "against", "ratio", "aim", "held")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Daybook against plain Postgres and plain dbt, on a warehouse of its own.",
        epilog="example: python -m benchmarks landing transactions",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all")
    parser.add_argument("--record", action="store_true", help="write results.json and README.md")
    parser.add_argument(
        "--rows", type=int, metavar="N", help="history, growth, spark: no size above N"
    )
    given = parser.parse_args(argv)
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    measured: list[Measure] = []
    with surroundings() as folder:
        for name in NAMES:
            if name not in given.names if given.names else name in ONLY_NAMED:
                continue
            options = {"rows": given.rows} if name in ONLY_NAMED else {}
            found = import_module(f"benchmarks.{name}").run(folder, quick=given.quick, **options)
            for measure in found:
                measured.append(replace(measure, benchmark=name))
                print("  ".join(cell for cell in _cells(measured[-1]) if cell), flush=True)
    if given.record:
        record(measured)
    return 0


def record(measured: list[Measure]) -> None:
    """Keep the results: the lines of benchmarks that did not run stay as they were."""
    path = HERE / "results.json"
    kept = json.loads(path.read_text(encoding="utf-8"))["measures"] if path.exists() else []
    ran = {measure.benchmark for measure in measured}
    measures = [Measure(**old) for old in kept if old["benchmark"] not in ran] + measured
    measures.sort(key=lambda measure: NAMES.index(measure.benchmark))
    if grown := [measure for measure in measured if measure.benchmark == "growth"]:
        (HERE / "growth.svg").write_text(growth.plot(grown), encoding="utf-8")
    found = {"machine": machine(), "measures": [vars(measure) for measure in measures]}
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join(_cells(measure)) + " |" for measure in measures]
    page = HERE / "README.md"
    top, mark, _old = page.read_text(encoding="utf-8").partition("<!-- results -->\n")
    page.write_text(top + mark + f"\n{machine()}\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


def machine() -> str:
    """What it ran on, in a line, without names or dates."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GB of memory, "
        f"{platform.system()}, Python {platform.python_version()}, embedded PostgreSQL"
    )


def _cells(measure: Measure) -> list[str]:
    def shown(value: float | None) -> str:
        if value is None:
            return ""
        return f"{value:.3g} {measure.unit}" if value < 1000 else f"{value:.0f} {measure.unit}"

    return [
        measure.benchmark,
        measure.what,
        measure.size,
        shown(measure.ours),
        shown(measure.theirs),
        "" if measure.ratio is None else f"{measure.ratio:.2f}",
        (measure.aim or "").replace(">=", "≥").replace("<=", "≤"),
        {True: "yes", False: "no", None: ""}[measure.held],
    ]


if __name__ == "__main__":
    sys.exit(main())
