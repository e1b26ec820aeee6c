"""Landing with several processes: each reads its share of the files into a table of its own.

A worker commits its table when its parent says so, once all have read theirs, and ends when the
parent does: who dies before that leaves nothing, and what is left behind it the sweep finds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from loaders import ledger
from loaders.errors import DaybookError
from loaders.partition import NewPartition, Share
from loaders.plan import Plan
from loaders.reading import Reading
from loaders.schema import Table
from loaders.slices import Slice, look, shares
from loaders.sources import PROJECT

if TYPE_CHECKING:
    from psycopg import Connection as Session

PATIENCE = 10.0  # seconds for a worker to end by itself


class Workers:
    """Processes that wait for orders. `copy_into` is what Reading's is, by all of them at once."""

    def __init__(self, ends: Sequence[Connection]) -> None:
        self._ends = ends

    def copy_into(
        self, partition: NewPartition, reading: Reading, conn: Session, batch_id: int, run: str
    ) -> None:
        """DaybookError, or MustBeParsed, of the first worker that has one; or for one that died."""
        # waits for the workers as long as they take
        conn.execute("set local idle_in_transaction_session_timeout = 0")
        [(now,)] = conn.execute("select now()").fetchall()
        plan, rejects = reading.plan, reading.rejects
        parts = shares(plan.files or (), plan.table, len(self._ends), self._counted)
        own = [Share(number, now) for number in range(len(parts))]
        how = (reading.allow_empty, reading.as_they_are)
        orders = [(_land, plan, *one, batch_id, run, *how) for one in zip(parts, own, strict=True)]
        for end, (read, error) in self._answers(orders, reading.on_read):
            reading.read.add(read)
            for text in iter(partial(_received, end), ""):
                rejects.add(text)
            if error:
                raise error
        reading.check()
        for end, _ in zip(self._ends, own, strict=False):
            _send(end, "commit")
        for end, _ in zip(self._ends, own, strict=False):
            _received(end)
        partition.assemble(own, parts)

    def _counted(self, parts: list[Slice], table: Table) -> list[int | None]:
        many = len(self._ends)
        counts: list[int | None] = [None] * len(parts)
        orders = [(_look, parts[start::many], table) for start in range(many)]
        for start, (_, (found, error)) in enumerate(self._answers(orders)):
            if error:
                raise error
            counts[start::many] = found
        return counts

    def _answers(
        self, orders: list[tuple[Any, ...]], on_read: Callable[[int], None] = lambda size: None
    ) -> Iterator[tuple[Connection, tuple[Any, Exception | None]]]:
        """Each worker and what it gives, or its error, in order; they say how much they read."""
        ends = self._ends[: len(orders)]
        for end, order in zip(ends, orders, strict=True):
            _send(end, order)
        answers: dict[Connection, Any] = {}
        for end in ends:
            while end not in answers:
                for one in wait([one for one in ends if one not in answers]):
                    teller = cast("Connection", one)
                    answer = _received(teller)
                    if isinstance(answer, int):
                        on_read(answer)
                    else:
                        answers[teller] = answer
            yield end, answers[end]


@contextmanager
def hired(many: int) -> Iterator[Workers]:
    """So many workers, who end with the block."""
    with ExitStack() as stack:
        ends = []
        for _ in range(many):
            ours, theirs = Pipe()
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, "-m", "loaders.workers", str(theirs.fileno())],
                    cwd=PROJECT,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,  # a signal to the run is the parent's to answer
                )
            stack.callback(_end, process, ours)
            _send(ours, Path.cwd())
            ends.append(ours)
        yield Workers(ends)


def _end(process: subprocess.Popen[bytes], end: Connection) -> None:
    end.close()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _received(end: Connection) -> Any:
    with _alive():
        return end.recv()


def _send(end: Connection, what: Any) -> None:
    with _alive():
        end.send(what)


@contextmanager
def _alive() -> Iterator[None]:
    """A worker that is spoken with."""
    try:
        yield
    except (EOFError, ConnectionError):
        raise DaybookError(
            "a worker ended while it read its share (killed, or out of memory?): nothing was "
            "replaced. Land the day again, with fewer --workers if memory is short."
        ) from None


def _look(_parent: Connection, parts: list[Slice], table: Table) -> list[int | None]:
    return [look(part, table) for part in parts]


def _land(
    parent: Connection,
    plan: Plan,
    parts: list[Slice],
    share: Share,
    batch_id: int,
    run: str,
    allow_empty: bool,
    as_they_are: bool,
) -> None:
    """Read a share; committed once the parent says so."""
    told = 0

    def tell(_table: str, done: int, _total: int, _rows: int) -> None:
        nonlocal told
        parent.send(done - told)
        told = done

    reading = Reading(plan, allow_empty, tell, parts)
    reading.as_they_are = as_they_are
    error = None
    with ledger.connect(plan.day, run) as conn, conn.transaction():
        conn.execute("set local idle_in_transaction_session_timeout = 0")
        try:
            reading.copy_into(NewPartition(conn, plan.table, plan.day, batch_id, share))
        except Exception as failure:
            error = failure
        parent.send((reading.read, error))
        for text in reading.rejects.blocks():
            parent.send(text)
        parent.send("")
        parent.recv()


def main(descriptor: int) -> None:
    """Do what the parent orders, until it is gone."""
    with Connection(descriptor) as parent, suppress(EOFError, ConnectionError):
        os.chdir(parent.recv())
        while True:
            work, *given = parent.recv()
            try:
                parent.send((work(parent, *given), None))
            except (EOFError, ConnectionError):
                raise
            except Exception as error:
                parent.send((None, error))


if __name__ == "__main__":
    main(int(sys.argv[1]))
