"""How long a run's phases and other parts take, and when they end; see metrics.phase_runs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

_spent: dict[str, tuple[float, datetime]] = {}
_lock = threading.Lock()  # phases run side by side


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    """Add the block's seconds to the phase or part `name` of this process's run."""
    started = time.monotonic()
    try:
        yield
    finally:
        with _lock:
            before, _ = _spent.get(name, (0.0, None))
            _spent[name] = (before + time.monotonic() - started, datetime.now(UTC))


def taken() -> dict[str, tuple[float, datetime]]:
    """Phase or part → its seconds and end, of all timed since the last call."""
    with _lock:
        spent = dict(_spent)
        _spent.clear()
    return spent
