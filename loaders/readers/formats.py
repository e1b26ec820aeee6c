"""Which reader each format has: a file is looked at, then read as bytes for COPY."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import IO

from loaders.raw_file import RawFile, opened, sha256
from loaders.readers import csv_file, json_file, parquet_file, sheet_file
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Found, Pieces, Reject, UnreadableError, pieces

Opening = Callable[[], AbstractContextManager[IO[bytes]]]


@dataclass(frozen=True)
class Scanned:
    """A raw file and what was read of it: `records` is None where reading it is what counts them.

    `header`: the names of a CSV, a sheet or a Parquet file, None for JSON and where there is none.
    `streamed`: the columns that its bytes go to as they are, None when it is parsed.
    """

    file: RawFile
    sha256: str
    header: tuple[str, ...] | None = None
    records: int | None = None
    streamed: tuple[str, ...] | None = None


def scan(file: RawFile, mapping: Mapping) -> Scanned:
    """Hash a file and read its header; DaybookError when that can't be used."""
    digest = sha256(file)
    if file.format == "json":
        return Scanned(file, digest)
    if file.format == "parquet":
        header, records = parquet_file.scan_parquet(file, mapping)
        return Scanned(file, digest, header.names, records)
    reading = csv_file.read_csv_header if file.format == "csv" else sheet_file.read_sheet_header
    found = reading(file, mapping)
    if found is None:
        return Scanned(file, digest, records=0)
    streamed = found.streamed if file.format == "csv" else None
    return Scanned(file, digest, found.names, streamed=streamed)


def has_record(scanned: Scanned, mapping: Mapping) -> bool:
    """Whether there is any record, good or broken."""
    if scanned.records is not None:
        return scanned.records > 0
    rejected: deque[Reject] = deque(maxlen=1)
    try:
        pieces_read = read_pieces(scanned, mapping, Found(put_aside=rejected.append))
        return any(True for _ in pieces_read) or bool(rejected)
    except UnreadableError:
        return True  # not empty; landing says what is wrong with it


def read_pieces(
    scanned: Scanned,
    mapping: Mapping,
    found: Found,
    opening: Opening | None = None,
    first: int | None = None,
) -> Pieces:
    """The file's records as bytes for COPY, rejects to `found`. `opening` gives its bytes otherwise
    than from the beginning: then `first` is the number of the first record in them (0: a CSV's
    header), each on its lines.

    UnreadableError for a file that is of no use as a whole.
    """
    file = scanned.file
    opening = opening or partial(opened, file, encoding=mapping.table.encoding)
    found.blank = scanned.header is None and file.format != "json"
    if found.blank:
        return
    header = mapping.header(scanned.header or ())
    if file.format == "parquet":
        yield from pieces(parquet_file.read_parquet(file, mapping), file.path, found)
    elif file.format == "xlsx":
        yield from pieces(sheet_file.read_sheet(file, mapping, header), file.path, found)
    else:
        with opening() as stream:
            if file.format == "json":
                yield from json_file.read_json(file, stream, mapping, found, first)
            else:
                records = csv_file.read_csv(file, stream, mapping, header, first or 0)
                yield from pieces(records, file.path, found)
