"""What a CSV's header says, and whether the file's bytes may go to COPY as they are."""

from __future__ import annotations

import io
from collections.abc import Sequence

from loaders.errors import DaybookError
from loaders.raw_file import RawFile, opened
from loaders.readers import guess
from loaders.readers.csv_file import records_of
from loaders.readers.mapping import Header, Mapping
from loaders.readers.rows import UNSTORABLE, UnreadableError, why_unstorable
from loaders.schema import Table

HEADER_LIMIT = 1 << 20
MOST_COLUMNS = 1_600  # what a table of Postgres can have


def look(file: RawFile, mapping: Mapping) -> tuple[Header | None, tuple[str, ...] | None]:
    """What the first line with content says, None when the file has no content; and the columns
    to COPY the file's bytes into as they are, None when it is to be parsed.

    DaybookError for a header that can't be used, with what it probably is.
    """
    table = mapping.table
    with opened(file, encoding=table.encoding) as stream:
        head = stream.read(HEADER_LIMIT + 1)
    if (kind := guess.kind_of_bytes(head)) is not None:
        raise UnreadableError(f"{file.path}: {kind}.", f"It begins with {_begins(head, table)}")
    first = next(records_of(io.BytesIO(head).read, file.path, table.delimiter), None)
    if first is None:
        return None, None
    line, fields, open_quote = first
    if len(head) > HEADER_LIMIT and (open_quote or not line.endswith(("\n", "\r"))):
        raise DaybookError(f"{file.path}: the header is longer than 1 MiB.")
    if open_quote:
        raise DaybookError(f"{file.path}: the header leaves a quote open.")
    if UNSTORABLE.search(line):
        raise DaybookError(
            f"{file.path}: the header is not UTF-8 ({why_unstorable(line)}): save the file as "
            "UTF-8, or declare its encoding, such as cp1252."
        )
    header = keyed(check_names(fields, file), file, mapping, f"The header as read: {line}", line)
    return header, _streams(header, mapping)


def keyed(
    names: Sequence[str], file: RawFile, mapping: Mapping, read: str, line: str = ""
) -> Header:
    """The header of these names; DaybookError when it lacks the key. `read`: what was read."""
    header = mapping.header(names)
    if missing := header.missing_key():
        table = mapping.table
        meant = guess.of_header(header.names, line, table.delimiter, table)
        raise DaybookError(
            f"{file.path}: the key column {', '.join(missing)} is missing. "
            f"{guess.begins(read, table, guess.HEADER_SHOWN)} ({len(names)} names); {meant}."
        )
    return header


def check_names(fields: list[str], file: RawFile) -> list[str]:
    """The names of a header; DaybookError for names that can't be told apart."""
    names = [name.strip() for name in fields]
    if len(names) > MOST_COLUMNS:
        raise DaybookError(
            f"{file.path}: the header has {len(names)} columns; {MOST_COLUMNS} are the most."
        )
    seen: set[str] = set()
    again = []
    for place, name in enumerate(names, start=1):
        if name and name in seen:
            again.append(str(place))
        seen.add(name)
    if again:
        raise DaybookError(
            f"{file.path}: the header repeats a name, in column {', '.join(again[:20])}. "
            "Give each column a name of its own."
        )
    if "" in names:
        index = names.index("")
        hint = (
            ". Is it pandas' index column? Write the file with index=False"
            if not index
            else f"; {guess.EXCELS_LINE}"
            if names[0].lower() == "sep="
            else ""
        )
        raise DaybookError(f"{file.path}: column {index + 1} of the header has no name{hint}.")
    return names


def _begins(head: bytes, table: Table) -> str:
    """The first line, whatever it is: no value of the records behind it."""
    text = head[: 8 * guess.HEADER_SHOWN].decode("utf-8", "replace").replace("\0", "")
    return guess.begins(text.lstrip().partition("\n")[0], table)


def _streams(header: Header, mapping: Mapping) -> tuple[str, ...] | None:
    """Parsed is what the declaration asks to change. Of a single column, COPY takes a blank line
    for a record."""
    columns = header.one_to_one
    if columns is None or len(columns) < 2 or mapping.table.encoding != "utf-8":
        return None
    absent = set(mapping.names) - set(columns)
    return None if any(mapping.names[place] in absent for place in mapping.declared) else columns
