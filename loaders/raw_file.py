"""A raw file's bytes: from disk or S3, unzipped, in UTF-8 whatever it is declared to be in."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from loaders import s3
from loaders.errors import DaybookError
from loaders.readers.rows import UnreadableError

Format = Literal["csv", "json", "parquet", "xlsx"]
Place = Path | s3.S3Path
READ = 1 << 20
LOCALLY = {FileNotFoundError: "it is no longer there", PermissionError: "no permission to read it"}


@dataclass(frozen=True)
class RawFile:
    """A raw file, or a slice of one. `path` is relative to the day's folder. `bytes`, `mtime_ns`
    and (on S3) `etag` are the whole file's, as it was listed.

    Its scan fills in `sha256`; `header`, the names of a CSV, a sheet or a Parquet file, None for
    JSON and an empty file; `streamed`, the columns into which COPY reads the file's own bytes, None
    when it is parsed. `records`: their number, None until they are counted.

    A slice has the bytes from `start` to `end` (None: the file's end), and the number of its
    `first` record (0: a CSV's header), which is None for a whole file.
    """

    path: str
    location: Place
    format: Format
    compressed: bool
    bytes: int
    mtime_ns: int
    etag: str | None = None
    sha256: str = ""
    header: tuple[str, ...] | None = None
    streamed: tuple[str, ...] | None = None
    records: int | None = None
    start: int = 0
    end: int | None = None
    first: int | None = None

    @property
    def size(self) -> int:
        """The number of bytes, those of the slice alone."""
        return (self.bytes if self.end is None else self.end) - self.start


class Stream(io.RawIOBase):
    """The bytes that calls of `more(size)` return, as a stream."""

    def __init__(self, more: Callable[[int], bytes]) -> None:
        self._more = more
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._left or self._more(len(buffer))
        taken = data[: len(buffer)]
        self._left = data[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


@contextmanager
def opened(
    file: RawFile,
    on_read: Callable[[int], None] = lambda size: None,
    encoding: str = "utf-8",
) -> Iterator[IO[bytes]]:
    """The content of a file or a slice as a stream, unzipped and in UTF-8. `on_read` is called with
    the number of bytes read from disk.

    Bytes that are wrong in a one-byte `encoding` stay as they are, for the reader to repair.
    DaybookError naming the file when it can't be opened or is cut.
    """
    left = sys.maxsize if file.end is None else file.size
    with naming_errors_of(file.location), _bytes_of(file, file.start) as raw:

        def counted(size: int) -> bytes:
            nonlocal left
            data: bytes = raw.read(min(size, left))
            left -= len(data)
            on_read(len(data))
            return data

        stream: Any = Stream(counted)
        if file.compressed:
            stream = gzip.GzipFile(fileobj=stream, mode="rb")
        if encoding != "utf-8":
            errors = "replace" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
            text = io.TextIOWrapper(io.BufferedReader(stream, READ), encoding, errors, newline="")

            def in_utf8(size: int) -> bytes:
                try:
                    return text.read(size).encode("utf-8", errors)
                except UnicodeError:  # other bytes are replaced
                    raise UnreadableError(
                        f"{file.path}: it is not {encoding}, which begins with a mark: declare"
                        f" encoding: {encoding}-le or {encoding}-be, or none where it is UTF-8."
                    ) from None

            stream = Stream(in_utf8)
        yield io.BufferedReader(stream, s3.READ if file.start else READ)


def seekable(file: RawFile) -> Any:
    """A context with the file for random access, which Parquet and sheets need."""
    if isinstance(file.location, s3.S3Path):
        return file.location.open_seekable()
    return nullcontext(file.location)


def _bytes_of(file: RawFile, start: int = 0) -> Any:
    if isinstance(file.location, s3.S3Path):
        stream: Any = file.location.open_seekable() if start else file.location.open()
        if file.etag and s3.etag(stream) != file.etag:
            raise _changed(file)
    else:
        stream = file.location.open("rb", buffering=0)
    if start:
        stream.seek(start)
    return stream


def sha256(file: RawFile) -> str:
    """The sha256 of the file's bytes, as hex."""
    with naming_errors_of(file.location), _bytes_of(file) as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()


def versions(places: Sequence[Place]) -> list[s3.Version]:
    """Size, time and etag of each place now; all are on disk, or all in S3."""
    if on_s3 := [place for place in places if isinstance(place, s3.S3Path)]:
        return s3.versions(on_s3)
    versions: list[s3.Version] = []
    for place in places:
        with naming_errors_of(place):
            status = Path(str(place)).stat()
        versions.append((status.st_size, status.st_mtime_ns, None))
    return versions


def check_unchanged(*files: RawFile) -> None:
    """DaybookError when a file is no longer the one that was listed."""
    for file, now in zip(files, versions([file.location for file in files]), strict=True):
        if (file.bytes, file.mtime_ns, file.etag) != now:
            raise _changed(file)


def _changed(file: RawFile) -> DaybookError:
    return DaybookError(f"{file.location}: it changed while it was read; land the day again.")


@contextmanager
def naming_errors_of(location: Place) -> Iterator[None]:
    """Raise a place's OSError, or that of its gzip, as a DaybookError that names the place."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableError(f"{location}: the gzip is cut or broken ({error}).") from error
    except OSError as error:
        if isinstance(location, s3.S3Path):
            raise s3.error_of(location, error) from None
        reason = LOCALLY.get(type(error), error.strerror or error)
        raise DaybookError(f"{error.filename or location}: {reason}.") from error
