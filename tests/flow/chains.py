"""Runs chains of faults, checks that one clean run recovers from each, and reports the results."""

from __future__ import annotations

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
from tests.watching import Connection, column, failed_runs_before_success, silver_and_marts

PAGE = PROJECT / "docs" / "RELIABILITY.md"
Fault = tuple[str, str, float]  # its name, the phase, and its delay after the phase begins
# Of each fault of a chain: its name as `fault`, its `phase`, how the processes ended as `ends`,
# and the chain's recovery time in seconds as `recovered`, which is missing if it did not recover.
Results = list[dict[str, Any]]


def selected(chains: range, default: int) -> list[Any]:
    """The first `default` chains, or CHAINS of them from number SEED on."""
    first, count = int(os.environ.get("SEED", "1")), os.environ.get("CHAINS")
    numbers = [n for n in chains if count and first <= n < first + int(count)]
    return [
        pytest.param(n, marks=pytest.mark.drawn if n != chains[0] else ())
        for n in (numbers if count else chains[:default])
    ]


def run_chain(
    number: int,
    faults: list[Fault],
    inject: Callable[[int, Fault, Results], None],
    recover: Callable[[], float],
    results: dict[str, Results],
) -> Results:
    """Inject one fault after the other, then recover. `inject` gets a seed and adds its result to
    the list; `recover` returns the recovery time, and fails if anything is not as expected."""
    chain: Results = []
    try:
        for place, fault in enumerate(faults):
            inject(number * 10 + place, fault, chain)
        seconds = recover()
    except Exception:  # not Ctrl-C
        results[str(number)] = chain
        raise
    results[str(number)] = [result | {"recovered": seconds} for result in chain]
    return chain


def snapshot(db: Connection) -> dict[str, Any]:
    """The state that a recovered warehouse is compared by: the rows of silver and the marts, and
    the names of all tables, with numbers masked."""
    names = (
        "select distinct regexp_replace(oid::regclass::text, '[0-9]+', '#', 'g')"
        " from pg_class where relkind in ('r', 'p', 'v') and oid > 16384"
        " and relpersistence <> 't' order by 1"  # autovacuum removes those of a crashed server
    )
    return {**silver_and_marts(db), "tables": column(db, names)}


def assert_recovered(
    home: Path, expected: dict[str, Any], prefect: Callable[..., list[dict[str, Any]]]
) -> list[str]:
    """Fails unless the warehouse equals the expected snapshot and every failed run is closed, in
    Prefect too. Returns the final states of these runs, as far as this Prefect server knows them:
    some runs have a server of their own."""
    with connect(home) as db:
        failed = failed_runs_before_success(db)
        assert snapshot(db) == expected
    known = prefect("/flow_runs/filter", flow_runs={"id": {"any_": failed}})
    states = {run["id"]: run["state_type"] for run in known}
    assert set(states.values()) <= {"FAILED", "CRASHED"}
    return [states[run] for run in failed if run in states]


def results_fixture(part: str, faults: Iterable[str]) -> Any:
    """A fixture that collects the results of each chain. `make faults` writes them into this part
    of the page, together with those of earlier runs from .pytest_cache."""

    @pytest.fixture
    def results(request, baseline) -> Iterator[dict[str, Results]]:
        key, collected = f"daybook/faults-{part}", {"0": [{"recovered": baseline["seconds"]}]}
        yield collected
        if "CHAINS" in os.environ:
            known = request.config.cache.get(key, {}) | collected
            request.config.cache.set(key, known)
            heading = f"<!-- written by make faults: {part} -->\n"
            lines = heading + "\n" + "\n".join(tables(known, faults)) + "\n"
            page = PAGE.read_text(encoding="utf-8")
            PAGE.write_text(
                re.sub(rf"(?s){heading}.*?(?=\n## |\Z)", lambda _: lines, page), encoding="utf-8"
            )

    return results


def tables(results: dict[str, Results], faults: Iterable[str]) -> list[str]:
    """The page's table, a row for each fault, whatever kind of day was at work; and the number of
    faults in each phase."""
    baseline = results["0"]
    injected = [result for number, chain in results.items() if number != "0" for result in chain]
    by_fault = {
        name: [each for each in injected if _named(each["fault"]) == name]
        for name in dict.fromkeys(map(_named, faults))
    }
    recovered = sum("recovered" in result for result in injected)
    return [
        f"{len(injected)} faults in {len(results) - 1} chains, {recovered} of them made good."
        f" {machine()}; {datetime.now(UTC):%Y-%m-%d}."
        f" The same day undisturbed: {_seconds(baseline)} s.",
        "",
        "| fault | made good | what was struck ended with | s to recover |",
        "|---|---|---|---|",
        *(
            f"| {fault} | {sum('recovered' in each for each in rows)} of {len(rows)} | "
            f"{_counted(end for each in rows for end in each['ends'])} | {_seconds(rows)} |"
            for fault, rows in by_fault.items()
            if rows
        ),
        "",
        f"By phase: {_counted(result['phase'] for result in injected)}.",
    ]


def _named(fault: str) -> str:
    return fault.partition(", a ")[0]


def _counted(items: Iterable[str]) -> str:
    counts = Counter(items).most_common()
    return ", ".join(f"{item} × {n}" if len(counts) > 1 else item for item, n in counts)


def _seconds(results: Results) -> str:
    """Median and maximum of the recovery times, once when they are the same."""
    times = [each["recovered"] for each in results if "recovered" in each]
    if not times:
        return ""
    typical, most = f"{statistics.median(times):.0f}", f"{max(times):.0f}"
    return typical if typical == most else f"{typical} (at most {most})"
