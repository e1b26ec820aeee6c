"""Landing with several processes: each reads its share of the files into a table of its own.

The landing's own process reads the first, so one process is the case of no others. A worker has
committed its table when it says what it has read, and ends when its parent does: what a dead run
leaves hangs on no parent, so nobody sees it and the sweep finds it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders import ledger
from loaders.errors import DaybookError
from loaders.ledger import Batch
from loaders.partition import NewPartition
from loaders.plan import Plan
from loaders.reading import Reading
from loaders.schema import Table
from loaders.slices import Slice, look, shares
from loaders.sources import PROJECT

if TYPE_CHECKING:
    from psycopg import Connection as Session

Tell = Callable[[int, int], None]


class Worker:
    """A process that does what it is told, as its context."""

    def __enter__(self) -> Worker:
        self._end, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "loaders.workers", str(theirs.fileno()), Path.cwd()],
                cwd=PROJECT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a signal to the run is the parent's to answer
            )
        self._thread = ThreadPoolExecutor(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # it has committed what counts
        self._process.wait()
        self._thread.shutdown()
        self._end.close()

    def told(self, order: tuple[Any, ...], tell: Tell = lambda size, rows: None) -> Future[Any]:
        """What comes of a function and its arguments; `tell` hears what is read meanwhile."""

        def ask() -> Any:
            with _alive():
                self._end.send(order)
                while isinstance(answer := self._end.recv(), tuple):
                    tell(*answer)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return self._thread.submit(ask)

    def texts(self) -> Iterator[str]:
        """The rejects, once a share was read."""
        with _alive():
            yield from iter(self._end.recv, "")


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


@contextmanager
def hired(many: int) -> Iterator[list[Worker]]:
    """So many workers, who end with the block."""
    with ExitStack() as stack:
        yield [stack.enter_context(Worker()) for _ in range(many)]


def copy_into(new: NewPartition, reading: Reading, conn: Session, many: int) -> None:
    """Make the partition of what so many processes read of the files, this one among them.
    DaybookError, or MustBeParsed, of the first share that has one; or for a worker that died."""
    plan = reading.plan
    # waits for the others as long as they take
    conn.execute("set local idle_in_transaction_session_timeout = 0")
    with hired(many - 1) as workers:
        parts = shares(plan.files or (), plan.table, many, partial(_counted, workers))
        how = (plan, new.batch, reading.allow_empty, reading.as_they_are)
        others = [
            (worker, worker.told((_land, leaf, share, *how), reading.tell))
            for leaf, (worker, share) in enumerate(zip(workers, parts[1:], strict=False), 1)
        ]
        reading.parts = parts[0]
        reading.copy_into(NewPartition(conn, new.batch, 0) if others else new)
        for worker, answer in others:
            read, error = answer.result()
            reading.read.add(read)
            for text in worker.texts():
                reading.rejects.add(text)
            if error:
                raise error
        if others:
            new.assemble(parts)


def _counted(workers: Sequence[Worker], parts: list[Slice], table: Table) -> list[int | None]:
    many = len(workers) + 1
    asked = [
        worker.told((_look, parts[start::many], table)) for start, worker in enumerate(workers, 1)
    ]
    counts: list[int | None] = [None] * len(parts)
    counts[::many] = _look(None, parts[::many], table)
    for start, answer in enumerate(asked, 1):
        counts[start::many] = answer.result()
    return counts


# What a worker is told to do. Its parent hears a tuple for what is read, and then the answer.


def _look(_parent: Connection | None, parts: list[Slice], table: Table) -> list[int | None]:
    return [look(part, table) for part in parts]


def _land(
    parent: Connection,
    leaf: int,
    share: list[Slice],
    plan: Plan,
    batch: Batch,
    allow_empty: bool,
    as_they_are: bool,
) -> str:
    """Reads a share; says what that came to, and the rejects in pieces, of which "" is the last."""
    reading = Reading(plan, allow_empty, lambda *read: parent.send(read), share)
    reading.as_they_are = as_they_are
    error = None
    try:
        with ledger.connect(batch.day, batch.flow_run_id) as conn, conn.transaction():
            reading.copy_into(NewPartition(conn, batch, leaf))
    except (EOFError, ConnectionError):
        raise
    except Exception as failure:
        error = failure
    parent.send([reading.read, error])
    for text in reading.rejects.blocks():
        parent.send(text)
    return ""


def main(descriptor: str, folder: str) -> None:
    """Do what the parent orders, until it is gone."""
    os.chdir(folder)
    with Connection(int(descriptor)) as parent, suppress(EOFError, ConnectionError):
        while True:
            work, *given = parent.recv()
            try:
                answer = work(parent, *given)
            except (EOFError, ConnectionError):
                raise
            except Exception as error:
                answer = error
            parent.send(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
