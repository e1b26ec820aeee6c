"""Chains of faults: they strike one after the other, one clean run recovers, a page reports it."""

from __future__ import annotations

import contextlib
import os
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import machine
from loaders.sources import PROJECT
from tests.flow.faults import connect
from tests.watching import Connection, column, holds, made_good

PAGE = PROJECT / "docs" / "RELIABILITY.md"
Fault = tuple[str, str, float]  # its name, the phase, and how long after that begins
Tried = list[dict[str, Any]]


def asked_for(numbers: range, otherwise: int) -> list[Any]:
    """CHAINS of these chains, from SEED on; unless CHAINS is set, the first few."""
    first, many = int(os.environ.get("SEED", "1")), os.environ.get("CHAINS")
    chosen = [n for n in numbers if many is None or first <= n < first + int(many)]
    return [
        pytest.param(n, marks=pytest.mark.drawn if n != numbers[0] else ())
        for n in (chosen if many else chosen[:otherwise])
    ]


def go_through(
    number: int,
    faults: list[Fault],
    strike: Callable[[int, Fault, Tried], None],
    recover: Callable[[], float],
    all_tried: dict[str, Tried],
) -> Tried:
    """Strike one fault after the other, and recover; each is recorded with how long that took."""
    tried: Tried = []
    try:
        for place, fault in enumerate(faults):
            strike(number * 10 + place, fault, tried)
        seconds = recover()
    except Exception:  # not Ctrl-C
        all_tried[str(number)] = tried
        raise
    all_tried[str(number)] = [each | {"recovered": seconds} for each in tried]
    return tried


def state(db: Connection) -> dict[str, Any]:
    """What must be the same: silver, the marts, and the names of all tables without numbers."""
    names = (
        "select distinct regexp_replace(oid::regclass::text, '[0-9]+', '#', 'g')"
        " from pg_class where relkind in ('r', 'p', 'v') and oid > 16384"
        " and relpersistence <> 't' order by 1"  # autovacuum removes those of a crashed server
    )
    return {**holds(db), "tables": column(db, names)}


def is_as_if_nothing_had_been(
    home: Path, undisturbed: dict[str, Any], prefect: Callable[..., list[dict[str, Any]]]
) -> list[str]:
    """Fails unless all is as after an undisturbed day. Returns the states in Prefect of the runs
    that died, except those with a Prefect server of their own."""
    with connect(home) as db:
        dead = made_good(db)
        assert state(db) == undisturbed
    known = prefect("/flow_runs/filter", flow_runs={"id": {"any_": dead}})
    states = {run["id"]: run["state_type"] for run in known}
    assert set(states.values()) <= {"FAILED", "CRASHED"}
    return [states[each] for each in dead if each in states]


@contextlib.contextmanager
def on_the_page(
    request: pytest.FixtureRequest, part: str, faults: Iterable[str], undisturbed: float
) -> Iterator[dict[str, Tried]]:
    """Collects what each chain tries and sees. `make faults` writes it into its part of the page,
    with what .pytest_cache holds of earlier runs."""
    place, seen = f"daybook/faults-{part}", {"0": [{"recovered": undisturbed}]}
    yield seen
    if "CHAINS" in os.environ:
        tried = request.config.cache.get(place, {}) | seen
        request.config.cache.set(place, tried)
        written = f"<!-- written by make faults: {part} -->\n"
        lines = written + "\n" + "\n".join(tables(tried, faults)) + "\n"
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(
            re.sub(rf"(?s){written}.*?(?=\n## |\Z)", lambda _: lines, page), encoding="utf-8"
        )


def tables(all_tried: dict[str, Tried], faults: Iterable[str]) -> list[str]:
    """The page's lines: a row for each fault, and how many struck in each phase."""
    undisturbed = all_tried["0"]
    struck = [each for number, tried in all_tried.items() if number != "0" for each in tried]
    by_fault = {fault: [each for each in struck if each["fault"] == fault] for fault in faults}
    good = sum("recovered" in each for each in struck)
    return [
        f"{len(struck)} faults in {len(all_tried) - 1} chains, {good} of them made good."
        f" {machine()}; {datetime.now(UTC):%Y-%m-%d}."
        f" The same day undisturbed: {_seconds(undisturbed)} s.",
        "",
        "| fault | tried | in phase | what was struck ended with | made good | s to recover |",
        "|---|---|---|---|---|---|",
        *(
            f"| {fault} | {len(rows)} | {_counted(each['phase'] for each in rows)} | "
            f"{_counted(end for each in rows for end in each['ends'])} | "
            f"{sum('recovered' in each for each in rows)} | {_seconds(rows)} |"
            for fault, rows in by_fault.items()
            if rows
        ),
        "",
        "| phase | faults in it |",
        "|---|---|",
        *(f"| {phase} | {n} |" for phase, n in Counter(e["phase"] for e in struck).most_common()),
    ]


def _counted(found: Iterable[str]) -> str:
    return ", ".join(f"{what} × {n}" for what, n in Counter(found).most_common())


def _seconds(rows: Tried) -> str:
    taken = [each["recovered"] for each in rows if "recovered" in each]
    return f"{statistics.median(taken):.0f} (at most {max(taken):.0f})" if taken else ""
