"""One reading of a table's files: rows for COPY, what is put aside, and what was found besides."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from loaders.errors import DaybookError
from loaders.partition import NewPartition
from loaders.plan import Plan, check_blank
from loaders.prepared import Prepared
from loaders.raw_file import RawFile
from loaders.readers.csv_count import MustBeParsed, QuickCount
from loaders.readers.formats import Scanned, read_pieces
from loaders.readers.json_fast import Fast
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Found, Reject

Progress = Callable[[str, int, int], None]
SHOWN_EVERY = 4 << 20  # bytes read, between two calls of progress
# Among many files a CSV below this is parsed: a COPY of its own would cost more.
SMALL_CSV = 64 << 10
FEW_FILES = 20
IN_MEMORY = 8 << 20  # characters of rejects; more are kept on disk
# What reading may be ahead of counting, and how tight a gzip can be.
AHEAD, TIGHTEST = 4 << 20, 1032
SHORTEST = 8  # bytes of a record of JSON that has a key
FIRST_LOOK = 100  # rejects before it is asked whether to go on


class Rejects:
    """What was put aside. `count` are those that did not land, `repaired` those that did."""

    def __init__(self) -> None:
        self._lines = tempfile.SpooledTemporaryFile(  # noqa: SIM115
            max_size=IN_MEMORY, mode="w+", encoding="utf-8"
        )
        self.count = self.repaired = 0

    def add(self, path: str, reject: Reject) -> None:
        columns = [path, reject.number, reject.reason, reject.raw, reject.landed]
        self._lines.write(json.dumps(columns) + "\n")
        self.count += not reject.landed
        self.repaired += reject.landed

    def __iter__(self) -> Iterator[list[Any]]:
        self._lines.seek(0)
        return (json.loads(line) for line in self._lines)


class Reading:
    """`records` are those of each file that was read, `found` is what its fields are.

    `progress(table, bytes read, bytes in all)`. `as_they_are`: large plain CSVs may go to COPY
    unparsed.
    """

    def __init__(self, plan: Plan, allow_empty: bool, progress: Progress | None = None) -> None:
        self.plan = plan
        self.mapping = Mapping(plan.table)
        self.allow_empty = allow_empty
        self.as_they_are = True
        self._progress = progress
        self._total = sum(file.bytes for file in plan.to_read)
        self._tight = any(file.compressed for file in plan.to_read)
        self.begin()

    def begin(self) -> None:
        """All from the start, as if nothing had been read."""
        self.rejects = Rejects()
        self.found = Found(put_aside=self._put_aside)
        self._fast = Fast(self.mapping, self.found)
        self.records: dict[str, int] = {}
        self._rows = self._read = self._shown = 0
        headers = {scanned.header for scanned in self.plan.files or () if scanned.header}
        for header in headers:
            self.mapping.header(header).note(self.found)

    def pieces(self, files: Iterable[Scanned]) -> Iterator[bytes]:
        """The files' rows as COPY's CSV; DaybookError for one that can't land."""
        for scanned in files:
            self._file = scanned
            rows, rejected = self._rows, self.rejects.count
            for piece, many in read_pieces(
                scanned, self.mapping, self.found, self._fast, self.on_read
            ):
                self._rows += many
                yield piece
            if self.found.blank:
                check_blank(scanned, self.plan, self.allow_empty)
            path = scanned.file.path
            read = self._rows - rows + self.rejects.count - rejected
            if scanned.records not in (None, read):
                raise DaybookError(f"{path}: {scanned.records} records counted, {read} read.")
            self.records[path] = read

    def _take(self, prepared: Prepared) -> None:
        """What Spark has read: its rows are in its part files."""
        for path, reject in prepared.rejects():
            self.rejects.add(path, reject)
        self.found, self.records = prepared.found, dict(prepared.records)

    def copy_into(self, partition: NewPartition) -> int:
        """COPY every file, large plain CSVs as they are, the others parsed, in one stream; rows.
        MustBeParsed when one of the former can't be taken so."""
        if self.plan.prepared:
            self._take(self.plan.prepared)
            return partition.copy_parts(self.plan.prepared.parts, self.on_read)
        files = self.plan.files or ()
        smallest = SMALL_CSV if len(files) > FEW_FILES else -1
        parsed, landed = [], 0
        for scanned in files:
            if scanned.streamed and self.as_they_are and scanned.file.bytes > smallest:
                landed += self._copy_as_it_is(partition, scanned.file, scanned.streamed)
            else:
                parsed.append(scanned)
        if parsed:
            landed += partition.copy_pieces(self.pieces(parsed))
        return landed

    def _copy_as_it_is(
        self, partition: NewPartition, file: RawFile, columns: tuple[str, ...]
    ) -> int:
        import psycopg

        delimiter = self.plan.table.delimiter
        count = QuickCount(file.path, delimiter, self.mapping.habits_of(columns))
        try:
            rows = partition.copy_bytes(file, columns, delimiter, count.add, self.on_read)
        except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded):
            raise MustBeParsed from None
        # Blank lines, or the \\. that ends the data for servers before 18: parsing tells them.
        if rows != count.records():
            raise MustBeParsed
        self.records[file.path] = rows
        return rows

    def on_read(self, size: int) -> None:
        """So many more bytes of the files were read."""
        self._read += size
        done = min(self._read, self._total)
        if self._progress and (done - self._shown >= SHOWN_EVERY or done == self._total):
            self._shown = done
            self._progress(self.plan.table.name, done, self._total)

    def _put_aside(self, reject: Reject) -> None:
        """DaybookError once the rest of the files can't bring the rejects below the limit."""
        self.rejects.add(self._file.file.path, reject)
        count = self.rejects.count
        if reject.landed or count % FIRST_LOOK:
            return
        left = max(self._total - self._read, 0) * (TIGHTEST if self._tight else 1) + AHEAD
        most = self._rows + count + left // (len(self._file.header or ()) or SHORTEST)
        if count > self.plan.table.max_reject_share * most:
            raise self._too_many(f"already {count}", "")

    def source_files(self) -> list[dict[str, Any]]:
        """The files as the ledger keeps them, with how many records each has."""
        return [
            {
                "path": scanned.file.path,
                "bytes": scanned.file.bytes,
                "sha256": scanned.sha256,
                "records": self.records.get(scanned.file.path, scanned.records),
            }
            for scanned in self.plan.files or ()
        ]

    def check_rejects(self) -> None:
        """DaybookError when they are more than the table allows."""
        count, among = self.rejects.count, sum(self.records.values())
        if count > self.plan.table.max_reject_share * among:
            raise self._too_many(f"{count} of {among}", f"{count / among:.1%}, ")

    def _too_many(self, count: str, share: str) -> DaybookError:
        table = self.plan.table
        path, number, reason, *_ = next(reject for reject in self.rejects if not reject[-1])
        return DaybookError(
            f"{table.name}: {count} records can't be landed ({share}{table.max_reject_share:.0%} "
            f"are allowed); the first is {path}, record {number}: {reason}. "
            "bronze.load_rejects shows them."
        )
