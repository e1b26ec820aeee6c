"""What a run spends beside its phases: kept with them, in metrics.phase_runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

_seconds: dict[str, float] = {}


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    """Count what happens here as a part of the run that this process is at work for."""
    started = time.monotonic()
    try:
        yield
    finally:
        _seconds[name] = _seconds.get(name, 0.0) + time.monotonic() - started


def taken() -> dict[str, float]:
    """The parts since this was last asked, with their seconds."""
    found = dict(_seconds)
    _seconds.clear()
    return found
