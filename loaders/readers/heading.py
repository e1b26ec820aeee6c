"""A file's header: its names checked and mapped to columns, or an error that says what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from loaders.errors import DaybookError, many
from loaders.raw_file import RawFile
from loaders.readers import guess
from loaders.readers.mapping import Header, Mapping

MOST_COLUMNS = 1_600  # what a table of Postgres can have
_Line = TypeVar("_Line")


def first_line(lines: Iterator[_Line], file: RawFile, mapping: Mapping) -> _Line | None:
    """The header of a file's lines with content: the first that is not skipped. None when there is
    no line at all, DaybookError when all are skipped."""
    declared = mapping.table.skip_lines
    skipped = sum(1 for _ in islice(lines, declared))
    first = next(lines, None)
    if first is None and skipped:
        raise DaybookError(
            f"{file.path}: no header follows its {many(skipped, 'line')}, of which skip_lines: "
            f"{declared} passes over all. Is the header among them, or the file cut?"
        )
    return first


def headed(
    fields: list[str],
    file: RawFile,
    mapping: Mapping,
    read: str,
    below: Iterable[Sequence[str]],
    line: str = "",
) -> Header:
    """The header in `fields`, checked. DaybookError when it can't be used, or when one of the lines
    `below` it is the header. `read` quotes for the message what was read."""
    try:
        return keyed(check_names(fields, file), file, mapping, read, line)
    except DaybookError:
        above = mapping.table.skip_lines + 1
        at = next((n for n, names in enumerate(below, above) if _is_header(names, mapping)), None)
        if at is None:
            raise
        raise DaybookError(
            f"{file.path}: its header is further down: delete what stands above it, or declare "
            f"skip_lines: {at}. {guess.begins(read, mapping.table, guess.HEADER_SHOWN)}."
        ) from None


def _is_header(names: Sequence[str], mapping: Mapping) -> bool:
    # one value may be a column's name by chance (the language id), two hardly
    header = Header([name.strip() for name in names], mapping)
    return not header.missing_key() and len(names) - len(header.unknown) > 1


def keyed(
    names: Sequence[str], file: RawFile, mapping: Mapping, read: str, line: str = ""
) -> Header:
    """The header of these names; DaybookError when it lacks the key. `read` as in `headed`."""
    header = mapping.header(names)
    if missing := header.missing_key():
        table = mapping.table
        advice = guess.of_header(header.names, line, table.delimiter, table)
        if table.skip_lines:
            advice += f"; or the header is one of the {table.skip_lines} above it"
        raise DaybookError(
            f"{file.path}: the key column {', '.join(missing)} is missing. "
            f"{guess.begins(read, table, guess.HEADER_SHOWN)}"
            f" ({many(len(names), 'name')}); {advice}."
        )
    return header


def check_names(fields: list[str], file: RawFile) -> list[str]:
    """A header's names, stripped; DaybookError for too many, for an empty or a repeated one."""
    names = [name.strip() for name in fields]
    if len(names) > MOST_COLUMNS:
        raise DaybookError(
            f"{file.path}: the header has {len(names)} columns; {MOST_COLUMNS} are the most."
        )
    first: dict[str, int] = {}
    repeated = [at for at, name in enumerate(names, 1) if first.setdefault(name, at) < at]
    if again := [str(place) for place in repeated if names[place - 1]]:
        raise DaybookError(
            f"{file.path}: the header repeats a name, in column {', '.join(again[:20])}. "
            "Give each column a name of its own."
        )
    if "" in names:
        index, hint = names.index(""), ""
        if not index:
            hint = ". Is it pandas' index column? Write the file with index=False"
        elif not any(names[index:]) and file.format == "csv":
            hint = f": the line {guess.ENDS_SO}"
        raise DaybookError(f"{file.path}: column {index + 1} of the header has no name{hint}.")
    return names
