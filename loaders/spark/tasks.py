"""What runs on the executors, in Python: the loaders' own readers."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from loaders.errors import DaybookError
from loaders.plan import Plan
from loaders.prepared import REJECTED, ROWS, system_of
from loaders.raw_file import Place, RawFile
from loaders.readers.rows import Observed
from loaders.reading import Reading
from loaders.s3 import S3Path, error_of


def each(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """`work` of each item, or its error, since a raised one would reach the driver as Java's."""
    answers = []
    for item in items:
        try:
            answers.append(work(item))
        except DaybookError as error:
            answers.append(error)
    return answers


def read(
    parts: list[RawFile], plan: Plan, folder: Place
) -> list[tuple[str, Observed] | DaybookError]:
    """Read slices into a file of rows and one of rejects. Returns the files' name, without ending,
    and what was read; or the error that ended it.

    A task that dies is run again under another name: only names that reach the driver count.
    """
    name = f"{plan.table.name}/{uuid.uuid4().hex}"
    # the limit of rejects is for the whole table: landing checks it
    reading = Reading(replace(plan, table=replace(plan.table, max_reject_share=1.0)))
    try:
        system, path = system_of(folder / name)
        with system.open_output_stream(path + ROWS) as rows:
            for piece in reading.pieces(parts):
                rows.write(piece)
        with system.open_output_stream(path + REJECTED) as rejected:
            for text in reading.rejects.blocks():
                rejected.write(text.encode())
    except DaybookError as error:
        return [error]
    except OSError as error:
        return [unwritable(folder, error)]
    return [(name, reading.read)]


def unwritable(folder: Place, error: OSError) -> DaybookError:
    """The error for a place that can't be written to."""
    if isinstance(folder, S3Path):
        return error_of(folder, error)
    why = error.strerror or type(error).__name__
    return DaybookError(f"{folder}: not to be written to ({why}); driver and executors share it.")
