"""A day that Spark has read already: its rows and rejects, and what a landing must know of them.

<day>/_daybook.json           the manifest, written last: what it does not name is not there
<day>/<table>/<part>.csv.zst  rows as COPY takes them: declared columns, _extra, file, row
<day>/<table>/<part>.jsonl    a line for each record put aside: file, row, reason, raw text, landed
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders import s3
from loaders.errors import DaybookError
from loaders.raw_file import Format, Place, RawFile, opened, telling
from loaders.readers.rows import PIECE, Found, Reject, UnreadableError
from loaders.schema import Table

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

MANIFEST = "_daybook.json"
VERSION = 6
ROWS, REJECTED = ".csv.zst", ".jsonl"  # by the ending pyarrow packs and unpacks
_PART = re.compile(r"(/[^/]+/[0-9a-f]{32})(\.csv\.zst|\.jsonl)")


@dataclass(frozen=True)
class ReadFile:
    """A raw file that was read."""

    path: str
    format: Format
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ReadTable:
    """A table in the manifest. `files` is None when there were none; `error`: why it can't land,
    and what its file begins with; `records`: how many each file has; `parts`: the names of its
    files of rows and rejects, from the day's folder on; then what was found of fields."""

    name: str
    declared: Any
    files: list[ReadFile] | None
    error: tuple[str, str] | None = None
    records: dict[str, int] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    never: list[str] | None = None
    absent: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Prepared:
    """One table of such a day, for the landing. `files` are the raw ones with their sha256, None
    when there were none; `records` are those counted in each; `error` is why it can't land;
    `parts` and `rejected` are what Spark wrote."""

    table: Table
    files: tuple[tuple[RawFile, str], ...] | None
    error: DaybookError | None
    records: dict[str, int]
    found: Found
    parts: tuple[RawFile, ...]
    rejected: tuple[RawFile, ...]

    def pieces(self, on_read: Callable[[int], None]) -> Iterator[bytes]:
        """The rows, for COPY; `on_read` is told of each file's bytes."""
        for file in self.parts:
            system, path = system_of(file.location)
            with telling(file.location), system.open_input_stream(path) as stream:
                while piece := stream.read(PIECE):
                    yield piece
            on_read(file.bytes)

    def rejects(self) -> Iterator[tuple[str, Reject]]:
        """(path, reject) of each record that was put aside."""
        for file in self.rejected:
            with opened(file) as lines:
                for line in lines:
                    path, *about = json.loads(line)
                    yield path, Reject(*about)


def is_prepared(folder: Place) -> bool:
    """Whether the day's folder is one that Spark wrote."""
    with telling(folder):
        return (folder / MANIFEST).exists()


def write(folder: Place, tables: list[ReadTable], unused: dict[str, str]) -> None:
    """Write the manifest, whole or not at all: with it the day is complete."""
    content = {"version": VERSION, "tables": [asdict(table) for table in tables], "unused": unused}
    # on disk it is renamed when it is whole; in S3 a key is there once it is
    draft = folder / (f"{MANIFEST}.new" if isinstance(folder, Path) else MANIFEST)
    system, path = system_of(draft)
    with system.open_output_stream(path) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
    if isinstance(draft, Path):
        draft.replace(draft.with_name(MANIFEST))


def sweep(folder: Place) -> None:
    """Delete the parts that the manifest does not name: of runs before, of tasks that died."""
    from pyarrow.fs import FileSelector

    system, root = system_of(folder)
    named = {f"/{part}" for table in _manifest(folder)["tables"] for part in table["parts"]}
    for found in system.get_file_info(FileSelector(root, recursive=True)):
        part = _PART.fullmatch(found.path.removeprefix(root))
        if part and part[1] not in named:
            system.delete_file(found.path)


def read(folder: Place, tables: list[Table]) -> list[Prepared]:
    """What the folder has for `tables`. DaybookError when it was made for another declaration."""
    entries = {entry["name"]: entry for entry in _manifest(folder)["tables"]}
    return [_table(folder, table, entries.get(table.name)) for table in tables]


def describe(table: Table) -> Any:
    """The declaration as the manifest keeps it: rows made for another one must not land."""
    return json.loads(json.dumps(astuple(table)))


def unused(folder: Place) -> dict[str, str]:
    """The day's raw files that no table used, as Spark found them."""
    found: dict[str, str] = _manifest(folder)["unused"]
    return found


def system_of(place: Place) -> tuple[FileSystem, str]:
    """pyarrow's file system for a place, and what the place is called there."""
    from pyarrow.fs import LocalFileSystem

    if isinstance(place, s3.S3Path):
        return s3.filesystem(), place.path
    return LocalFileSystem(), str(place)


def _manifest(folder: Place) -> dict[str, Any]:
    system, path = system_of(folder / MANIFEST)
    with telling(folder / MANIFEST), system.open_input_stream(path) as file:
        manifest: dict[str, Any] = json.loads(file.read())
    if manifest.get("version") != VERSION:
        raise DaybookError(
            f"{folder}: another Daybook wrote it. Run python -m loaders.spark again."
        )
    return manifest


def _table(folder: Place, table: Table, entry: dict[str, Any] | None) -> Prepared:
    if entry is None or entry["declared"] != describe(table):
        raise DaybookError(
            f"{folder}: {table.name} was declared otherwise when Spark read it. "
            "Run python -m loaders.spark again."
        )
    files = [ReadFile(**file) for file in entry["files"] or ()]
    there = ReadTable(**entry | {"files": files})
    raw = [
        (RawFile(one.path, folder / one.path, one.format, False, one.bytes, 0), one.sha256)
        for one in files
    ]
    found = Found(
        never=None if there.never is None else dict(enumerate(there.never)),
        absent=set(there.absent),
        unknown=set(there.unknown),
    )
    return Prepared(
        table,
        None if entry["files"] is None else tuple(raw),
        UnreadableError(*there.error) if there.error else None,
        there.records,
        found,
        tuple(_written(folder, part + ROWS, "csv") for part in there.parts),
        tuple(_written(folder, part + REJECTED, "json") for part in there.parts),
    )


def _written(folder: Place, name: str, form: Format) -> RawFile:
    location = folder / name
    with telling(location):
        about: Any = location.stat()
    etag = getattr(about, "etag", None)
    return RawFile(name, location, form, False, about.st_size, about.st_mtime_ns, etag)
