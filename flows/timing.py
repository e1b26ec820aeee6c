"""What a run spends in its phases and beside them: kept in metrics.phase_runs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

_seconds: dict[str, float] = {}
_counting = threading.Lock()  # phases run beside each other


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    """Count what happens here as a part of the run that this process is at work for."""
    started = time.monotonic()
    try:
        yield
    finally:
        add(name, time.monotonic() - started)


def add(name: str, seconds: float) -> None:
    """Count so many seconds more of a phase or a part."""
    with _counting:
        _seconds[name] = _seconds.get(name, 0.0) + seconds


def taken() -> dict[str, float]:
    """What has been counted since this was last asked, in seconds."""
    with _counting:
        found = dict(_seconds)
        _seconds.clear()
    return found
