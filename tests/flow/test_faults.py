"""Fault injection: after a chain of faults one clean run reaches the state of an undisturbed day.

The first chain is nine fixed kills; the faults of every other are drawn, with the chain's number as
seed. The test suite runs the first ten. `make faults` runs all sixty-five and those of
test_stack_crashes.py, and writes docs/RELIABILITY.md; `make faults SEED=7 CHAINS=1` repeats the
seventh.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest

from flows.prove import prove
from loaders import server
from tests.conftest import copy_database
from tests.flow.chains import (
    Fault,
    Results,
    assert_recovered,
    results_fixture,
    run_chain,
    selected,
    snapshot,
)
from tests.flow.faults import COMMANDS, FAULTS, PHASE_LOCKS, Injection, connect
from tests.watching import prefect, until

# Each run dies in the phase in which the one before it died, or in a later one.
FLOW, POSTGRES = "SIGKILL to the flow", "SIGKILL to PostgreSQL"
FIXED_CHAIN = [
    *((FLOW, "prepare-day"), (FLOW, "land-day"), (POSTGRES, "land-day")),
    *((FLOW, "match-names"), (FLOW, "transform-day"), (POSTGRES, "transform-day")),
    *((FLOW, "check-day"), (FLOW, "finish-day"), (POSTGRES, "finish-day")),
]


@pytest.fixture
def clean_run(flow_cli) -> Callable[[], float]:
    """Runs the day without any fault, and returns its seconds."""

    def run() -> float:
        began = time.monotonic()
        done = flow_cli(*COMMANDS["the flow"])
        assert done.returncode == 0, done.stderr
        return round(time.monotonic() - began, 1)

    return run


@pytest.fixture(scope="module")
def _baseline() -> dict[str, Any]:
    return {}


@pytest.fixture
def baseline(_baseline, after_day1, clean_run, shared_home) -> dict[str, Any]:
    """The snapshot after an undisturbed day, and its seconds; the warehouse is as after day1."""
    if not _baseline:
        _baseline["seconds"] = clean_run()
        with connect(shared_home) as db:
            _baseline["state"] = snapshot(db)
        copy_database(shared_home, "after_day1")
    return _baseline


results = results_fixture("commands", FAULTS)


def chain_of_faults(number: int) -> list[Fault]:
    if number == 1:
        return [(*fault, 0.0) for fault in FIXED_CHAIN]
    random = Random(number)
    draw = random.choice
    return [(draw([*FAULTS]), draw([*PHASE_LOCKS]), draw([0.0, random.random()])) for _ in range(3)]


def inject(injection: Injection, fault: str, chain: Results) -> None:
    """Afterwards no command runs, and each has ended in one of the ways that are allowed."""
    FAULTS[fault](injection)
    codes = [command.wait() for command in injection.commands]
    ends = [f"signal {-code}" if code < 0 else f"exit {code}" for code in codes]
    chain.append({"fault": fault, "phase": injection.phase, "ends": ends})
    for code, command in zip(codes, injection.commands, strict=True):
        output = command.stdout + command.stderr
        assert code in (0, 1, 2, 3, -2, -9, -15), output
        assert "Traceback" not in output or fault == "SIGINT to dbt", output  # dbt's own way
        assert code <= 0 or "error" in output.lower(), output
    server.start(injection.home)
    until(lambda: not injection.backends())


@pytest.mark.parametrize("number", selected(range(1, 66), 10))
def test_one_clean_run_recovers_from_a_chain_of_faults(
    number, baseline, results, clean_run, flow_started, shared_home
):
    states: list[str] = []

    def inject_one(seed: int, fault: Fault, chain: Results) -> None:
        name, *place = fault
        random, force = Random(seed), number > 1
        inject(Injection(shared_home, flow_started, random, *place, force=force), name, chain)

    def recover() -> float:
        seconds = clean_run()
        ask = partial(prefect, os.environ["PREFECT_API_URL"])
        states[:] = assert_recovered(shared_home, baseline["state"], ask)
        assert prove().partings == []
        return seconds

    chain = run_chain(number, chain_of_faults(number), inject_one, recover, results)
    if number == 1:
        assert [(each["fault"], each["phase"]) for each in chain] == FIXED_CHAIN
        # A flow that is killed leaves its run open; one whose PostgreSQL dies tells Prefect itself.
        is_killed = [fault == FLOW for fault, _ in FIXED_CHAIN]
        assert [each["ends"] == ["signal 9"] for each in chain] == is_killed
        assert states == ["CRASHED" if killed else "FAILED" for killed in is_killed]
