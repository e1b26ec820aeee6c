"""Faults by name that strike the stack of `make up` while a day runs on its pool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from signal import SIGINT, SIGKILL, SIGTERM
from typing import Any

import psutil

from tests.flow.conftest import Stack
from tests.flow.faults import Scene
from tests.watching import is_gone, until

OPEN = {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING"]}}
MODES = {"a day": "local", "a distributed day": "distributed"}


@dataclass
class OnPool:
    """A run of the day's deployment, as a command is one."""

    stack: Stack
    run_id: str

    @property
    def returncode(self) -> str | None:
        """None while it runs; what Prefect calls its end."""
        found = self.stack.prefect(f"/flow_runs/{self.run_id}")["state_type"]
        return None if found in OPEN["type"]["any_"] else found


@dataclass
class StackScene(Scene):
    """As a Scene, with runs on the pool for commands; `start` is Stack.begin."""

    stack: Any = None

    def run(self, what: str = "a day", **_: str) -> Any:
        run_id = self.start(day="day2", mode=MODES[what], force=self.force)
        self.commands.append(OnPool(self.stack, run_id))
        return self.commands[-1]

    def settle(self) -> list[str]:
        """`make up` puts back what is gone; then what is left comes to its end, and Prefect knows
        it: the ends of the runs that the scene began."""
        self.stack.up()
        until(lambda: not self.backends() and not self.stack.flow_runs(state=OPEN), 300)
        return [str(run.returncode) for run in self.commands]


VICTIMS: dict[str, Callable[[Stack], list[psutil.Process]]] = {
    "the worker": lambda stack: [psutil.Process(stack.pid("worker"))],
    "the worker and its runs": lambda stack: [
        *VICTIMS["the worker"](stack),
        *stack.flow_processes(),
    ],
    "a run's process": Stack.flow_processes,
    "Prefect's server": lambda stack: [psutil.Process(stack.pid("server"))],
    "PostgreSQL": lambda stack: [psutil.Process(stack.postmaster())],
    "all of the stack": lambda stack: [
        process
        for part in ("the worker and its runs", "Prefect's server", "PostgreSQL")
        for process in VICTIMS[part](stack)
    ],
}


def signal_to(number: int, victim: str, at_work: str, scene: StackScene) -> None:
    with scene.moment(at_work):
        struck = VICTIMS[victim](scene.stack)
        if victim == "a run's process":
            struck = scene.chance.sample(struck, min(1, len(struck)))
        for each in struck:
            each.send_signal(number)
        if number == SIGKILL:
            until(lambda: all(is_gone(each.pid) for each in struck))
    until(lambda: all(is_gone(each.pid) for each in struck), 300)


def at_once(scene: StackScene) -> None:
    for what in [*MODES] * 2:
        scene.run(what)
    until(lambda: all(run.returncode for run in scene.commands), 300)
    scene.phase = scene.reached()


FAULTS: dict[str, Callable[[StackScene], None]] = {
    f"{number.name} to {victim}, {at_work} at work": partial(signal_to, number, victim, at_work)
    for victim in VICTIMS
    for number in (SIGINT, SIGTERM, SIGKILL)
    if number == SIGKILL or victim not in ("PostgreSQL", "all of the stack")
    for at_work in MODES
} | {"two days and two distributed ones at once": at_once}
