"""A day that Spark has read: its rows and rejects, and the manifest that a landing needs.

<day>/_daybook.json           the manifest, written last: other files don't count
<day>/<table>/<part>.csv.zst  rows as COPY takes them: declared columns, _extra, file, row
<day>/<table>/<part>.jsonl    a line for each reject: file, row, reason, raw text, landed
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from loaders import s3
from loaders.errors import DaybookError
from loaders.raw_file import Format, Place, RawFile, naming_errors_of, opened, versions
from loaders.readers.rows import PIECE, Observed, UnreadableError
from loaders.schema import Table

MANIFEST = "_daybook.json"
VERSION = 10
ROWS, REJECTED = ".csv.zst", ".jsonl"  # pyarrow (un)packs by the ending
_PART = re.compile(r"(/[^/]+/[0-9a-f]{32})(\.csv\.zst|\.jsonl)")


@dataclass(frozen=True)
class Prepared:
    """One table of such a day. `files`: the raw files, None when there were none. `error`: why the
    table can't land. `read`: the counts and fields of all files. `parts`: the names of what was
    written, without endings, relative to the day's folder; `rows` and `rejected`: its files."""

    table: Table
    files: tuple[RawFile, ...] | None
    error: UnreadableError | None = None
    read: Observed = field(default_factory=Observed)
    parts: tuple[str, ...] = ()
    rows: tuple[RawFile, ...] = ()
    rejected: tuple[RawFile, ...] = ()

    def pieces(self, on_read: Callable[[int], None]) -> Iterator[bytes]:
        """The rows, as bytes for COPY. Calls `on_read` with the size of each file that was read."""
        for file in self.rows:
            system, path = system_of(file.location)
            with naming_errors_of(file.location), system.open_input_stream(path) as stream:
                while piece := stream.read(PIECE):
                    yield piece
            on_read(file.bytes)

    def rejects(self) -> Iterator[str]:
        """The rejects, as the lines of JSON that `Rejects` keeps."""
        for file in self.rejected:
            with opened(file) as lines:
                yield from (line.decode() for line in lines)

    def as_json(self) -> dict[str, Any]:
        """The table's entry in the manifest."""
        read, files, error = self.read, self.files, self.error
        return {
            "name": self.table.name,
            "declared": described(self.table),
            "files": files and [[one.path, one.format, one.bytes, one.sha256] for one in files],
            "error": error and [error.public, error.begins],
            "rejected": read.rejected,
            "repaired": read.repaired,
            "records": read.records,
            "missing": sorted(read.missing()),
            "unknown": sorted(read.unknown),
            "parts": self.parts,
        }


def is_prepared(folder: Place) -> bool:
    """Whether Spark wrote the day's folder."""
    with naming_errors_of(folder):
        return (folder / MANIFEST).exists()


def write(folder: Place, tables: list[Prepared], unused: dict[str, str]) -> None:
    """Write the manifest, whole or not at all; it completes the day."""
    entries = [table.as_json() for table in tables]
    content = {"tables": entries, "unused": unused}
    # on disk it is renamed when it is whole; in S3 only a whole key appears
    draft = folder / (f"{MANIFEST}.new" if isinstance(folder, Path) else MANIFEST)
    system, path = system_of(draft)
    with system.open_output_stream(path) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
    if isinstance(draft, Path):
        draft.replace(draft.with_name(MANIFEST))


def sweep(folder: Place) -> None:
    """Delete the parts that the manifest does not name, left by earlier runs and dead tasks."""
    from pyarrow.fs import FileSelector

    system, root = system_of(folder)
    named = {f"/{part}" for table in _manifest(folder)["tables"] for part in table["parts"]}
    for entry in system.get_file_info(FileSelector(root, recursive=True)):
        part = _PART.fullmatch(entry.path.removeprefix(root))
        if part and part[1] not in named:
            system.delete_file(entry.path)


def read(folder: Place, tables: list[Table]) -> list[Prepared]:
    """Each of `tables` as the folder has it; DaybookError when its declaration was another one."""
    entries = {entry["name"]: entry for entry in _manifest(folder)["tables"]}
    return [_table(folder, table, entries.get(table.name)) for table in tables]


def described(table: Table) -> Any:
    """How a table was read, for the manifest: rows that were read otherwise must not land."""
    return json.loads(json.dumps([VERSION, *astuple(table)]))


def unused(folder: Place) -> dict[str, str]:
    """The day's raw files that no table uses, as `loaders.files.unused_files` told Spark."""
    files: dict[str, str] = _manifest(folder)["unused"]
    return files


def system_of(place: Place) -> tuple[Any, str]:
    """pyarrow's file system for a place, and the path of the place in it."""
    from pyarrow.fs import LocalFileSystem

    if isinstance(place, s3.S3Path):
        return s3.filesystem(), place.path
    return LocalFileSystem(), str(place)


def _manifest(folder: Place) -> dict[str, Any]:
    system, path = system_of(folder / MANIFEST)
    with naming_errors_of(folder / MANIFEST), system.open_input_stream(path) as file:
        manifest: dict[str, Any] = json.loads(file.read())
    return manifest


def _table(folder: Place, table: Table, entry: dict[str, Any] | None) -> Prepared:
    if entry is None or entry["declared"] != described(table):
        raise DaybookError(
            f"{folder}: {table.name} was declared otherwise when Spark read it, or another Daybook "
            "read it. Run python -m loaders.spark again."
        )
    if entry["files"] is None:
        return Prepared(table, None)
    files = tuple(
        RawFile(path, folder / path, form, False, size, 0, sha256=digest)
        for path, form, size, digest in entry["files"]
    )
    read = Observed(
        absent=set(entry["missing"]),
        unknown=set(entry["unknown"]),
        rejected=entry["rejected"],
        repaired=entry["repaired"],
        records=Counter(entry["records"]),
    )
    return Prepared(
        table,
        files,
        UnreadableError(*entry["error"]) if entry["error"] else None,
        read,
        tuple(entry["parts"]),
        tuple(_written(folder, part + ROWS, "csv") for part in entry["parts"]),
        tuple(_written(folder, part + REJECTED, "json") for part in entry["parts"]),
    )


def _written(folder: Place, name: str, form: Format) -> RawFile:
    location = folder / name
    return RawFile(name, location, form, False, *versions([location])[0])
