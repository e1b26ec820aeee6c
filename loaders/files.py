"""Where a day's raw files are, and which entity each belongs to."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from loaders import s3
from loaders.days import Day, parse_day
from loaders.errors import DaybookError, UsageError
from loaders.raw_file import Format, Place, RawFile, telling
from loaders.schema import Table

FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".json": "json",
    ".json.gz": "json",
    ".jsonl": "json",
    ".jsonl.gz": "json",
    ".ndjson": "json",
    ".ndjson.gz": "json",
    ".parquet": "parquet",
    ".xlsx": "xlsx",
}
_READABLE = ".csv, .json, .jsonl and .ndjson (also with .gz), .parquet and .xlsx"
# Checksums, what systems leave, and editors' backups: nobody's data.
_PASSED_OVER = re.compile(
    r"[._].*|.*\.(md5|sha1|sha256|sha512|crc|bak|swp|orig)|thumbs\.db|desktop\.ini|.*~|~\$.*|#.*#",
    re.IGNORECASE | re.DOTALL,
)


def day_folder(data: str | Path, day: Day) -> Place:
    """`<data>/<day>` or `<data>/sync-<day>`; DaybookError when there is none, or both."""
    root = s3.parse(str(data)) if str(data).startswith(s3.SCHEME) else Path(data)
    with telling(root):
        if not root.is_dir():
            raise DaybookError(f"{root}: there is no such data folder.")
        found = [root / name for name in (day.text, f"sync-{day.text}") if (root / name).exists()]
        if len(found) > 1:
            raise DaybookError(
                f"{found[0]} and {found[1]} both hold {day}: keep one, so that it is clear which."
            )
        if not found:
            days = ", ".join(_days_there(root)) or "none"
            is_day = root.name in (day.text, f"sync-{day.text}")
            raise DaybookError(
                f"{root} has no {day.text}/ or sync-{day.text}/; days there: {days}"
                + (f". Did you mean --data {root.parent}?" if is_day else "")
            )
        (folder,) = found
        if not folder.is_dir():
            raise DaybookError(f"{folder}: a folder is expected here.")
        _check_inside(folder, root)
    return folder


def entity_files(folder: Place, table: Table) -> list[RawFile] | None:
    """The files of `table` in a day's folder, by path; None when the entity isn't there.

    DaybookError for two sources of one entity, a kind of file that can't be read, a Parquet
    folder that isn't finished, and links that leave the data folder.
    """
    with telling(folder):
        sources = [
            entry
            for entry in _entries(folder)
            if not _PASSED_OVER.fullmatch(entry.name)
            and entry.name.partition(".")[0] in table.found_under
        ]
    if len(sources) > 1:
        names = " and ".join(sorted(entry.name for entry in sources))
        raise DaybookError(f"{folder}: {names} are both {table.name}: keep one of them.")
    if not sources:
        return None
    (source,) = sources
    location = folder / source.name
    with telling(location):
        root = folder.parent
        if source.is_symlink():
            _check_inside(location, root)
        if source.is_dir():
            if tuple(source.name.lower().partition(".")[1:]) not in (("", ""), (".", "parquet")):
                raise DaybookError(f"{location}: a file is expected here, not a folder.")
            return _with_etags(_files_in(location, folder, root))
        return _with_etags([_raw_file(source, location, folder)])


def sample_files(location: Path) -> list[RawFile]:
    """A file, or a folder of them, wherever it lies; DaybookError as for a day's."""
    if not location.exists():
        raise UsageError(f"{location}: there is no such file or folder.")
    with telling(location):
        if location.is_dir():
            return _files_in(location, location, location)
        entry = next(one for one in os.scandir(location.parent) if one.name == location.name)
        return [_raw_file(entry, location, location.parent)]


def unused_files(folder: Place, tables: Iterable[Table]) -> dict[str, str]:
    """The files and folders of a day that no table uses, and what each may be meant for."""
    names = {name: table.name for table in tables for name in table.found_under}
    unused = {}
    with telling(folder):
        entries: list[Any] = [*_entries(folder)]
        for entry in sorted(entries, key=lambda entry: str(entry.name)):
            stem = entry.name.partition(".")[0]
            if _PASSED_OVER.fullmatch(entry.name) or stem in names:
                continue
            shown = entry.name + ("/" if entry.is_dir() else "")
            near = get_close_matches(stem.lower(), list(names), 1, 0.0)
            guess = f"; the nearest is {near[0]} ({names[near[0]]})" if near else ""
            unused[shown] = (
                f"no table is found under {stem!r}{guess}. Name it so, or declare found_under."
            )
    return unused


def _entries(folder: Place) -> list[os.DirEntry[str]] | list[s3.S3Entry]:
    if isinstance(folder, s3.S3Path):
        return folder.entries()
    return list(os.scandir(folder))


def _with_etags(files: list[RawFile]) -> list[RawFile]:
    """On S3 two versions of a key can have one size and one second: their ETags differ."""
    on_s3 = [file.location for file in files if isinstance(file.location, s3.S3Path)]
    if not on_s3:
        return files
    return [
        replace(file, bytes=about.st_size, etag=about.etag)
        for file, about in zip(files, s3.stats(on_s3), strict=True)
    ]


def _files_in(location: Place, folder: Place, root: Place) -> list[RawFile]:
    entries = _entries(location)
    names = {entry.name for entry in entries}
    if "_temporary" in names:
        raise DaybookError(f"{location}: _temporary is there, so it is still being written.")
    files = []
    for entry in entries:
        if _PASSED_OVER.fullmatch(entry.name):
            continue
        if entry.is_symlink():
            _check_inside(location / entry.name, root)
        if entry.is_dir():
            raise DaybookError(f"{entry.path}: a file is expected here, not a folder.")
        files.append(_raw_file(entry, location / entry.name, folder))
    if "_SUCCESS" not in names and any(file.format == "parquet" for file in files):
        raise DaybookError(f"{location}: no _SUCCESS, so this Parquet output is not complete.")
    return sorted(files, key=lambda file: os.fsencode(file.path))


def _raw_file(entry: os.DirEntry[str] | s3.S3Entry, location: Place, folder: Place) -> RawFile:
    name = entry.name.lower()  # extensions count in any case, and names may have dots of their own
    kind = next((FORMATS[suffix] for suffix in FORMATS if name.endswith(suffix)), None)
    if kind is None:
        raise DaybookError(f"{entry.path}: this kind of file can't be read; {_READABLE} can.")
    about = entry.stat()
    if not stat.S_ISREG(about.st_mode):
        raise DaybookError(f"{entry.path}: not a regular file.")
    if isinstance(location, Path) and not os.access(location, os.R_OK):
        raise DaybookError(f"{entry.path}: no permission to read it.")
    path = entry.path[len(str(folder)) + 1 :].replace(os.sep, "/")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DaybookError(f"{path!r}: the file's name is not UTF-8.") from None
    zipped = name.endswith(".gz")
    return RawFile(path, location, kind, zipped, about.st_size, about.st_mtime_ns)


def _check_inside(location: Place, root: Place) -> None:
    if isinstance(location, s3.S3Path) or isinstance(root, s3.S3Path):
        return  # S3 has no links
    if not location.resolve(strict=True).is_relative_to(root.resolve()):
        raise DaybookError(
            f"{location}: a link that leaves the data folder {root} is not followed."
        )


def _days_there(root: Place) -> list[str]:
    days = []
    for entry in _entries(root):
        try:
            days.append(parse_day(entry.name.removeprefix("sync-")))
        except UsageError:
            continue
    return [day.text for day in sorted(set(days))]
