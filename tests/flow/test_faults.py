"""Faults in chains: after each a clean run ends as if nothing had been, and a proof says so.

The first chain is nine certain kills, all others are drawn from their number: the first ten are
the suite's. `make faults` goes through sixty-five, and those of test_stack_crashes.py, and writes
docs/RELIABILITY.md; `make faults SEED=7 CHAINS=1` goes through the seventh alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any

import pytest

from flows.prove import prove
from loaders import server
from tests.conftest import copy_database
from tests.flow.chains import (
    Fault,
    Tried,
    asked_for,
    go_through,
    is_as_if_nothing_had_been,
    on_the_page,
    state,
)
from tests.flow.faults import COMMANDS, FAULTS, NEEDS, Scene, connect
from tests.watching import prefect, until

# Each run goes through the phase in which the one before it died, and dies there or later.
FLOW, POSTGRES = "SIGKILL to the flow", "SIGKILL to PostgreSQL"
CERTAIN = [
    *((FLOW, "prepare-day"), (FLOW, "land-day"), (POSTGRES, "land-day")),
    *((FLOW, "match-names"), (FLOW, "transform-day"), (POSTGRES, "transform-day")),
    *((FLOW, "check-day"), (FLOW, "finish-day"), (POSTGRES, "finish-day")),
]


@pytest.fixture
def clean_run(flow_cli) -> Callable[[], float]:
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
def undisturbed(_seen, after_day1, clean_run, shared_home) -> dict[str, Any]:
    """What an undisturbed day leaves, and what it took; the warehouse is as before it."""
    if not _seen:
        _seen["seconds"] = clean_run()
        with connect(shared_home) as db:
            _seen["state"] = state(db)
        copy_database(shared_home, "after_day1")
    return _seen


@pytest.fixture
def all_tried(request, undisturbed) -> Iterator[dict[str, Tried]]:
    with on_the_page(request, "commands", FAULTS, undisturbed["seconds"]) as seen:
        yield seen


def chain(number: int) -> list[Fault]:
    if number == 1:
        return [(*place, 0.0) for place in CERTAIN]
    chance = Random(number)
    draw = chance.choice
    return [(draw([*FAULTS]), draw([*NEEDS]), draw([0.0, chance.random()])) for _ in range(3)]


def strike(scene: Scene, fault: str, tried: Tried) -> None:
    """One fault. Afterwards no command runs, and each ended as a command may end."""
    FAULTS[fault](scene)
    codes = [command.wait() for command in scene.commands]
    ends = [f"signal {-code}" if code < 0 else f"exit {code}" for code in codes]
    tried.append({"fault": fault, "phase": scene.phase, "ends": ends})
    for code, command in zip(codes, scene.commands, strict=True):
        output = command.stdout + command.stderr
        assert code in (0, 1, 2, 3, -2, -9, -15), output
        assert "Traceback" not in output or fault == "SIGINT to dbt", output  # dbt's own way
        assert code <= 0 or "error" in output.lower(), output
    server.start(scene.home)
    until(lambda: not scene.backends(), 30)


@pytest.mark.parametrize("number", asked_for(range(1, 66), 10))
def test_a_clean_run_after_a_chain_of_faults_ends_as_if_nothing_had_been(
    number, undisturbed, all_tried, clean_run, flow_started, shared_home
):
    states: list[str] = []

    def struck(seed: int, fault: Fault, tried: Tried) -> None:
        name, *place = fault
        scene = Scene(shared_home, flow_started, Random(seed), *place, force=number > 1)
        strike(scene, name, tried)

    def recovered() -> float:
        seconds = clean_run()
        ask = partial(prefect, os.environ["PREFECT_API_URL"])
        states[:] = is_as_if_nothing_had_been(shared_home, undisturbed["state"], ask)
        assert prove().partings == []
        return seconds

    tried = go_through(number, chain(number), struck, recovered, all_tried)
    if number == 1:
        assert [(each["fault"], each["phase"]) for each in tried] == CERTAIN
        # Who outlives PostgreSQL tells Prefect by itself.
        is_killed = [fault == FLOW for fault, _ in CERTAIN]
        assert [each["ends"] == ["signal 9"] for each in tried] == is_killed
        assert states == ["CRASHED" if it else "FAILED" for it in is_killed]
