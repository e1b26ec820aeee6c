"""Fault injection into the stack of `make up`, while a day runs on its work pool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from signal import SIGINT, SIGKILL, SIGTERM
from typing import Any

import psutil

from tests.flow.conftest import Stack
from tests.flow.faults import Injection
from tests.watching import is_gone, until

UNFINISHED = {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING"]}}
MODES = {"a day": "local", "a distributed day": "distributed"}


@dataclass
class PoolRun:
    """A run of the day's deployment on the work pool, used in the place of a command."""

    stack: Stack
    run_id: str

    @property
    def returncode(self) -> str | None:
        """None while it runs, then Prefect's name for its final state."""
        state = self.stack.prefect(f"/flow_runs/{self.run_id}")["state_type"]
        return None if state in UNFINISHED["type"]["any_"] else state


@dataclass
class StackInjection(Injection):
    """Its commands are runs on the pool; `start` is Stack.begin."""

    stack: Any = None

    def run(self, what: str = "a day", **_: str) -> Any:
        run_id = self.start(day="day2", mode=MODES[what], force=self.force)
        self.commands.append(PoolRun(self.stack, run_id))
        return self.commands[-1]

    def restore(self) -> list[str]:
        """`make up` starts again what is gone. Waits until all runs have ended and Prefect knows
        it. Returns the final states of the runs that this fault was injected into."""
        self.stack.up()
        until(lambda: not self.backends() and not self.stack.flow_runs(state=UNFINISHED), 300)
        return [str(run.returncode) for run in self.commands]


TARGETS: dict[str, Callable[[Stack], list[psutil.Process]]] = {
    "the worker": lambda stack: [psutil.Process(stack.pid("worker"))],
    "the worker and its runs": lambda stack: [
        *TARGETS["the worker"](stack),
        *stack.flow_processes(),
    ],
    "a run's process": Stack.flow_processes,
    "Prefect's server": lambda stack: [psutil.Process(stack.pid("server"))],
    "PostgreSQL": lambda stack: [psutil.Process(stack.postmaster())],
    "all of the stack": lambda stack: [
        process
        for part in ("the worker and its runs", "Prefect's server", "PostgreSQL")
        for process in TARGETS[part](stack)
    ],
}


def signal_to(number: int, target: str, run: str, injection: StackInjection) -> None:
    with injection.run_in_phase(run):
        processes = TARGETS[target](injection.stack)
        if target == "a run's process":
            processes = injection.random.sample(processes, min(1, len(processes)))
        for process in processes:
            process.send_signal(number)
        if number == SIGKILL:
            until(lambda: all(is_gone(process.pid) for process in processes))
    until(lambda: all(is_gone(process.pid) for process in processes), 300)


def run_four_at_once(injection: StackInjection) -> None:
    for what in [*MODES] * 2:
        injection.run(what)
    until(lambda: all(run.returncode for run in injection.commands), 300)
    injection.phase = injection.phase_reached()


FAULTS: dict[str, Callable[[StackInjection], None]] = {
    f"{number.name} to {target}, {run} at work": partial(signal_to, number, target, run)
    for target in TARGETS
    for number in (SIGINT, SIGTERM, SIGKILL)
    if number == SIGKILL or target not in ("PostgreSQL", "all of the stack")
    for run in MODES
} | {"two days and two distributed ones at once": run_four_at_once}
