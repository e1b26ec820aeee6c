"""What a run spends in its phases and beside them, and when: kept in metrics.phase_runs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

_spent: dict[str, tuple[float, datetime]] = {}
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
    """Count so many seconds more, up to now, of a phase or a part."""
    with _counting:
        before, _ = _spent.get(name, (0.0, None))
        _spent[name] = (before + seconds, datetime.now(UTC))


def taken() -> dict[str, tuple[float, datetime]]:
    """What has been counted since this was last asked: seconds, and when it ended."""
    with _counting:
        spent = dict(_spent)
        _spent.clear()
    return spent
