"""Calls the reader of a file's format: to scan the file, then to read it as bytes for COPY."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from loaders.raw_file import RawFile, opened, sha256
from loaders.readers import csv_file, json_file, parquet_file, sheet_file
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Observed, Pieces, Reject, UnreadableError, pieces

# Of a file's name: a page's number, the format, .gz.
_ENDING = re.compile(r"(\.[0-9]+)?\.[a-z]+(\.gz)?\Z", re.IGNORECASE)


def scan(file: RawFile, mapping: Mapping) -> RawFile:
    """Hash a file and read its header; DaybookError when the header can't be used."""
    file = replace(file, sha256=sha256(file))
    if file.format == "json":
        return file
    if file.format == "parquet":
        header, records = parquet_file.scan_parquet(file, mapping)
        return replace(file, header=header.names, records=records)
    reading = csv_file.read_csv_header if file.format == "csv" else sheet_file.read_sheet_header
    heading = reading(file, mapping)
    if heading is None:
        return replace(file, records=0)
    streamed = heading.streamed if file.format == "csv" else None
    return replace(file, header=heading.names, streamed=streamed)


def has_record(file: RawFile, mapping: Mapping) -> bool:
    """Whether a scanned file has any record, good or broken."""
    if file.records is not None:
        return file.records > 0
    rejected: deque[Reject] = deque(maxlen=1)
    try:
        pieces_read = read_pieces(file, mapping, Observed(put_aside=rejected.append))
        return any(True for _ in pieces_read) or bool(rejected)
    except UnreadableError:
        return True  # not empty; landing says what is wrong with it


def read_pieces(
    file: RawFile,
    mapping: Mapping,
    observed: Observed,
    on_read: Callable[[int], None] = lambda size: None,
) -> Pieces:
    """The records of a scanned file, or of a slice of it, as bytes for COPY; rejects go to
    `observed`. `on_read` as in `opened`, for a format that is read from beginning to end.

    UnreadableError for a file that is of no use as a whole.
    """
    observed.blank = file.header is None and file.format != "json"
    if observed.blank:
        return
    header = mapping.header(file.header or ())
    mapping.file_name = _ENDING.sub("", file.path.rpartition("/")[2])
    if file.format == "parquet":
        yield from pieces(parquet_file.read_parquet(file, mapping), file.path, observed)
    elif file.format == "xlsx":
        yield from pieces(sheet_file.read_sheet(file, mapping, header), file.path, observed)
    else:
        with opened(file, on_read, mapping.table.encoding) as stream:
            if file.format == "json":
                yield from json_file.read_json(file, stream, mapping, observed)
            else:
                records = csv_file.read_csv(file, stream, mapping, header)
                yield from pieces(records, file.path, observed)
