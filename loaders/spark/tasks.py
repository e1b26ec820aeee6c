"""What runs on the executors, in Python: the loaders' own readers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from loaders.errors import DaybookError
from loaders.prepared import REJECTED, ROWS, system_of
from loaders.raw_file import Place
from loaders.readers.formats import read_pieces
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Found, Reject
from loaders.s3 import S3Path, error_of
from loaders.schema import Table
from loaders.slices import Slice, opened_slice


@dataclass(frozen=True)
class SliceRead:
    """What there is to say of a slice that was read; `error`: what ended it before its time."""

    path: str
    records: int
    found: Found
    error: DaybookError | None


# The name of a task's files, and what it read.
GroupRead = tuple[str, list[SliceRead]]


def each(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """What `work` gives of each, or its error: one that is raised here comes back as Java's."""
    answers = []
    for item in items:
        try:
            answers.append(work(item))
        except DaybookError as error:
            answers.append(error)
    return answers


def read(parts: list[Slice], table: Table, folder: Place) -> list[GroupRead | DaybookError]:
    """Read slices into a file of rows and one of rejects, and say how these are called.

    A task that dies is run again and takes another name: what counts is what the driver was told.
    """
    name, mapping = f"{table.name}/{uuid.uuid4().hex}", Mapping(table)
    system, path = system_of(folder / name)
    try:
        with (
            system.open_output_stream(path + ROWS) as rows,
            system.open_output_stream(path + REJECTED) as rejected,
        ):
            return [(name, [_read(part, mapping, rows, rejected) for part in parts])]
    except OSError as error:
        return [unwritable(folder, error)]


def unwritable(folder: Place, error: OSError) -> DaybookError:
    """What is said of a place that can't be written to."""
    if isinstance(folder, S3Path):
        return error_of(folder, error)
    why = error.strerror or type(error).__name__
    return DaybookError(f"{folder}: not to be written to ({why}); driver and executors share it.")


def _read(part: Slice, mapping: Mapping, rows: Any, rejected: Any) -> SliceRead:
    path, records, error = part.scanned.file.path, 0, None

    def put_aside(reject: Reject) -> None:
        nonlocal records
        records += not reject.landed  # one that was repaired is a row as well
        kept = replace(reject, raw="") if mapping.table.hashes else reject
        rejected.write(json.dumps([path, *vars(kept).values()]).encode() + b"\n")

    found = Found(put_aside=put_aside)
    opening = partial(opened_slice, part, mapping.table.encoding)
    try:
        for piece, many in read_pieces(part.scanned, mapping, found, opening, part.first):
            records += many
            rows.write(piece)
    except DaybookError as failure:
        error = failure
    return SliceRead(path, records, found, error)
