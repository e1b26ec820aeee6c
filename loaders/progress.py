"""What a waiting person sees: on a terminal where the day is, elsewhere a plain line per step."""

from __future__ import annotations

import threading
import time
from typing import IO, Any

from loaders.errors import readable

PLAIN_STEP = 0.25  # of a table, or of a build: elsewhere than on a terminal, a line per quarter


class Progress:
    """Called with a step's name, or with a table (or a step and, behind ` · `, what it is at) and
    how much of it is done, of a table in bytes and rows; from any thread. Rows that Spark has read
    are not known before they have landed."""

    def __init__(self, day: str, out: IO[str]) -> None:
        self._day, self._out = day, out
        self._lock = threading.Lock()
        self._status: Any = None
        self._shown: dict[str, str] = {}  # the step, and below it what of it is under way
        self._quarters: dict[str, int] = {}
        self._began: dict[str, tuple[float, int, int]] = {}

    def __enter__(self) -> Progress:
        if self._out.isatty():
            from rich.console import Console

            self._status = Console(file=self._out).status(self._day)
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def __call__(
        self, what: str, done: int | None = None, total: int | None = None, rows: int | None = None
    ) -> None:
        with self._lock:
            if done is None:
                self._say(f"{self._day}: {readable(what)}")
            elif total:
                what, _, at = what.partition(" · ")
                pace = self._pace(what, done, rows)
                if not self._status:
                    self._quarter(what, done, total, pace)
                elif at:
                    self._show(self._day, f"{self._day}: {what} {done} of {total} · {at}")
                else:
                    size = f" {done / 1e6:,.0f} of {total / 1e6:,.0f} MB" if total > 1e6 else ""
                    self._show(what, f"  {what}{size}{pace}")

    def _say(self, line: str) -> None:
        if not self._status:
            print(line, file=self._out, flush=True)
        elif line.startswith(f"{self._day}: warning: "):
            self._status.console.print(line, markup=False, highlight=False)
        else:
            self._shown.clear()
            self._show(self._day, line)

    def _show(self, what: str, line: str) -> None:
        from rich.console import Group
        from rich.text import Text

        self._shown[what] = line
        lines = [Text(one, no_wrap=True, overflow="ellipsis") for one in self._shown.values()]
        self._status.update(Group(*lines))

    def _pace(self, table: str, done: int, rows: int | None) -> str:
        """How many rows, and how fast since the first call; in bytes while rows are not known."""
        now = time.monotonic()
        since, bytes_then, rows_then = self._began.setdefault(table, (now, done, rows or 0))
        many = f", {rows:,} rows" if rows else ""
        if rows is None or now == since:
            return many
        if rows > rows_then:
            return f"{many}, {(rows - rows_then) / (now - since):,.0f} a second"
        return f"{many}, {(done - bytes_then) / (now - since) / 1e6:,.0f} MB a second"

    def _quarter(self, what: str, done: int, total: int, pace: str) -> None:
        quarter = int(done / total / PLAIN_STEP)
        # Only what is long enough to be told about in parts: the first call is mid-way.
        if 0 < quarter < 4 and quarter > self._quarters.get(what, 0):
            self._quarters[what] = quarter
            print(f"{self._day}: {what} {done / total:.0%}{pace}", file=self._out, flush=True)
