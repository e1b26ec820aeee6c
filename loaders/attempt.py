"""One attempt at a table's files: the large plain CSVs go to COPY as bytes, the rest is parsed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from loaders.errors import DaybookError
from loaders.ledger import Rejects
from loaders.partition import NewPartition
from loaders.plan import Plan, Scanned
from loaders.prepared import Prepared
from loaders.raw_file import opened
from loaders.readers import csv_file, json_file, parquet_file, sheet_file
from loaders.readers.csv_count import BareQuote, QuickCount
from loaders.readers.json_fast import Fast
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Found, Pieces, Reject, UnreadableError, pieces

# Among many files a CSV below this is parsed: a COPY of its own would cost more.
SMALL_CSV = 64 << 10
FEW_FILES = 20
# What reading may be ahead of counting, and how tight a gzip can be.
AHEAD, TIGHTEST = 4 << 20, 1032
SHORTEST = 8  # bytes of a record of JSON that has a key
FIRST_LOOK = 100  # rejects before it is asked whether to go on


class Attempt:
    """What one attempt has read so far."""

    def __init__(
        self, plan: Plan, allow_empty: bool, told: Callable[[bytes], None] = lambda data: None
    ) -> None:
        self.plan = plan
        self.mapping = Mapping(plan.table)
        self.allow_empty = allow_empty
        # Files that Postgres refused as they are: they are parsed here.
        self.parsed: set[str] = set()
        self.rejects = Rejects()
        self._told = told
        self.restart()

    def restart(self) -> None:
        self.rejects.clear()
        self.found = Found()
        self.fast = Fast(self.mapping, self.found)
        self.records: dict[str, int] = {}
        self.rows = 0
        self._left = sum(
            scanned.file.bytes * (TIGHTEST if scanned.file.compressed else 1)
            for scanned in self.plan.files or ()
        )

    def told(self, data: bytes) -> None:
        self._left -= len(data)
        self._told(data)

    def put_aside(self, path: str, reject: Reject, shortest: int) -> None:
        """Keeps a reject. DaybookError once the rest can't bring them below the limit."""
        self.rejects.add(path, reject)
        count = self.rejects.count
        if reject.landed or count % FIRST_LOOK:
            return
        most = self.rows + count + (max(self._left, 0) + AHEAD) // shortest
        if count > self.plan.table.max_reject_share * most:
            raise too_many(self, f"{path}: {reject.reason}")


def too_many(attempt: Attempt, first: str = "") -> DaybookError:
    """What is said of a table with too many rejects, with the first of them."""
    table, rejects = attempt.plan.table, attempt.rejects
    among = sum(attempt.records.values())
    of = f"{rejects.count} of {among}" if not first else f"already {rejects.count}"
    share = f"{rejects.count / among:.1%}, " if among and not first else ""
    for path, number, reason, _, landed in rejects:
        if not landed:
            first = f"{path}, record {number}: {reason}"
            break
    return DaybookError(
        f"{table.name}: {of} records can't be landed ({share}{table.max_reject_share:.0%} are "
        f"allowed); the first is {first}. bronze.load_rejects shows them."
    )


class RefusedFile(Exception):
    """COPY would not take this file as it is."""


def copy_all(partition: NewPartition, attempt: Attempt) -> int:
    """COPY every file: large plain CSVs as they are, all others parsed, in one stream."""
    import psycopg

    plan = attempt.plan
    if plan.prepared:
        return _copy_prepared(partition, attempt, plan.prepared)
    files = plan.files or ()
    few = len(files) <= FEW_FILES
    parsed: list[Scanned] = []
    noted: set[tuple[str, ...]] = set()
    landed = 0
    for scanned in files:
        file = scanned.file
        if scanned.header is not None and scanned.header not in noted:
            noted.add(scanned.header)
            attempt.mapping.header(scanned.header).note(attempt.found)
        large = few or file.bytes > SMALL_CSV
        if not scanned.streamed or not large or file.path in attempt.parsed:
            parsed.append(scanned)
            continue
        delimiter = plan.table.delimiter
        count = QuickCount(file.path, delimiter)
        try:
            rows = partition.copy_bytes(file, scanned.streamed, delimiter, count, attempt.told)
            counted = count.records()
        except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded, BareQuote):
            raise RefusedFile(file.path) from None
        # Blank lines, or the \. that ends the data for servers before 18: parsing tells them.
        if rows != counted:
            raise RefusedFile(file.path)
        attempt.records[file.path] = rows
        landed += rows
    if parsed:
        landed += partition.copy_pieces(_all_pieces(attempt, parsed))
    return landed


def _copy_prepared(partition: NewPartition, attempt: Attempt, found: Prepared) -> int:
    for path, reject in found.rejects():
        attempt.rejects.add(path, reject)
    attempt.found = found.found
    attempt.records = dict(found.records)
    return partition.copy_parts(found.parts, attempt.told)


def _all_pieces(attempt: Attempt, files: list[Scanned]) -> Iterator[bytes]:
    for scanned in files:
        path = scanned.file.path
        before, rows = attempt.rejects.count, 0
        shortest = max(len(scanned.header or ()), 1) if scanned.header else SHORTEST
        attempt.found.put_aside = (
            lambda reject, path=path, shortest=shortest: attempt.put_aside(path, reject, shortest)  # type: ignore[misc]
        )
        for piece, many in _read(scanned, attempt):
            rows += many
            attempt.rows += many
            yield piece
        found = rows + attempt.rejects.count - before
        if scanned.records is not None and found != scanned.records:
            raise DaybookError(f"{path}: {scanned.records} records counted, {found} read.")
        attempt.records[path] = found


def _read(scanned: Scanned, attempt: Attempt) -> Pieces:
    file, found, mapping = scanned.file, attempt.found, attempt.mapping
    found.blank = scanned.header is None and file.format != "json"
    header = mapping.header(scanned.header or ())
    if file.format == "json":
        with opened(file, attempt.told, mapping.table.encoding) as stream:
            yield from json_file.read_json(file, stream, mapping, found, attempt.fast)
    elif file.format == "csv" and scanned.header is not None:
        with opened(file, attempt.told, mapping.table.encoding) as stream:
            records = csv_file.read_csv(file, stream, mapping, header)
            yield from pieces(records, file.path, found)
    elif scanned.header is not None:
        read = parquet_file.read_parquet if file.format == "parquet" else None
        records = read(file, mapping) if read else sheet_file.read_sheet(file, mapping, header)
        yield from pieces(records, file.path, found)
        attempt.told(bytes(file.bytes))
    if found.blank:
        check_blank(scanned, attempt.plan, attempt.allow_empty)


def check_blank(scanned: Scanned, plan: Plan, allow_empty: bool) -> None:
    """A file of no bytes among others is a page that was lost; alone it is an empty delta."""
    snapshot = plan.table.kind == "snapshot" and not allow_empty
    if snapshot or len(plan.files or ()) > 1:
        raise UnreadableError(
            f"{scanned.file.path}: it has no bytes: fetch it again. Nothing was replaced."
        )
