"""Calls the reader of a file's format: to scan the file, then to read it as bytes for COPY."""

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
from loaders.readers.rows import Observed, Pieces, Reject, UnreadableError, pieces

Opening = Callable[[], AbstractContextManager[IO[bytes]]]


@dataclass(frozen=True)
class Scanned:
    """A raw file and what its scan found. `records`: their number, None until the file is read.

    `header`: the names of a CSV, a sheet or a Parquet file; None for JSON and an empty file.
    `streamed`: the columns into which COPY reads the file's own bytes; None when it is parsed.
    """

    file: RawFile
    sha256: str
    header: tuple[str, ...] | None = None
    records: int | None = None
    streamed: tuple[str, ...] | None = None


def scan(file: RawFile, mapping: Mapping) -> Scanned:
    """Hash a file and read its header; DaybookError when the header can't be used."""
    digest = sha256(file)
    if file.format == "json":
        return Scanned(file, digest)
    if file.format == "parquet":
        header, records = parquet_file.scan_parquet(file, mapping)
        return Scanned(file, digest, header.names, records)
    reading = csv_file.read_csv_header if file.format == "csv" else sheet_file.read_sheet_header
    heading = reading(file, mapping)
    if heading is None:
        return Scanned(file, digest, records=0)
    streamed = heading.streamed if file.format == "csv" else None
    return Scanned(file, digest, heading.names, streamed=streamed)


def has_record(scanned: Scanned, mapping: Mapping) -> bool:
    """Whether the file has any record, good or broken."""
    if scanned.records is not None:
        return scanned.records > 0
    rejected: deque[Reject] = deque(maxlen=1)
    try:
        pieces_read = read_pieces(scanned, mapping, Observed(put_aside=rejected.append))
        return any(True for _ in pieces_read) or bool(rejected)
    except UnreadableError:
        return True  # not empty; landing says what is wrong with it


def read_pieces(
    scanned: Scanned,
    mapping: Mapping,
    observed: Observed,
    opening: Opening | None = None,
    first: int | None = None,
) -> Pieces:
    """The file's records as bytes for COPY; rejects go to `observed`. For a slice of a file
    `opening` opens its bytes, `first` is the number of its first record (0: a CSV's header), and
    each JSON record is on a line of its own.

    UnreadableError for a file that is of no use as a whole.
    """
    file = scanned.file
    opening = opening or partial(opened, file, encoding=mapping.table.encoding)
    observed.blank = scanned.header is None and file.format != "json"
    if observed.blank:
        return
    header = mapping.header(scanned.header or ())
    if file.format == "parquet":
        yield from pieces(parquet_file.read_parquet(file, mapping), file.path, observed)
    elif file.format == "xlsx":
        yield from pieces(sheet_file.read_sheet(file, mapping, header), file.path, observed)
    else:
        with opening() as stream:
            if file.format == "json":
                yield from json_file.read_json(file, stream, mapping, observed, first)
            else:
                records = csv_file.read_csv(file, stream, mapping, header, first or 0)
                yield from pieces(records, file.path, observed)
