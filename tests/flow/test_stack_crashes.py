"""Worker, Prefect server and runs on the pool are struck at work: `make up` puts them back, and the
next run goes through by itself, to the same state."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from flows.prove import prove
from loaders import warehouse
from tests.conftest import MIGRATED, copy_database
from tests.flow.chains import (
    Fault,
    Tried,
    asked_for,
    go_through,
    is_as_if_nothing_had_been,
    on_the_page,
    state,
)
from tests.flow.conftest import Stack
from tests.flow.faults import NEEDS, caught_in, connect
from tests.flow.stack_faults import FAULTS, StackScene
from tests.flow.test_stack import DAY
from tests.raw_days import SAMPLE
from tests.watching import is_gone, runs, until

pytestmark = pytest.mark.stack

CERTAIN = [
    ("SIGKILL to the worker and its runs, a day at work", "transform-day"),
    ("SIGKILL to Prefect's server, a day at work", "land-day"),
    ("SIGKILL to PostgreSQL, a day at work", "match-names"),
    ("SIGKILL to a run's process, a day at work", "transform-day"),
]


def chains() -> dict[int, list[Fault]]:
    """Each fault once: the first chain is certain, the others are drawn in threes, with phase and
    moment. Their numbers follow those of test_faults.py."""
    chance = Random(66)
    others = [fault for fault in FAULTS if fault not in dict(CERTAIN)]
    chance.shuffle(others)
    drawn = [
        (fault, chance.choice(list(NEEDS)), chance.choice([0.0, chance.random()]))
        for fault in others
    ]
    threes = [drawn[place : place + 3] for place in range(0, len(drawn), 3)]
    return dict(enumerate([[(*place, 0.0) for place in CERTAIN], *threes], start=66))


CHAINS = chains()


def clean_run(stack: Stack) -> float:
    """The day on the pool, with nothing in its way; its seconds."""
    began = time.monotonic()
    done = stack.deployment(DAY, "day=day2")
    assert done.returncode == 0, done.stdout + done.stderr
    return round(time.monotonic() - began, 1)


@pytest.fixture(scope="module")
def undisturbed(stack) -> dict[str, Any]:
    """Keeps the warehouse as it is after day1; what day2 leaves, and what it took."""
    copy_database(stack.home, MIGRATED)  # without the runs of the tests before
    stack.day("day1")
    copy_database(stack.home, "daybook", "after_day1")
    seconds = clean_run(stack)
    with connect(stack.home) as db:
        return {"seconds": seconds, "state": state(db)}


@pytest.fixture
def all_tried(request, undisturbed) -> Iterator[dict[str, Tried]]:
    with on_the_page(request, "stack", FAULTS, undisturbed["seconds"]) as seen:
        yield seen


@pytest.fixture
def ends_the_same(stack, undisturbed, monkeypatch) -> Iterator[Callable[[], float]]:
    """From after day1 on: once more the day, to the same state; its seconds."""
    copy_database(stack.home, "after_day1")
    for name, value in stack.environment.items():
        if name.startswith(("DAYBOOK_", "DBT_")):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABASE_URL", warehouse.uri())  # a copy has no rights to make schemas

    def run() -> float:
        seconds = clean_run(stack)
        is_as_if_nothing_had_been(stack.home, undisturbed["state"], stack.prefect)
        assert prove().partings == []
        return seconds

    yield run
    stack.up()


@pytest.mark.parametrize("number", asked_for(range(66, 66 + len(CHAINS)), 1))
def test_a_clean_run_after_a_chain_of_faults_ends_as_if_nothing_had_been(
    stack, number, all_tried, ends_the_same
):
    def struck(seed: int, fault: Fault, tried: Tried) -> None:
        name, *place = fault
        scene = StackScene(stack.home, stack.begin, Random(seed), *place, force=True, stack=stack)
        tried.append({"fault": name, "phase": scene.phase, "ends": []})
        FAULTS[name](scene)
        tried[-1] |= {"phase": scene.phase, "ends": scene.settle()}

    go_through(number, CHAINS[number], struck, ends_the_same, all_tried)


def test_down_leaves_no_process_and_up_begins_again(stack):
    pids = [stack.pid("server"), stack.pid("worker")]
    with caught_in(stack.home, "land-day") as wait:
        run = stack.begin(day="day1", force=True)
        wait()
        pids += [process.pid for process in stack.flow_processes()]
        done = stack.cold("flows.stack", "down")
    assert done.returncode == 0, done.stderr
    assert all(map(is_gone, pids))
    assert stack.cold("flows.stack", "status").returncode == 1
    assert stack.cold("flows.stack", "down").returncode == 0
    stack.up()
    assert stack.prefect(f"/flow_runs/{run}")["state_type"] in {"FAILED", "CRASHED", "CANCELLED"}


@pytest.mark.parametrize(
    ("number", "code", "left"), [(signal.SIGTERM, 1, "FAILED"), (signal.SIGKILL, -9, "CRASHED")]
)
def test_a_distributed_day_that_ends_takes_its_runs_on_the_pool_with_it(
    stack, ends_the_same, number, code, left
):
    with caught_in(stack.home, "transform-day") as wait:
        day = stack.start("flows.day", "--day", "day2", "--data", SAMPLE, "--mode", "distributed")
        wait()
        day.send_signal(number)
        assert day.wait(60) == code, day.stderr
        if number == signal.SIGTERM:  # while what it waits for is still held
            until(lambda: not stack.flow_processes(), 60)
    ends_the_same()
    until(lambda: not stack.flow_processes(), 60)
    with connect(stack.home) as db:
        *_, dead, _ = runs(db)
    assert stack.prefect(f"/flow_runs/{dead['flow_run_id']}")["state_type"] == left


def test_a_distributed_day_ends_when_a_run_crashed_though_nobody_takes_the_others(stack):
    until(lambda: stack.prefect("/work_pools/daybook")["status"] == "READY")
    os.kill(stack.pid("worker"), signal.SIGSTOP)
    try:
        day = stack.start("flows.day", "--day", "day1", "--data", SAMPLE, "--mode", "distributed")
        name, state = {"any_": ["prepare-day day1"]}, {"type": {"any_": ["SCHEDULED"]}}
        (run,) = until(lambda: stack.flow_runs(name=name, state=state), 60)
        crashed = {"type": "CRASHED", "message": "Its worker is gone."}
        stack.prefect(f"/flow_runs/{run['id']}/set_state", state=crashed, force=True)
        assert day.wait(60) == 1
    finally:
        os.kill(stack.pid("worker"), signal.SIGCONT)
    assert "prepare-day crashed: Its worker is gone." in day.stderr
