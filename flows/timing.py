"""What a run spends beside its phases, and when: kept with them, in metrics.phase_runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

_spent: dict[str, tuple[float, float]] = {}


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    """Count what happens here as a part of the run that this process is at work for."""
    started = time.monotonic()
    try:
        yield
    finally:
        seconds, _ = _spent.get(name, (0.0, 0.0))
        _spent[name] = (seconds + time.monotonic() - started, time.time())


def taken() -> dict[str, tuple[float, float]]:
    """The parts since this was last asked: their seconds, and when they ended."""
    found = dict(_spent)
    _spent.clear()
    return found
