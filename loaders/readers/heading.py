"""What stands where a file's header should: the header, or why it is none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from loaders.errors import DaybookError
from loaders.raw_file import RawFile
from loaders.readers import guess
from loaders.readers.mapping import Header, Mapping

MOST_COLUMNS = 1_600  # what a table of Postgres can have


def headed(
    fields: list[str],
    file: RawFile,
    mapping: Mapping,
    read: str,
    below: Iterable[Sequence[str]],
    line: str = "",
) -> Header:
    """The header that `fields` are, with the lines `below` it; DaybookError when they are none.
    `read`: what was read."""
    try:
        return keyed(check_names(fields, file), file, mapping, read, line)
    except DaybookError:
        if not any(_is_header(names, mapping) for names in below):
            raise
        raise DaybookError(
            f"{file.path}: its header is further down: delete what stands above it. "
            f"{guess.begins(read, mapping.table, guess.HEADER_SHOWN)}."
        ) from None


def _is_header(names: Sequence[str], mapping: Mapping) -> bool:
    # a value may be a column's name by chance (the language id), two hardly
    header = Header([name.strip() for name in names], mapping)
    return not header.missing_key() and len(names) - len(header.unknown) > 1


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
    first: dict[str, int] = {}
    places = [place for place, name in enumerate(names, 1) if first.setdefault(name, place) < place]
    if again := [str(place) for place in places if names[place - 1]]:
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
