"""`s3://bucket/prefix`, with as much of pathlib's ways as `loaders.files` asks for.

The endpoint comes from AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, the region and the credentials from
the standard AWS variables and files. No message repeats what a server says: of an error only its
code is shown.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from loaders.errors import DaybookError, UsageError

if TYPE_CHECKING:
    from pyarrow import NativeFile
    from pyarrow.fs import FileInfo, S3FileSystem

SCHEME = "s3://"
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
SETTINGS = (
    *ENDPOINTS,
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
)
TRIES = 8  # of a throttled or failed request, each later than the one before: about 30 s in all
# Each read is a request of its own, so a small one would cost a round trip.
READ = 4 << 20
AT_ONCE = 16
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_CODE = re.compile(r"AWS Error ([A-Z_]+)")
_STATUS = re.compile(r"HTTP status(?: code)?:? (\d{3})")


@dataclass(frozen=True)
class Stat:
    """What `os.stat` would say of a key, and its ETag where it was asked for."""

    st_size: int
    st_mtime_ns: int = 0
    etag: str | None = None
    st_mode: int = stat.S_IFREG


@dataclass(frozen=True, order=True)
class S3Path:
    """A bucket and a key (`path` is `bucket/key`); str() gives the address."""

    path: str

    def __str__(self) -> str:
        return SCHEME + self.path

    def __truediv__(self, name: str) -> S3Path:
        return S3Path(f"{self.path}/{name}")

    @property
    def parent(self) -> S3Path:
        return S3Path(self.path.rpartition("/")[0])

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def exists(self) -> bool:
        return self._info().type.name != "NotFound"

    def is_dir(self) -> bool:
        return self._info().type.name == "Directory"

    def stat(self) -> Stat:
        """Size and ETag as they are now."""
        with filesystem().open_input_file(self.path) as file:
            return Stat(file.size(), etag=etag(file))

    def open(self) -> NativeFile:
        """Its bytes from the beginning, fetched piece by piece."""
        return filesystem().open_input_stream(self.path, compression=None, buffer_size=READ)

    def open_anywhere(self) -> NativeFile:
        """Its bytes, to be read at any place."""
        return filesystem().open_input_file(self.path)

    def entries(self) -> list[S3Entry]:
        """What is in the folder; FileNotFoundError when there is none."""
        from pyarrow.fs import FileSelector

        return [S3Entry(info) for info in filesystem().get_file_info(FileSelector(self.path))]

    def _info(self) -> FileInfo:
        return filesystem().get_file_info(self.path)


class S3Entry:
    """A key or a prefix in a listing: what `os.DirEntry` is for a folder on disk."""

    def __init__(self, info: FileInfo) -> None:
        self._info = info
        self.name: str = info.base_name
        self.path: str = SCHEME + info.path

    def is_dir(self) -> bool:
        return self._info.type.name == "Directory"

    def is_symlink(self) -> bool:
        return False

    def stat(self) -> Stat:
        return Stat(self._info.size, self._info.mtime_ns or 0)


def etag(file: NativeFile) -> str:
    """The ETag of an open key: another one for every content."""
    about = {str(name).lower(): value for name, value in file.metadata().items()}
    return about.get("etag", b"").decode()


def parse(address: str) -> S3Path:
    """The place that `s3://bucket/prefix` names; UsageError for anything else."""
    path = address.removeprefix(SCHEME).strip("/")
    bucket, _, key = path.partition("/")
    if not _BUCKET.fullmatch(bucket) or "//" in key or {".", ".."} & set(key.split("/")):
        # not repeated: someone may have put credentials into it
        raise UsageError("The data's address is not of the form s3://bucket/prefix.")
    return S3Path(path)


def place(address: object) -> S3Path | Path:
    """Where an address leads: into S3, or to an absolute path on disk."""
    text = str(address)
    return parse(text) if text.startswith(SCHEME) else Path(text).absolute()


def stats(paths: Iterable[S3Path]) -> list[Stat]:
    """`stat()` of each, several requests at a time; DaybookError naming the one that failed."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(_stat, paths))


def _stat(path: S3Path) -> Stat:
    try:
        return path.stat()
    except OSError as error:
        raise error_of(path, error) from None


def error_of(path: object, error: Exception) -> DaybookError:
    """`error` in words that say what to do, without anything the server said."""
    text = str(error)
    found = _CODE.search(text)
    code = found[1] if found else ""
    status = _STATUS.search(text)
    if code == "NO_SUCH_BUCKET":
        return DaybookError(f"{path}: there is no such bucket.")
    if code in ("NO_SUCH_KEY", "RESOURCE_NOT_FOUND") or isinstance(error, FileNotFoundError):
        return DaybookError(f"{path}: it is no longer there.")
    if code in ("INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "INVALID_CLIENT_TOKEN_ID"):
        return _refused(path, code)
    if code in ("ACCESS_DENIED", "UNRECOGNIZED_CLIENT") or (status and status[1] in ("401", "403")):
        return _refused(path, code or "ACCESS_DENIED")
    if code in ("SLOW_DOWN", "THROTTLING", "SERVICE_UNAVAILABLE", "REQUEST_TIMEOUT"):
        return DaybookError(f"{path}: the server is too busy, asked {TRIES} times ({code}).")
    if code == "NETWORK_CONNECTION":
        where = next(filter(None, map(os.environ.get, ENDPOINTS)), "AWS")
        return DaybookError(f"{path}: {where.rpartition('@')[2]} can't be reached.")
    return DaybookError(f"{path}: S3 failed ({code or (status and status[1]) or 'no code'}).")


def _refused(path: object, code: str) -> DaybookError:
    return DaybookError(
        f"{path}: the credentials were refused ({code}). Look at AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and what they may read."
    )


def filesystem() -> S3FileSystem:
    """pyarrow's file system for the settings of now."""
    return _filesystem(tuple(os.environ.get(name) for name in SETTINGS))


@lru_cache(maxsize=4)
def _filesystem(settings: tuple[str | None, ...]) -> S3FileSystem:
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    known = dict(zip(SETTINGS, settings, strict=True))
    endpoint = next(filter(None, (known[name] for name in ENDPOINTS)), None)
    scheme, _, host = (endpoint or "").rpartition("://")
    # The SDK behind pyarrow keeps the variables it saw first, so they are handed over.
    key = known["AWS_ACCESS_KEY_ID"]
    return S3FileSystem(
        access_key=key or None,
        secret_key=(known["AWS_SECRET_ACCESS_KEY"] or "") if key else None,
        session_token=(known["AWS_SESSION_TOKEN"] or None) if key else None,
        region=known["AWS_REGION"] or known["AWS_DEFAULT_REGION"] or None,
        endpoint_override=host.rstrip("/") or None,
        scheme=scheme or "https",
        connect_timeout=10,
        request_timeout=60,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=TRIES),
    )
