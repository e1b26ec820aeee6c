"""Where a day's raw files are, which entity each belongs to, and how to open them."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, cast

from loaders import s3
from loaders.days import Day, parse_day
from loaders.errors import DaybookError, UsageError
from loaders.sources import Table

FORMATS: dict[str, Literal["csv", "json", "parquet"]] = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".json": "json",
    ".json.gz": "json",
    ".jsonl": "json",
    ".jsonl.gz": "json",
    ".ndjson": "json",
    ".ndjson.gz": "json",
    ".parquet": "parquet",
}
Place = Path | s3.S3Path
_READABLE = ".csv, .json, .jsonl and .ndjson (also with .gz), and .parquet"


@dataclass(frozen=True)
class RawFile:
    """A raw file. `path` is relative to the day's folder; `bytes`, `mtime_ns` and (on S3) `etag`
    as listed."""

    path: str
    location: Place
    format: Literal["csv", "json", "parquet"]
    compressed: bool
    bytes: int
    mtime_ns: int
    etag: str | None = None


def day_folder(data: str | Path, day: Day) -> Place:
    """`<data>/<day>` or `<data>/sync-<day>`; DaybookError when there is none, or both."""
    root = s3.parse(str(data)) if str(data).startswith(s3.SCHEME) else Path(data)
    with _telling(root):
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
    with _telling(folder):
        sources = [
            entry
            for entry in _entries(folder)
            if not entry.name.startswith((".", "_"))
            and entry.name.partition(".")[0] in table.found_under
        ]
    if len(sources) > 1:
        names = " and ".join(sorted(entry.name for entry in sources))
        raise DaybookError(f"{folder}: {names} are both {table.name}: keep one of them.")
    if not sources:
        return None
    (source,) = sources
    location = folder / source.name
    with _telling(location):
        root = folder.parent
        if source.is_symlink():
            _check_inside(location, root)
        if source.is_dir():
            if source.name.partition(".")[1:] not in (("", ""), (".", "parquet")):
                raise DaybookError(f"{location}: a file is expected here, not a folder.")
            return _with_etags(_files_in(location, folder, root))
        return _with_etags([_raw_file(source, location, folder)])


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
        if entry.name.startswith((".", "_")):
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
    kind = FORMATS.get("".join(entry.name.partition(".")[1:])) or _by_last_suffix(entry.name)
    if kind is None:
        raise DaybookError(f"{entry.path}: this kind of file can't be read; {_READABLE} can.")
    about = entry.stat()
    if not stat.S_ISREG(about.st_mode):
        raise DaybookError(f"{entry.path}: not a regular file.")
    path = entry.path[len(str(folder)) + 1 :].replace(os.sep, "/")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DaybookError(f"{path!r}: the file's name is not UTF-8.") from None
    return RawFile(
        path,
        location,
        kind,
        entry.name.endswith(".gz"),
        about.st_size,
        about.st_mtime_ns,
    )


def _by_last_suffix(name: str) -> Literal["csv", "json", "parquet"] | None:
    # inside a folder names may have dots of their own: part-0001.snappy.parquet, a.b.json
    suffixes = sorted(FORMATS, key=len, reverse=True)
    return next((FORMATS[suffix] for suffix in suffixes if name.endswith(suffix)), None)


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


def check_unchanged(*files: RawFile) -> None:
    """DaybookError when a file is no longer the one that was listed."""
    on_s3 = [file.location for file in files if isinstance(file.location, s3.S3Path)]
    if on_s3:
        for file, now in zip(files, s3.stats(on_s3), strict=True):
            if (now.st_size, now.etag) != (file.bytes, file.etag):
                raise _changed(file)
        return
    for file in files:
        with _telling(file.location):
            about = file.location.stat()
        if (about.st_size, about.st_mtime_ns) != (file.bytes, file.mtime_ns):
            raise _changed(file)


def _changed(file: RawFile) -> DaybookError:
    return DaybookError(f"{file.location}: it changed while it was read; land the day again.")


class _Counted(io.RawIOBase):
    """The bytes of a file, hashed and reported as they are read."""

    def __init__(self, stream: IO[bytes], told: Callable[[bytes], None]) -> None:
        self._stream = stream
        self._told = told

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._told(data)
        return data


@contextmanager
def opened(file: RawFile, told: Callable[[bytes], None] | None = None) -> Iterator[IO[bytes]]:
    """The file's content, decompressed; `told` gets its bytes as they are on disk.

    DaybookError naming the file when it can't be opened or is cut.
    """
    with _telling(file.location), _bytes_of(file) as raw:
        stream: Any = _Counted(raw, told) if told else raw
        if not file.compressed:
            yield stream
            return
        with gzip.GzipFile(fileobj=stream, mode="rb") as content:
            yield cast(IO[bytes], content)


def _bytes_of(file: RawFile) -> Any:
    if not isinstance(file.location, s3.S3Path):
        return file.location.open("rb", buffering=0)
    stream = file.location.open()
    if file.etag and s3.etag(stream) != file.etag:
        raise _changed(file)
    return stream


@contextmanager
def hashed(file: RawFile) -> Iterator[tuple[IO[bytes], Any]]:
    """The file's content and the sha256 of its bytes on disk, complete once all was read."""
    digest = hashlib.sha256()
    with opened(file, digest.update) as stream:
        yield stream, digest


def sha256(file: RawFile) -> str:
    """The sha256 of the file's bytes, as hex."""
    with _telling(file.location), _bytes_of(file) as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()


@contextmanager
def _telling(location: Place) -> Iterator[None]:
    import zlib

    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableError(f"{location}: the gzip is cut or broken ({error}).") from error
    except OSError as error:
        if isinstance(location, s3.S3Path):
            raise s3.error_of(location, error) from None
        raise _local_error(location, error) from error


def _local_error(location: Path, error: OSError) -> DaybookError:
    name = error.filename or location
    if isinstance(error, FileNotFoundError):
        return DaybookError(f"{name}: it is no longer there.")
    if isinstance(error, PermissionError):
        return DaybookError(f"{name}: no permission to read it.")
    return DaybookError(f"{name}: {error.strerror or error}.")


class UnreadableError(DaybookError):
    """A file's content is broken as a whole: its table fails, and the ledger says so."""
