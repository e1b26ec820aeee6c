"""One run of a day: what it was asked for, who watches it, what it came to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from flows.command import exit_code
from flows.options import Options
from flows.stopping import Stop
from loaders.days import Day, parse_day
from loaders.errors import DaybookError

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from loaders.lock import Lock


def silent(_what: str, _done: int | None = None, _total: int | None = None, at: str = "") -> None:
    """The progress of a run that nobody watches."""


@dataclass
class Run:
    """One run of one day: what to land, under which id, and who may stop it."""

    flow_run_id: str
    day: Day
    options: Options
    lock: Lock | None = None
    stop: Stop = field(default_factory=Stop)
    progress: Callable[..., None] = silent
    # how it ended, to be told once its lock is free
    message: tuple[str, float, str | None, list[str], bool] | None = None

    @classmethod
    def of(cls, day: str, data: str, *, flow_run_id: str | None = None, **options: Any) -> Run:
        """A run for calling a phase by hand, under an id of its own."""
        return cls(flow_run_id or str(uuid4()), parse_day(day), Options(data, **options))

    def check(self) -> None:
        """Stopped or LockedError, when this run may no longer change the warehouse."""
        self.stop.check()
        if self.lock is not None:
            self.lock.check()


@dataclass
class DayRun:
    """What a run of a day came to. `phases`: phase → run id and state; `error`: why it failed."""

    day: Day
    flow_run_id: str | None = None
    phases: dict[str, dict[str, str]] = field(default_factory=dict)
    error: BaseException | None = None
    seconds: float = 0.0


@dataclass
class Watch:
    """Who watches a day: told of its steps, and given what it came to when it has ended."""

    progress: Callable[..., None]
    done: DayRun | None = None


def came_to(day: Day, state: State[Any], outcome: Any, seconds: float) -> DayRun:
    """What a day came to, by the state and result of its flow in this process."""
    failed = isinstance(outcome, BaseException)
    run_id = state.state_details.flow_run_id
    return DayRun(
        day=day,
        flow_run_id=str(run_id) if run_id else None,
        phases={} if failed else outcome,
        error=outcome if failed else None,
        seconds=seconds,
    )


class BackfillError(DaybookError):
    """A day failed, and those after it were not run. `where`: the message without the cause."""

    def __init__(self, days: list[str], failed: int, cause: BaseException) -> None:
        done, left = days[:failed], days[failed + 1 :]
        self.where = (
            f"backfill stopped at {days[failed]}: done {', '.join(done) or 'none'}; "
            f"not run {', '.join(left) or 'none'}."
        )
        self.go_on = (
            "When its cause is mended, go on, with the same options: "
            f"python -m flows.backfill --days {' '.join(days[failed:])}"
        )
        super().__init__(f"{self.where} {cause}\n{self.go_on}")
        self.exit_code = exit_code(cause)
