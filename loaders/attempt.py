"""One attempt at a table's files: the large clean CSVs go to COPY as bytes, the rest is parsed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from loaders.errors import DaybookError
from loaders.files import opened
from loaders.ledger import Rejects
from loaders.partition import NewPartition
from loaders.plan import Plan, Scanned
from loaders.prepared import Prepared
from loaders.read_csv import Count, note_header, read_csv
from loaders.read_json import read_json
from loaders.read_parquet import read_parquet
from loaders.records import Fields, Reject, Row

# Among many files a CSV below this is parsed: a COPY of its own would cost more.
SMALL_CSV = 64 << 10
FEW_FILES = 20


@dataclass
class Attempt:
    """What one attempt has read so far."""

    plan: Plan
    told: Callable[[bytes], None] | None
    # Files that Postgres refused as they are: they are parsed here.
    parsed: set[str] = field(default_factory=set)
    rejects: Rejects = field(default_factory=Rejects)
    fields: Fields = field(default_factory=Fields)
    records: dict[str, int] = field(default_factory=dict)

    def restart(self) -> None:
        self.rejects.clear()
        self.fields = Fields()
        self.records = {}


class RefusedFile(Exception):
    """COPY would not take this file as it is."""


def copy_all(partition: NewPartition, attempt: Attempt) -> int:
    """COPY every file: large clean CSVs as they are, all others parsed, in one stream."""
    import psycopg

    if attempt.plan.prepared:
        return _copy_prepared(partition, attempt, attempt.plan.prepared)
    files = attempt.plan.files or ()
    few = len(files) <= FEW_FILES
    streamed: list[Scanned] = []
    parsed: list[Scanned] = []
    for scanned in files:
        if scanned.header is not None and scanned.file.format != "json":
            note_header(scanned.header, attempt.plan.table, attempt.fields)
        as_it_is = (
            scanned.plain
            and scanned.file.path not in attempt.parsed
            and (few or scanned.file.bytes > SMALL_CSV)
        )
        (streamed if as_it_is else parsed).append(scanned)
    landed = 0
    for scanned in streamed:
        assert scanned.header is not None  # without one nothing is plain
        count = Count(scanned.file, quick=True)
        try:
            rows = partition.copy_bytes(scanned.file, scanned.header, count, attempt.told)
        except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded):
            raise RefusedFile(scanned.file.path) from None
        # Blank lines, or the \. that ends the data for servers before 18: parsing tells them.
        if rows != count.records():
            raise RefusedFile(scanned.file.path)
        attempt.records[scanned.file.path] = rows
        landed += rows
    if parsed:
        landed += partition.copy_rows(_good_rows(attempt, parsed))
    return landed


def _copy_prepared(partition: NewPartition, attempt: Attempt, found: Prepared) -> int:
    for path, reject in found.rejects():
        attempt.rejects.add(path, reject)
    attempt.fields = found.fields
    attempt.records = dict(found.records)
    return partition.copy_parts(found.parts, attempt.told)


def _good_rows(attempt: Attempt, files: list[Scanned]) -> Iterator[tuple[str, Row]]:
    for scanned in files:
        path = scanned.file.path
        found = 0
        for record in _read(scanned, attempt):
            found += 1
            if isinstance(record, Reject):
                attempt.rejects.add(path, record)
            else:
                yield path, record
        if scanned.records is not None and found != scanned.records:
            raise DaybookError(f"{path}: {scanned.records} records counted, {found} read.")
        attempt.records[path] = found


def _read(scanned: Scanned, attempt: Attempt) -> Iterator[Row | Reject]:
    table, file = attempt.plan.table, scanned.file
    if file.format == "parquet":
        yield from read_parquet(file, table)
        if attempt.told:
            attempt.told(bytes(file.bytes))
        return
    with opened(file, attempt.told) as stream:
        if file.format == "json":
            yield from read_json(file, stream, table, attempt.fields)
        elif scanned.header is not None:
            yield from read_csv(file, stream, table, scanned.header)
