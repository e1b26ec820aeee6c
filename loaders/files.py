"""Where a day's raw files are, and which entity each belongs to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from loaders import s3
from loaders.days import Day, parse_day
from loaders.errors import DaybookError, UsageError
from loaders.raw_file import Format, Place, RawFile, naming_errors_of, versions
from loaders.schema import Table

Entry = os.DirEntry[str] | s3.S3Path
FORMATS: dict[str, Format] = {".csv": "csv", ".parquet": "parquet", ".xlsx": "xlsx"}
FORMATS |= dict.fromkeys((".json", ".jsonl", ".ndjson"), "json")
NAMED = 20  # of the files that no table uses
_READABLE = ".csv, .json, .jsonl and .ndjson (also with .gz), .parquet and .xlsx"
# Checksums, systems' own files (Hadoop marks a folder in S3 by x_$folder$) and editors' backups.
_PASSED_OVER = re.compile(
    r"[._].*|.*\.(md5|sha1|sha256|sha512|crc|bak|swp|orig)|(md5|sha\d+|check)sums?(\.txt)?"
    r"|thumbs\.db|desktop\.ini|.*_\$folder\$|.*~|~\$.*|#.*#",
    re.IGNORECASE | re.DOTALL,
)


def day_folder(data: str | Path, day: Day) -> Place:
    """`<data>/<day>` or `<data>/sync-<day>`; DaybookError when there is none, or both."""
    root = s3.place(data)
    with naming_errors_of(root):
        if not root.is_dir():
            raise DaybookError(f"{root}: there is no such data folder.")
        folders = [root / name for name in (day.text, f"sync-{day.text}") if (root / name).exists()]
        if len(folders) > 1:
            raise DaybookError(
                f"{folders[0]} and {folders[1]} both hold {day}: keep one, so that it is clear"
                " which."
            )
        if not folders:
            days = ", ".join(_days_there(root)) or "none"
            is_day = root.name in (day.text, f"sync-{day.text}")
            raise DaybookError(
                f"{root} has no {day.text}/ or sync-{day.text}/; days there: {days}"
                + (f". Did you mean --data {root.parent}?" if is_day else "")
            )
        (folder,) = folders
        if not folder.is_dir():
            raise DaybookError(f"{folder}: a folder is expected here.")
        if folder.is_symlink():
            _check_inside(folder, root)
    return folder


def entity_files(folder: Place, table: Table) -> list[RawFile] | None:
    """The files of `table` in a day's folder, by path; None when the entity isn't there.

    DaybookError for two sources of one entity, a kind of file that can't be read, a Parquet
    folder that isn't finished, and links that leave the data folder.
    """
    with naming_errors_of(folder):
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
    with naming_errors_of(location):
        if not source.is_dir():
            return _raw_files(folder, [source], folder.parent)
        if tuple(source.name.lower().partition(".")[1:]) not in (("", ""), (".", "parquet")):
            raise DaybookError(f"{location}: a file is expected here, not a folder.")
        if source.is_symlink():
            _check_inside(location, folder.parent)
        return _files_in(location, folder.parent, f"{source.name}/")


def sample_files(location: Path) -> list[RawFile]:
    """A file, or a folder of them, wherever it lies; DaybookError as for a day's."""
    if not location.exists():
        raise UsageError(f"{location}: there is no such file or folder.")
    with naming_errors_of(location):
        if location.is_dir():
            return _files_in(location, location)
        entries = [one for one in os.scandir(location.parent) if one.name == location.name]
        return _raw_files(location.parent, entries, Path("/"))


def unused_files(folder: Place, tables: Iterable[Table]) -> dict[str, str]:
    """The files and folders of a day that no table uses, each with why, and the nearest table. The
    first are named: pages and messages have no room for thousands that lie beside their folder."""
    names = {name: table.name for table in tables for name in table.found_under}
    unused: dict[str, str] = {}
    more = 0
    with naming_errors_of(folder):
        for entry in sorted(_entries(folder), key=lambda entry: str(entry.name)):
            stem = entry.name.partition(".")[0]
            if _PASSED_OVER.fullmatch(entry.name) or stem in names:
                continue
            if len(unused) == NAMED:
                more += 1
                continue
            # a name may have bytes that can't be stored
            shown = entry.name.encode("utf-8", "backslashreplace").decode()
            shown += "/" if entry.is_dir() else ""
            near = get_close_matches(stem.lower(), list(names), 1, 0.0)
            guess = f"; the nearest is {near[0]} ({names[near[0]]})" if near else ""
            unused[shown] = (
                f"no table is found under {stem!r}{guess}. Name it so, or declare found_under."
            )
    return unused | ({"more files": f"{more:,} that no table uses either."} if more else {})


def names_in(folder: Place) -> list[str]:
    """The names of a day's files and folders."""
    with naming_errors_of(folder):
        return sorted(one.name for one in _entries(folder) if not _PASSED_OVER.fullmatch(one.name))


def _entries(folder: Place) -> Sequence[Entry]:
    if isinstance(folder, s3.S3Path):
        return folder.entries()
    return list(os.scandir(folder))


def _files_in(folder: Place, root: Place, prefix: str = "") -> list[RawFile]:
    entries = _entries(folder)
    names = {entry.name for entry in entries}
    if "_temporary" in names:
        raise DaybookError(f"{folder}: _temporary is there, so it is still being written.")
    used = [entry for entry in entries if not _PASSED_OVER.fullmatch(entry.name)]
    files = _raw_files(folder, used, root, prefix)
    if "_SUCCESS" not in names and any(file.format == "parquet" for file in files):
        raise DaybookError(f"{folder}: no _SUCCESS, so this Parquet output is not complete.")
    return sorted(files, key=lambda file: os.fsencode(file.path))


def _raw_files(
    folder: Place, entries: Sequence[Entry], root: Place, prefix: str = ""
) -> list[RawFile]:
    """A folder's entries as raw files, with `prefix` before their paths."""
    places = [folder / entry.name for entry in entries]
    kinds = []
    for entry, place in zip(entries, places, strict=True):
        name = entry.name.lower()  # endings in any case; a name may have other dots
        if entry.is_symlink():
            _check_inside(place, root)
        if entry.is_dir():
            raise DaybookError(f"{place}: a file is expected here, not a folder.")
        plain = name.removesuffix(".gz")
        kind = next((FORMATS[suffix] for suffix in FORMATS if plain.endswith(suffix)), None)
        if kind is None or (plain != name and kind not in ("csv", "json")):
            raise DaybookError(f"{place}: this kind of file can't be read; {_READABLE} can.")
        if isinstance(entry, os.DirEntry) and not entry.is_file():
            raise DaybookError(f"{place}: not a regular file.")
        try:
            name.encode()
        except UnicodeEncodeError:
            path = prefix + entry.name
            raise DaybookError(f"{path!r}: the file's name is not UTF-8.") from None
        kinds.append((prefix + entry.name, place, kind, plain != name))
    return [RawFile(*kind, *version) for kind, version in zip(kinds, versions(places), strict=True)]


def _check_inside(link: Place, root: Place) -> None:
    if not Path(str(link)).resolve(strict=True).is_relative_to(Path(str(root)).resolve()):
        raise DaybookError(f"{link}: a link that leaves the data folder {root} is not followed.")


def _days_there(root: Place) -> list[str]:
    days = []
    for entry in _entries(root):
        try:
            days.append(parse_day(entry.name.removeprefix("sync-")))
        except UsageError:
            continue
    return [day.text for day in sorted(set(days))]
