"""Fault injection into the stack: worker, Prefect server, PostgreSQL or runs on the work pool die.
`make up` starts again what is gone, and the next clean run reaches the expected state."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from subprocess import CompletedProcess
from typing import Any

import pytest

from flows.prove import prove
from loaders import warehouse
from tests.conftest import MIGRATED, copy_database
from tests.flow.chains import (
    Fault,
    Results,
    assert_recovered,
    results_fixture,
    run_chain,
    selected,
    snapshot,
)
from tests.flow.conftest import Stack
from tests.flow.faults import PHASE_LOCKS, connect, held_in_phase
from tests.flow.stack_faults import FAULTS, StackInjection
from tests.flow.test_stack import DAY
from tests.raw_days import SAMPLE
from tests.watching import is_gone, run_python, runs, until

pytestmark = pytest.mark.stack

FIXED_CHAIN = [
    ("SIGKILL to the worker and its runs, a day at work", "transform-day"),
    ("SIGKILL to Prefect's server, a day at work", "land-day"),
    ("SIGKILL to PostgreSQL, a day at work", "match-names"),
    ("SIGKILL to a run's process, a day at work", "transform-day"),
]


def chains() -> dict[int, list[Fault]]:
    """Each fault of the stack once, by the numbers after those of test_faults.py: the fixed chain,
    then chains of three with a phase and a delay that are drawn."""
    random = Random(66)
    others = [fault for fault in FAULTS if fault not in dict(FIXED_CHAIN)]
    random.shuffle(others)
    drawn = [
        (fault, random.choice(list(PHASE_LOCKS)), random.choice([0.0, random.random()]))
        for fault in others
    ]
    threes = [drawn[place : place + 3] for place in range(0, len(drawn), 3)]
    return dict(enumerate([[(*fault, 0.0) for fault in FIXED_CHAIN], *threes], start=66))


CHAINS = chains()


def clean_run(stack: Stack) -> float:
    """Runs the day on the pool without any fault, and returns its seconds."""
    began = time.monotonic()
    done = stack.deployment(DAY, "day=day2")
    assert done.returncode == 0, done.stdout + done.stderr
    return round(time.monotonic() - began, 1)


@pytest.fixture(scope="module")
def baseline(stack) -> dict[str, Any]:
    """The snapshot after an undisturbed day2, and its seconds; makes the template after_day1."""
    copy_database(stack.home, MIGRATED)  # without the runs of the tests before
    stack.day("day1")
    copy_database(stack.home, "daybook", "after_day1")
    seconds = clean_run(stack)
    with connect(stack.home) as db:
        return {"seconds": seconds, "state": snapshot(db)}


results = results_fixture("stack", FAULTS)


@pytest.fixture
def recover(stack, baseline, monkeypatch) -> Iterator[Callable[[], float]]:
    """The warehouse is as after day1. `recover()` runs day2, fails unless the expected state is
    reached, and returns the run's seconds."""
    copy_database(stack.home, "after_day1")
    for name, value in stack.environment.items():
        if name.startswith(("DAYBOOK_", "DBT_")):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABASE_URL", warehouse.uri())  # a copy has no rights to make schemas

    def run() -> float:
        seconds = clean_run(stack)
        assert_recovered(stack.home, baseline["state"], stack.prefect)
        assert prove().partings == []
        return seconds

    yield run
    stack.up()


@pytest.mark.parametrize("number", selected(range(66, 66 + len(CHAINS)), 1))
def test_one_clean_run_recovers_from_a_chain_of_faults(stack, number, results, recover):
    def inject(seed: int, fault: Fault, chain: Results) -> None:
        name, *place = fault
        random = Random(seed)
        injection = StackInjection(stack.home, stack.begin, random, *place, force=True, stack=stack)
        chain.append({"fault": name, "phase": injection.phase, "ends": []})
        FAULTS[name](injection)
        chain[-1] |= {"phase": injection.phase, "ends": injection.restore()}

    run_chain(number, CHAINS[number], inject, recover, results)


def test_down_leaves_no_process_and_up_begins_again(stack):
    pids = [stack.pid("server"), stack.pid("worker")]
    with held_in_phase(stack.home, "land-day") as wait:
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
    stack, recover, number, code, left
):
    with held_in_phase(stack.home, "transform-day") as wait:
        day = stack.start("flows.day", "--day", "day2", "--data", SAMPLE, "--mode", "distributed")
        wait()
        day.send_signal(number)
        assert day.wait() == code, day.stderr
        if number == signal.SIGTERM:  # while the lock still holds the phase
            until(lambda: not stack.flow_processes())
    recover()
    until(lambda: not stack.flow_processes())
    with connect(stack.home) as db:
        *_, dead, _ = runs(db)
    assert stack.prefect(f"/flow_runs/{dead['flow_run_id']}")["state_type"] == left


def test_a_distributed_day_ends_when_a_run_crashed_though_nobody_takes_the_others(stack):
    until(lambda: stack.prefect("/work_pools/daybook")["status"] == "READY")
    os.kill(stack.pid("worker"), signal.SIGSTOP)
    try:
        day = stack.start("flows.day", "--day", "day1", "--data", SAMPLE, "--mode", "distributed")
        name, state = {"any_": ["prepare-day day1"]}, {"type": {"any_": ["SCHEDULED"]}}
        (run,) = until(lambda: stack.flow_runs(name=name, state=state))
        crashed = {"type": "CRASHED", "message": "Its worker is gone."}
        stack.prefect(f"/flow_runs/{run['id']}/set_state", state=crashed, force=True)
        assert day.wait() == 1
    finally:
        os.kill(stack.pid("worker"), signal.SIGCONT)
    assert "prepare-day crashed: Its worker is gone." in day.stderr


WAITS_FOR = """
import faulthandler, sys, threading, time
from uuid import UUID
from flows import distributed
from flows.run import Run
from loaders import warehouse
faulthandler.dump_traceback_later(60, exit=True)
distributed.START_SECONDS = 1.0
distributed.trigger = lambda *_: UUID(sys.argv[1])
child = warehouse.connect(application_name=f"daybook child {sys.argv[1][-8:]}")
threading.Timer(3, child.close).start()
began = time.monotonic()
try:
    distributed.run_phases(Run.of("day1", "", flow_run_id="a day"), ["sweep-orphans"])
finally:
    print("waited for the one at work" if time.monotonic() - began > 3 else "")
"""


def states_after(
    stack: Stack, made: Sequence[tuple[str, str]], code: str
) -> tuple[list[str], CompletedProcess[str]]:
    """Make runs on the pool that no process works on, each with its state and its day's run, and
    run Python's `code` with the first's id; their states then, and how it ended."""
    found = stack.prefect("/deployments/name/sweep-orphans/sweep-orphans")
    runs = []
    for state, day in made:
        wanted = {"parameters": {"day": "day1", "run_id": day, "options": {}}}
        path = f"/deployments/{found['id']}/create_flow_run"
        runs.append(stack.prefect(path, **wanted, state={"type": state})["id"])
    secret = {"PREFECT_API_URL": stack.api, "PREFECT_API_AUTH_STRING": stack.secret}
    told = run_python("-c", code, runs[0], env={**stack.environment, **secret})
    states = [stack.prefect(f"/flow_runs/{run}")["state_type"] for run in runs]
    for run in runs:
        stack.prefect(f"/flow_runs/{run}/set_state", state={"type": "CRASHED"}, force=True)
    return states, told


def test_a_day_ends_whose_runs_prefect_shows_as_running_though_their_worker_is_gone(stack):
    """Another worker lives on: nobody starts one, which would close them."""
    made = (("RUNNING", "a day"), ("PENDING", "a day"), ("PENDING", "another day"))
    states, told = states_after(stack, made, WAITS_FOR)
    assert "No worker of the pool daybook was at work on sweep-orphans for 1 s" in told.stderr
    assert told.stdout.strip() == "waited for the one at work"
    assert states == ["CRASHED", "CRASHED", "PENDING"], "an open one takes a slot of the pool"


def test_a_run_that_another_worker_has_just_taken_is_not_taken_for_dead(stack):
    made = (("PENDING", "a day"), ("PENDING", "a dead day"), ("PENDING", ""), ("RUNNING", "a day"))
    reap = "from flows.distributed import *; reap(is_left)"
    with stack.connect() as connection:
        connection.execute("set application_name to 'daybook run a day'")
        states, told = states_after(stack, made, reap)
    assert told.returncode == 0, told.stderr
    assert states == ["PENDING", "CRASHED", "CRASHED", "CRASHED"]


CLOSES_DEAD = """
from flows.distributed import close_dead
from flows.options import Options
from flows.run import Run
from loaders.days import parse_day

close_dead([], Run("a day", parse_day("day1"), Options(mode="distributed")))
"""


def test_a_distributed_day_closes_what_earlier_ones_left_on_the_pool(stack):
    """A run whose process could not start stays Cancelling, and takes a slot."""
    made = (("CANCELLING", "a day before"), ("PENDING", "a day"), ("PENDING", ""))
    states, told = states_after(stack, made, CLOSES_DEAD)
    assert told.returncode == 0, told.stderr
    assert states == ["CRASHED", "PENDING", "PENDING"]
