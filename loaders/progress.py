"""What a waiting person sees: bars on a terminal, a plain line per step elsewhere."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import IO, Any

from loaders.errors import readable

PLAIN_STEP = 0.25  # of a table, or of a build: elsewhere than on a terminal, a line per quarter
NAME = 40  # characters of a node's name: a test has long ones


class Progress:
    """Called with a step's name, or with a table (or a step and, behind ` · `, what it is at) and
    how much of it is done, of a table in bytes and rows; from any thread. Rows that Spark has read
    are not known before they have landed."""

    def __init__(self, day: str, out: IO[str]) -> None:
        self._day, self._out = day, out
        self._lock = threading.Lock()
        self._bars: Any = None
        self._tables: dict[str, Any] = {}
        self._quarters: dict[str, int] = {}
        self._began: dict[str, tuple[float, int, int]] = {}

    def __enter__(self) -> Progress:
        if self._out.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars
            from rich.table import Column

            self._bars = Bars(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
                BarColumn(10),
                TimeElapsedColumn(),
                console=Console(file=self._out),
                transient=True,
            )
            self._bars.start()
            self._step = self._bars.add_task(self._day, total=None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(
        self, what: str, done: int | None = None, total: int | None = None, rows: int | None = None
    ) -> None:
        with self._lock:
            if done is None:
                self._say(what)
                return
            what, _, at = what.partition(" · ")
            if total and self._bars is None:
                self._quarter(what, done, total, rows)
            elif total and at:
                short = at if len(at) <= NAME else at[: NAME - 1] + "…"
                text = f"{self._day}: {what} {done} of {total} · {short}"
                self._bars.update(self._step, description=text, completed=done, total=total)
            elif total:
                self._move(what, done, total, rows)

    def _say(self, what: str) -> None:
        what = readable(what)
        if self._bars is None:
            print(f"{self._day}: {what}", file=self._out, flush=True)
        elif what.startswith("warning: "):
            self._bars.console.print(f"{self._day}: {what}", markup=False)
        else:
            for table in list(self._tables):
                self._bars.remove_task(self._tables.pop(table))
            self._bars.update(self._step, description=f"{self._day}: {what}", total=None)

    def _move(self, table: str, done: int, total: int, rows: int | None) -> None:
        if table not in self._tables:
            self._tables[table] = self._bars.add_task("", total=total)
        size = f" {done / 1e6:,.0f} of {total / 1e6:,.0f} MB" if total > 1e6 else ""
        text = f"  {table}{size}{self._pace(table, done, rows)}"
        self._bars.update(self._tables[table], description=text, completed=done, total=total)

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

    def _quarter(self, what: str, done: int, total: int, rows: int | None) -> None:
        pace = self._pace(what, done, rows)
        quarter = int(done / total / PLAIN_STEP)
        # Only what is long enough to be told about in parts: the first call is mid-way.
        if 0 < quarter < 4 and quarter > self._quarters.get(what, 0):
            self._quarters[what] = quarter
            print(f"{self._day}: {what} {done / total:.0%}{pace}", file=self._out, flush=True)
