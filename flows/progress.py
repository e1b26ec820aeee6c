"""What a waiting person sees: bars on a terminal, a plain line per step elsewhere."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import IO, Any

PLAIN_STEP = 0.25  # of a table: elsewhere than on a terminal, a line per quarter


class Progress:
    """Called with a step's name, or with a table and how much of it is done; from any thread."""

    def __init__(self, day: str, out: IO[str]) -> None:
        self._day, self._out = day, out
        self._lock = threading.Lock()
        self._bars: Any = None
        self._tables: dict[str, Any] = {}

    def __enter__(self) -> Progress:
        if self._out.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars

            self._bars = Bars(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                console=Console(file=self._out),
                transient=True,
            )
            self._bars.start()
            self._step = self._bars.add_task(f"{self._day}: starting", total=None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, what: str, done: int | None = None, total: int | None = None) -> None:
        with self._lock:
            if done is None:
                self._say(what)
            elif total:
                self._move(what, done, total)

    def _say(self, what: str) -> None:
        if self._bars is None:
            print(f"{self._day}: {what}", file=self._out, flush=True)
        elif what.startswith("warning: "):
            self._bars.console.print(f"{self._day}: {what}", markup=False)
        else:
            for table in list(self._tables):
                self._bars.remove_task(self._tables.pop(table))
            self._bars.update(self._step, description=f"{self._day}: {what}")

    def _move(self, table: str, done: int, total: int) -> None:
        if self._bars is not None:
            if table not in self._tables:
                self._tables[table] = self._bars.add_task(f"  {table}", total=total)
            self._bars.update(self._tables[table], completed=done, total=total)
            return
        quarter = int(done / total / PLAIN_STEP)
        # Only landings long enough to be told about in parts: the first call is mid-way.
        if 0 < quarter < 4 and quarter > self._tables.get(table, 0):
            self._tables[table] = quarter
            print(f"{self._day}: {table} {done / total:.0%}", file=self._out, flush=True)
