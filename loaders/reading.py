"""Reads a table's files once: rows for COPY, rejects, and what the files' fields are."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from loaders.errors import DaybookError, many
from loaders.partition import NewPartition
from loaders.plan import Plan
from loaders.raw_file import RawFile, opened
from loaders.readers.csv_count import MustBeParsed, QuickCount
from loaders.readers.formats import read_pieces
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Observed, Reject, Rejects, UnreadableError

# Among many files a CSV below this is parsed: a COPY of its own would cost more.
SMALL_CSV = 64 << 10
FEW_FILES = 20
PIECE = 1 << 16  # bytes of a CSV in one write to COPY
SHORTEST = 8  # bytes of a JSON record with a key; a CSV's has a byte for each column
REJECTS_OF_FAILED = 1000  # a failed batch keeps so many
SEEKABLE = ("parquet", "xlsx")  # formats that are not read from beginning to end


class Reading:
    """Reads the `parts` of a table's files, by default all. `read` is the result, with `rejects`.
    `tell(bytes, rows)` is called with how much more was read; negative when reading restarts."""

    def __init__(
        self,
        plan: Plan,
        tell: Callable[[int, int], None] = lambda size, rows: None,
        parts: Sequence[RawFile] | None = None,
    ) -> None:
        self.plan = plan
        self.parts = parts or plan.files or ()
        self.mapping = Mapping(plan.table)
        self.tell, self._bytes_read, self._rows_read = tell, 0, 0
        self._most_rejects = _most_rejects(plan)
        self._begin()

    def _begin(self) -> None:
        """Start from the beginning: nothing has been read."""
        self.rejects = Rejects()
        self.read = Observed(put_aside=self._put_aside)
        headers = {file.header for file in self.plan.files or () if file.header}
        for header in headers:
            self.mapping.header(header).note(self.read)

    def copy_into(self, partition: NewPartition) -> None:
        """Fill the partition: COPY takes large plain CSVs unchanged, and all other files parsed. If
        it can't take one of those CSVs, all are parsed."""
        try:
            with partition.filled():
                self._copy(partition, SMALL_CSV if len(self.parts) > FEW_FILES else -1)
        except MustBeParsed:
            self.tell(-self._bytes_read, -self._rows_read)
            self._begin()
            with partition.filled():
                self._copy(partition, math.inf)

    def _copy(self, partition: NewPartition, smallest: float) -> None:
        """CSVs larger than `smallest` bytes go to COPY unchanged where they may; MustBeParsed."""
        if prepared := self.plan.prepared:
            self.read.add(prepared.read)
            for text in prepared.rejects():
                self.rejects.add(text)
            self.read.landed += partition.copy_pieces(prepared.pieces(self._on_read))
            return
        parsed = []
        for part in self.parts:
            if part.streamed and part.size > smallest:
                self._copy_unparsed(partition, part, part.streamed)
            else:
                parsed.append(part)
        if parsed:
            self.read.landed += partition.copy_pieces(self.pieces(parsed))

    def pieces(self, parts: Iterable[RawFile]) -> Iterator[bytes]:
        """The rows of the parts as CSV for COPY; DaybookError for a part that can't land."""
        for part in parts:
            self._part = part
            rows, rejected_before = 0, self.read.rejected
            for piece, count in read_pieces(part, self.mapping, self.read, self._on_read):
                rows += count
                self._on_read(0, count)
                yield piece
            if part.format in SEEKABLE:
                self._on_read(part.size)
            # one file of no bytes may be an empty list; among others it is a page that was lost
            may_be_blank = self.plan.may_be_empty and len(self.plan.files or ()) == 1
            if self.read.blank and not may_be_blank:
                is_sheet = part.format == "xlsx"
                what = "its first sheet is empty" if is_sheet else "it has no bytes: fetch it again"
                raise UnreadableError(f"{part.path}: {what}. Nothing was replaced.")
            self._count(part, rows + self.read.rejected - rejected_before)

    def _copy_unparsed(
        self, partition: NewPartition, part: RawFile, columns: tuple[str, ...]
    ) -> None:
        import psycopg

        delimiter, habits = self.plan.table.delimiter, self.mapping.habits_of(columns)
        names = part.header or ()
        count = QuickCount(part.path, delimiter, habits, names=names, header=not part.start)

        def pieces() -> Iterator[bytes]:
            reported = 0
            with opened(part, self._on_read) as stream:
                while piece := stream.read(PIECE):
                    yield piece
                    count.add(piece)  # while Postgres is at work
                    self._on_read(0, count.so_far - reported)
                    reported = count.so_far

        try:
            rows = partition.copy_bytes(part, columns, pieces())
        except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded):
            raise MustBeParsed from None
        # Blank lines, or \\. which ends the data for servers before 18: parsing handles both.
        if rows != count.records():
            raise MustBeParsed
        self.read.landed += rows
        self._count(part, rows)

    def _count(self, part: RawFile, read: int) -> None:
        if part.records is not None and part.records != read:
            raise DaybookError(f"{part.path}: {many(part.records, 'record')} counted, {read} read.")
        self.read.records[part.path] += read

    def _on_read(self, size: int, rows: int = 0) -> None:
        self._bytes_read += size
        self._rows_read += rows
        self.tell(size, rows)

    def _put_aside(self, reject: Reject) -> None:
        """Keep a reject. DaybookError once the rest of the files can't get below the limit."""
        raw = "" if self.plan.table.hashes else reject.raw
        columns = [self._part.path, reject.number, reject.reason, raw, reject.landed]
        self.rejects.add(json.dumps(columns) + "\n")
        self.read.rejected += not reject.landed
        self.read.repaired += reject.landed
        if self.read.rejected > self._most_rejects:
            raise self._too_many(f"already {self.read.rejected}", "")

    def source_files(self) -> list[dict[str, Any]]:
        """The files as the ledger keeps them, each with its number of records."""
        return [
            {
                "path": file.path,
                "bytes": file.bytes,
                "sha256": file.sha256,
                "records": self.read.records.get(file.path, file.records),
            }
            for file in self.plan.files or ()
        ]

    def check(self) -> None:
        """DaybookError for a file without the key, for records that are lost, and for more
        rejects than the table allows."""
        read, table = self.read, self.plan.table
        read.check_keys()
        total = read.records.total()
        if read.landed + read.rejected != total:
            raise DaybookError(
                f"{table.name}: of {many(total, 'record')} in the files {read.landed} landed and "
                f"{read.rejected} were rejected."
            )
        if total and read.rejected / total > table.max_reject_share:  # exact where they are equal
            share = f"{read.rejected / total:.1%}, "
            raise self._too_many(f"{read.rejected} of {total}", share)

    def _too_many(self, count: str, share: str) -> DaybookError:
        table = self.plan.table
        path, number, reason, *_ = next(reject for reject in self.rejects if not reject[-1])
        return DaybookError(
            f"{table.name}: {count} records can't be landed ({share}{table.max_reject_share:.0%} "
            f"are allowed); the first is {path}, record {number}: {reason}. "
            "bronze.load_rejects shows them."
        )


def _most_rejects(plan: Plan) -> float:
    """The number of rejects that is too many even if the files have the most records they can."""
    share, most_records = plan.table.max_reject_share, 0.0
    for file in plan.files or ():
        if file.compressed or file.format in SEEKABLE or share == 1:
            return math.inf
        most_records += file.bytes / (len(file.header or ()) or SHORTEST)
    return max(REJECTS_OF_FAILED, most_records * share / (1 - share))
