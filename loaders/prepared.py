"""A day that Spark has read already: one Parquet folder a table, and what a landing must know.

<day>/_daybook.json                       the manifest, written last
<day>/<table>/_SUCCESS
<day>/<table>/kind=landed/*.parquet       the declared columns, _extra, _source_file, _source_row
<day>/<table>/kind=rejected/*.parquet     _source_file, _source_row, _reason, _raw_text, _landed
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from loaders.errors import DaybookError
from loaders.raw_file import Place, RawFile
from loaders.readers.parquet_file import opened_parquet
from loaders.readers.rows import Found, Reject, UnreadableError
from loaders.schema import Table

MANIFEST = "_daybook.json"
VERSION = 4


@dataclass(frozen=True)
class Prepared:
    """One table of such a day. `files` are the raw ones with their sha256, None when there were
    none; `records` are those counted in each; `error` is why it can't land."""

    table: Table
    files: tuple[tuple[RawFile, str], ...] | None
    error: DaybookError | None = None
    records: dict[str, int] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)
    parts: tuple[RawFile, ...] = ()
    rejected: tuple[RawFile, ...] = ()

    @property
    def found(self) -> Found:
        seen, absent, unknown = (set(self.seen[kind]) for kind in ("seen", "absent", "unknown"))
        return Found(seen=seen, absent=absent, unknown=unknown, json_records=self.seen["records"])

    def rejects(self) -> Iterator[tuple[str, Reject]]:
        """(path, reject) of each record that was put aside."""
        names = ["_source_file", "_source_row", "_reason", "_raw_text", "_landed"]
        for file in self.rejected:
            with opened_parquet(file) as parquet:
                for batch in parquet.iter_batches(columns=names):
                    columns = [batch.column(name).to_pylist() for name in names]
                    for path, number, reason, raw, landed in zip(*columns, strict=True):
                        yield path, Reject(number, reason, raw, bool(landed))


def is_prepared(folder: Place) -> TypeGuard[Path]:
    """Whether the day's folder is one that Spark wrote."""
    return isinstance(folder, Path) and (folder / MANIFEST).is_file()


def write(folder: Path, tables: list[dict[str, Any]], unused: dict[str, str]) -> None:
    """Adds the manifest: with it the day is complete."""
    content = {"version": VERSION, "tables": tables, "unused": unused}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read(folder: Path, tables: list[Table]) -> list[Prepared]:
    """What the folder has for `tables`. DaybookError when it was made for another declaration."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if manifest.get("version") != VERSION:
        raise DaybookError(
            f"{folder}: another Daybook wrote it. Run python -m loaders.spark again."
        )
    entries = {entry["table"]: entry for entry in manifest["tables"]}
    return [_table(folder, table, entries.get(table.name)) for table in tables]


def describe(table: Table) -> Any:
    """The declaration as the manifest keeps it: rows made for another one must not land."""
    return json.loads(json.dumps(astuple(table)))


def unused(folder: Path) -> dict[str, str]:
    """The day's raw files that no table used, as Spark found them."""
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return manifest.get("unused", {})


def _table(folder: Path, table: Table, entry: dict[str, Any] | None) -> Prepared:
    if entry is None or entry["columns"] != describe(table):
        raise DaybookError(
            f"{folder}: {table.name} was declared otherwise when Spark read it. "
            "Run python -m loaders.spark again."
        )
    if entry["files"] is None:
        return Prepared(table, None)
    place = folder / table.name
    files = tuple(
        (RawFile(file["path"], place, file["format"], False, file["bytes"], 0), file["sha256"])
        for file in entry["files"]
    )
    if entry["error"]:
        return Prepared(table, files, UnreadableError(*entry["error"]))
    if not (place / "_SUCCESS").is_file():
        raise DaybookError(f"{place}: no _SUCCESS, so this Parquet output is not complete.")
    return Prepared(
        table,
        files,
        records={file["path"]: file["records"] for file in entry["files"]},
        seen=entry["fields"],
        parts=_parts(place / "kind=landed"),
        rejected=_parts(place / "kind=rejected"),
    )


def _parts(place: Path) -> tuple[RawFile, ...]:
    if not place.is_dir():
        return ()
    found = sorted(entry for entry in place.iterdir() if entry.name.endswith(".parquet"))
    abouts = [(entry, entry.stat()) for entry in found]
    return tuple(
        RawFile(entry.name, entry, "parquet", False, about.st_size, about.st_mtime_ns)
        for entry, about in abouts
    )
