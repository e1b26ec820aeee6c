"""Faults in chains: after each a clean run ends as if nothing had been, and a proof says so.

The first chain is nine certain kills, all others are drawn from their number: the first ten are
the suite's. `make faults` goes through the first sixty-five and writes docs/RELIABILITY.md;
`SEED=7 CHAINS=1` through the seventh alone.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks.__main__ import machine
from flows.prove import prove
from loaders import server
from loaders.sources import PROJECT
from tests.conftest import copy_database
from tests.flow.faults import COMMANDS, FAULTS, NEEDS, Scene, connect
from tests.forks import Command
from tests.watching import Connection, holds, made_good, prefect, until

FIRST, CHAINS = int(os.environ.get("SEED", "1")), int(os.environ.get("CHAINS", "10"))
# Each run goes through the phase in which the one before it died, and dies there or later.
FLOW, POSTGRES = "SIGKILL to the flow", "SIGKILL to PostgreSQL"
CERTAIN = [
    (FLOW, "prepare-day"),
    (FLOW, "land-day"),
    (POSTGRES, "land-day"),
    (FLOW, "match-names"),
    (FLOW, "transform-day"),
    (POSTGRES, "transform-day"),
    (FLOW, "check-day"),
    (FLOW, "finish-day"),
    (POSTGRES, "finish-day"),
]
PAGE = PROJECT / "docs" / "RELIABILITY.md"
MARK = "<!-- written by make faults -->\n"


def state(db: Connection) -> dict[str, Any]:
    """What may not differ, and the names of all tables, but for their numbers."""
    names = db.execute(
        "select distinct regexp_replace(oid::regclass::text, '[0-9]+', '#', 'g') as name"
        " from pg_class where relkind in ('r', 'p', 'v') and oid > 16384"
        " and relpersistence <> 't' order by 1"  # a crashed server's go by autovacuum
    ).fetchall()
    return {**holds(db), "tables": [row["name"] for row in names]}


@pytest.fixture
def clean_run(flow_cli: Callable[..., Command]) -> Callable[[], float]:
    """The day, with nothing in its way; its seconds."""

    def run() -> float:
        began = time.monotonic()
        done = flow_cli(*COMMANDS["the flow"])
        assert done.returncode == 0, done.stderr
        return round(time.monotonic() - began, 1)

    return run


@pytest.fixture(scope="module")
def _seen() -> dict[str, Any]:
    return {}


@pytest.fixture
def undisturbed(
    _seen: dict[str, Any], after_day1: Command, clean_run: Callable[[], float], shared_home: Path
) -> dict[str, Any]:
    """What an undisturbed day leaves, and what it took; the warehouse is as before it."""
    if not _seen:
        _seen["seconds"] = clean_run()
        with connect(shared_home) as db:
            _seen["state"] = state(db)
        copy_database(shared_home, "after_day1")
    return _seen


@pytest.fixture
def kept(
    request: pytest.FixtureRequest, undisturbed: dict[str, Any]
) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """What each chain tries and sees; it is told with those of earlier runs, until .pytest_cache
    is removed."""
    place, seen = "daybook/faults", {"0": [{"recovered": undisturbed["seconds"]}]}
    yield seen
    if "CHAINS" in os.environ:
        tried = request.config.cache.get(place, {}) | seen
        request.config.cache.set(place, tried)
        top = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
        PAGE.write_text(top + MARK + "\n" + "\n".join(tables(tried)) + "\n", encoding="utf-8")


def chain(seed: int) -> list[tuple[str, str, float]]:
    """Faults with their phases, and how long after these begin."""
    if seed == 1:
        return [(*place, 0.0) for place in CERTAIN]
    chance = Random(seed)
    return [
        (
            chance.choice(list(FAULTS)),
            chance.choice(list(NEEDS)),
            chance.choice([0.0, chance.random()]),
        )
        for _ in range(3)
    ]


def strike(scene: Scene, fault: str, tried: list[dict[str, Any]]) -> None:
    """One fault; when it is over nobody is at work, and nobody ended in a way of his own."""
    FAULTS[fault](scene)
    codes = [command.wait() for command in scene.commands]
    tried.append({"fault": fault, "phase": scene.phase, "codes": codes})
    for code, command in zip(codes, scene.commands, strict=True):
        said = command.stdout + command.stderr
        assert code in (0, 1, 2, 3, -2, -9, -15), said
        assert "Traceback" not in said or fault == "SIGINT to dbt", said  # dbt's own way
        assert code <= 0 or "error" in said.lower(), said
    server.start(scene.home)
    until(lambda: not scene.backends(), 30)


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(seed, marks=pytest.mark.drawn if seed > 1 else ())
        for seed in range(FIRST, FIRST + CHAINS)
    ],
)
def test_a_clean_run_after_a_chain_of_faults_ends_as_if_nothing_had_been(
    seed: int,
    undisturbed: dict[str, Any],
    kept: dict[str, Any],
    clean_run: Callable[[], float],
    flow_started: Callable[..., Command],
    shared_home: Path,
) -> None:
    tried: list[dict[str, Any]] = []
    try:
        for number, (fault, phase, later) in enumerate(chain(seed)):
            chance = Random(seed * 10 + number)
            scene = Scene(shared_home, flow_started, chance, phase, later, force=seed > 1)
            strike(scene, fault, tried)
        seconds = clean_run()
        states = is_as_if_nothing_had_been(shared_home, undisturbed["state"])
        if seed == 1:
            assert [(each["fault"], each["phase"]) for each in tried] == CERTAIN
            # Who outlives PostgreSQL tells Prefect by itself.
            is_killed = [fault == FLOW for fault, _ in CERTAIN]
            assert [each["codes"] == [-9] for each in tried] == is_killed
            assert states == ["CRASHED" if it else "FAILED" for it in is_killed]
    except Exception:  # not Ctrl-C
        kept[str(seed)] = tried
        raise
    kept[str(seed)] = [each | {"recovered": seconds} for each in tried]


def is_as_if_nothing_had_been(home: Path, undisturbed: dict[str, Any]) -> list[str]:
    """States in Prefect of the runs that died."""
    with connect(home) as db:
        dead = made_good(db)
        assert state(db) == undisturbed
    states = states_in_prefect(dead)
    assert set(states) <= {"FAILED", "CRASHED"}
    assert prove().partings == []
    return states


def states_in_prefect(flow_run_ids: list[str]) -> list[str]:
    """Of those that it knows: some runs had a Prefect of their own."""
    known = prefect(
        os.environ["PREFECT_API_URL"],
        "/flow_runs/filter",
        flow_runs={"id": {"any_": flow_run_ids}},
    )
    states = {run["id"]: run["state_type"] for run in known}
    return [states[each] for each in flow_run_ids if each in states]


def tables(kept: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The page's lines: a row for each fault, and how many struck in each phase."""
    undisturbed = kept["0"]
    struck = [each for seed, tried in kept.items() if seed != "0" for each in tried]
    by_fault = {fault: [each for each in struck if each["fault"] == fault] for fault in FAULTS}
    good = sum("recovered" in each for each in struck)
    return [
        f"{len(struck)} faults in {len(kept) - 1} chains, {good} of them made good. {machine()};"
        f" {datetime.now(UTC):%Y-%m-%d}. The same day undisturbed: {_seconds(undisturbed)} s.",
        "",
        "| fault | tried | in phase | the struck commands ended with | made good | s to recover |",
        "|---|---|---|---|---|---|",
        *(
            f"| {fault} | {len(rows)} | {_counted(each['phase'] for each in rows)} | "
            f"{_counted(_end(code) for each in rows for code in each['codes'])} | "
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


def _end(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit {code}"


def _seconds(rows: list[dict[str, Any]]) -> str:
    taken = [each["recovered"] for each in rows if "recovered" in each]
    return f"{statistics.median(taken):.0f} (at most {max(taken):.0f})" if taken else ""
