"""Progress for a waiting person: a live view on a terminal, elsewhere a plain line per step."""

from __future__ import annotations

import threading
import time
from typing import IO, Any

from loaders.errors import many, readable

PLAIN_STEP = 0.25  # without a terminal: a line per quarter of a table or a build


class Progress:
    """Is called, from any thread, with the name of a step that begins; or with a table and how many
    of its bytes and rows are done (no rows of Spark's before they have landed); or with a step
    and, behind ` · `, its current model, and how many of its models are done."""

    def __init__(self, day: str, out: IO[str]) -> None:
        self._day, self._out = day, out
        self._lock = threading.Lock()
        self._status: Any = None
        self._shown: dict[str, str] = {}  # the step's line, then those of its tables
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
        """The number of rows and their rate since the first call; the bytes' rate without rows."""
        now = time.monotonic()
        since, bytes_then, rows_then = self._began.setdefault(table, (now, done, rows or 0))
        count = f", {many(rows, 'row')}" if rows else ""
        if rows is None or now == since:
            return count
        if rows > rows_then:
            return f"{count}, {(rows - rows_then) / (now - since):,.0f} a second"
        return f"{count}, {(done - bytes_then) / (now - since) / 1e6:,.0f} MB a second"

    def _quarter(self, what: str, done: int, total: int, pace: str) -> None:
        quarter = int(done / total / PLAIN_STEP)
        # A short one is done at its first call: it gets no line.
        if 0 < quarter < 4 and quarter > self._quarters.get(what, 0):
            self._quarters[what] = quarter
            print(f"{self._day}: {what} {done / total:.0%}{pace}", file=self._out, flush=True)
