"""A day that Spark has read: its rows and rejects, and the manifest that a landing needs.

<day>/_daybook.json           the manifest, written last: other files don't count
<day>/<table>/<part>.csv.zst  rows as COPY takes them: declared columns, _extra, file, row
<day>/<table>/<part>.jsonl    a line for each reject: file, row, reason, raw text, landed
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from loaders import readers, s3
from loaders.errors import DaybookError
from loaders.raw_file import Place, RawFile, naming_errors_of, opened, versions
from loaders.readers.rows import PIECE, Observed, UnreadableError
from loaders.schema import Table

MANIFEST = "_daybook.json"
ROWS, REJECTED = ".csv.zst", ".jsonl"  # pyarrow (un)packs by the ending
_PART = re.compile(r"(/[^/]+/[0-9a-f]{32})(\.csv\.zst|\.jsonl)")


@dataclass(frozen=True)
class Prepared:
    """What Spark has read of a table: counts and fields of all raw files, and the files that hold
    their rows and rejects."""

    read: Observed
    rows: tuple[RawFile, ...]
    rejected: tuple[RawFile, ...]

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


def is_prepared(folder: Place) -> bool:
    """Whether Spark wrote the day's folder."""
    with naming_errors_of(folder):
        return (folder / MANIFEST).exists()


def entry(
    table: Table,
    files: Sequence[RawFile] | None,
    read: Observed,
    parts: Sequence[str],
    error: UnreadableError | None = None,
) -> dict[str, Any]:
    """A table's entry in the manifest. `files`: the raw files, None when there were none. `parts`:
    the names of what was written, without endings, relative to the day's folder. `error`: why the
    table can't land."""
    return {
        "name": table.name,
        "declared": described(table),
        "files": files and [[one.path, one.format, one.bytes, one.sha256] for one in files],
        "error": error and [error.public, error.begins],
        "rejected": read.rejected,
        "repaired": read.repaired,
        "records": {one.path: one.records for one in files or ()} | read.records,
        "missing": sorted(read.missing()),
        "unknown": sorted(read.unknown),
        "parts": parts,
    }


def write(folder: Place, tables: list[dict[str, Any]], unused: dict[str, str]) -> None:
    """Write the manifest of the tables' entries, whole or not at all; it completes the day."""
    content = {"tables": tables, "unused": unused}
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
    named = {f"/{part}" for table in manifest(folder)["tables"] for part in table["parts"]}
    for entry in system.get_file_info(FileSelector(root, recursive=True)):
        part = _PART.fullmatch(entry.path.removeprefix(root))
        if part and part[1] not in named:
            system.delete_file(entry.path)


def read(
    folder: Place, tables: list[Table]
) -> Iterator[tuple[Table, tuple[RawFile, ...] | None, UnreadableError | None, Prepared]]:
    """Each of `tables` as the folder has it: its raw files, why it can't land, and what was read.
    DaybookError when its declaration was another one."""
    known = {table["name"]: table for table in manifest(folder)["tables"]}
    for table in tables:
        if (there := known.get(table.name)) is None or there["declared"] != described(table):
            raise DaybookError(
                f"{folder}: {table.name} was declared otherwise when Spark read it, or another"
                " Daybook read it. Run python -m loaders.spark again."
            )
        counted = there["records"]
        files = (
            RawFile(path, folder / path, form, False, size, 0, None, digest, records=counted[path])
            for path, form, size, digest in there["files"] or ()
        )
        read = Observed(
            absent=set(there["missing"]),
            unknown=set(there["unknown"]),
            rejected=there["rejected"],
            repaired=there["repaired"],
            records=Counter(counted),
        )
        rows, rejected = (
            tuple(_written(folder / (part + ending)) for part in there["parts"])
            for ending in (ROWS, REJECTED)
        )
        error = UnreadableError(*there["error"]) if there["error"] else None
        raw = None if there["files"] is None else tuple(files)
        yield table, raw, error, Prepared(read, rows, rejected)


def described(table: Table) -> Any:
    """How a table was read, for the manifest: rows that were read otherwise must not land."""
    return json.loads(json.dumps([readers.VERSION, *astuple(table)]))


def system_of(place: Place) -> tuple[Any, str]:
    """pyarrow's file system for a place, and the path of the place in it."""
    from pyarrow.fs import LocalFileSystem

    if isinstance(place, s3.S3Path):
        return s3.filesystem(), place.path
    return LocalFileSystem(), str(place)


def manifest(folder: Place) -> dict[str, Any]:
    """The manifest: `tables`, each as `entry` makes it, and the files that no table uses, `unused`,
    as `loaders.files.unused_files` told Spark."""
    system, path = system_of(folder / MANIFEST)
    with naming_errors_of(folder / MANIFEST), system.open_input_stream(path) as file:
        content: dict[str, Any] = json.loads(file.read())
    return content


def _written(place: Place) -> RawFile:
    return RawFile(place.name, place, "csv", False, *versions([place])[0])
