"""Landing with several processes: each reads its share of the files into a table of its own.

The landing's own process reads the first share. A worker commits its table before it answers, and
ends when its parent does. What a dead run leaves has no parent table: nobody sees it, and the sweep
drops it.
"""

from __future__ import annotations

import os
import pickle
import select
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from loaders import ledger
from loaders.errors import DaybookError
from loaders.ledger import Batch
from loaders.partition import NewPartition
from loaders.plan import Plan
from loaders.raw_file import RawFile
from loaders.readers.rows import Observed, Rejects
from loaders.reading import Reading
from loaders.schema import Table
from loaders.slices import count_records, shares
from loaders.sources import PROJECT

if TYPE_CHECKING:
    from psycopg import Connection as Session

LOST = "nothing was replaced. Run the day again, with fewer --workers if memory is short."


class Worker:
    """A context with a process that calls the functions it is sent. `lost` ends the message for a
    process that died: what to do."""

    def __init__(self, lost: str) -> None:
        self._lost = lost

    def __enter__(self) -> Worker:
        self._end, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "loaders.workers", str(theirs.fileno()), Path.cwd()],
                cwd=PROJECT,
                # checks' libraries read docstrings; the module is in the folder
                env={**os.environ, "PYTHONOPTIMIZE": "", "PYTHONSAFEPATH": ""},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a signal to the run is the parent's to answer
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # it has committed what counts
        self._process.wait()

    def ask(
        self,
        order: tuple[Any, ...],
        tell: Callable[[int, int], None] = lambda size, rows: None,
        put_aside: Callable[[str], None] = lambda text: None,
    ) -> Any:
        """The result of `order`, a function and its arguments. Meanwhile `tell` is called with what
        was read and `put_aside` with rejects. The function's error is raised here."""
        for answer in self._answers(order):
            if isinstance(answer, str):
                put_aside(answer)
            elif isinstance(answer, tuple):
                tell(*answer)
            else:
                break
        [result] = answer
        if isinstance(result, Exception):
            raise result
        return result

    def _answers(self, order: tuple[Any, ...]) -> Iterator[Any]:
        try:
            self._end.send(order)
            while True:
                yield self._end.recv()
        except (EOFError, OSError):  # between two answers, or within one
            raise DaybookError(
                f"A process of the run ended early (killed, or out of memory?): {self._lost}"
            ) from None


@contextmanager
def started_workers(many: int) -> Iterator[list[Worker]]:
    """So many workers, which end with the block."""
    with ExitStack() as stack:
        yield [stack.enter_context(Worker(LOST)) for _ in range(many)]


def copy_into(new: NewPartition, reading: Reading, conn: Session, many: int) -> None:
    """Fill the partition with `many` processes, this one among them. DaybookError: that of the
    first share that failed, or for a worker that died."""
    plan = reading.plan
    # this session waits for the workers as long as they take
    conn.execute("set local idle_in_transaction_session_timeout = 0")
    # the workers end first: the pool waits for each thread that listens to one
    with ThreadPoolExecutor(many) as threads, started_workers(many - 1) as workers:
        counted = partial(_counted, threads, workers)
        parts, *theirs = shares(plan.files or (), plan.table, many, counted)
        others = []
        for leaf, (worker, share) in enumerate(zip(workers, theirs, strict=False), 1):
            order, rejects = (_land, leaf, share, plan, new.batch), Rejects()
            answer = threads.submit(worker.ask, order, reading.tell, rejects.add)
            others.append((answer, rejects))
        reading.parts = parts
        reading.copy_into(NewPartition(conn, new.batch, 0) if others else new)
        for answer, rejects in others:
            read, error = answer.result()
            reading.read.add(read)
            for text in rejects.blocks():
                reading.rejects.add(text)
            if error:
                raise error
        if others:
            new.assemble(1 + len(others))


def _counted(
    threads: ThreadPoolExecutor, workers: Sequence[Worker], parts: list[RawFile], table: Table
) -> list[int | None]:
    """Count each slice's records. A process that is done takes the next, so that none waits."""
    free: SimpleQueue[Worker | None] = SimpleQueue()  # None is this process
    for process in (None, *workers):
        free.put(process)

    def count(part: RawFile) -> int | None:
        worker = free.get()
        try:
            records: int | None = (
                worker.ask((_count, part, table)) if worker else count_records(part, table)
            )
            return records
        finally:
            free.put(worker)

    return list(threads.map(count, parts))


# The functions for workers. The parent gets tuples of what was read, rejects as text, and last the
# result in a list.


def _count(_parent: Connection, part: RawFile, table: Table) -> int | None:
    return count_records(part, table)


def _land(
    parent: Connection, leaf: int, share: list[RawFile], plan: Plan, batch: Batch
) -> tuple[Observed, Exception | None]:
    """Land a share; the reading's result, and the error that ended it or None."""
    reading = Reading(plan, lambda *read: parent.send(read), share)
    error: Exception | None = None
    try:
        with ledger.connect(batch.day, batch.flow_run_id) as conn, conn.transaction():
            reading.copy_into(NewPartition(conn, batch, leaf))
    except Exception as failure:
        error = failure
    for text in reading.rejects.blocks():
        parent.send(text)
    return reading.read, error


def _end_with(descriptor: int) -> None:
    """A parent that was killed waits for nothing: its sessions go with this process."""
    end = select.poll()
    end.register(descriptor, 0)
    end.poll()
    os._exit(1)


def main(descriptor: str, folder: str) -> None:
    """Call the functions that the parent sends, until it is gone."""
    os.chdir(folder)
    threading.Thread(target=_end_with, args=[int(descriptor)], daemon=True).start()
    with Connection(int(descriptor)) as parent, suppress(EOFError, ConnectionError):
        while True:
            function, *arguments = parent.recv()
            try:
                answer = function(parent, *arguments)
            except Exception as error:
                # where it was; its message may quote a row
                error.add_note("".join(traceback.format_tb(error.__traceback__)))
                answer = error
            try:
                pickle.loads(pickle.dumps(answer))
            except Exception:  # an error with a form of its own is known by its name
                answer = DaybookError(f"{type(answer).__name__} in a process of the run")
            parent.send([answer])


if __name__ == "__main__":
    main(*sys.argv[1:])
