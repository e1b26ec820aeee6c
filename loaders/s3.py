"""`s3://bucket/prefix`, with the methods of pathlib that `loaders.files` uses.

The endpoint comes from AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, the region and the credentials from
the standard AWS variables and files. No message repeats a server's text: only the code of an error
is shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from loaders.errors import DaybookError, UsageError

SCHEME = "s3://"
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
TRIES = 8  # of a throttled or failed request, with growing pauses: about 30 s in all
# Until a server that nothing was heard of is given up: tries, seconds to connect (about 10 s in
# all), and to say a first byte (30 s in all).
NO_ANSWER = (3, 3, 10)
READ = 4 << 20  # bytes of a request: each costs a round trip
AT_ONCE = 16  # requests
REFUSED = (
    *("INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "INVALID_CLIENT_TOKEN_ID"),
    *("ACCESS_DENIED", "UNRECOGNIZED_CLIENT", "401", "403"),
    *("400", "301"),  # to a HEAD, with nothing more: a token that has expired, or another region
)
UNREACHABLE = "NETWORK_CONNECTION"
Version = tuple[int, int, str | None]  # bytes, mtime_ns (0 in S3) and ETag (None on disk)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ENDPOINT = re.compile(
    r"(?:(https?)://)?((?:[^\s/@]*@)?(?:\[\S+\]|[^\s:/]*)(?::[0-9]+)?(?:/\S*)?)", re.IGNORECASE
)
# The SDK's name or number of an error; where it has neither, the HTTP status.
_CODE = re.compile(r"AWS Error (?:UNKNOWN \(HTTP status |\[code )?(\w+)")


@dataclass(frozen=True, order=True)
class S3Path:
    """A bucket and a key (`path` is `bucket/key`); str() gives the address. `listed`: its type by
    pyarrow, when it comes from a listing."""

    path: str
    listed: str | None = field(default=None, compare=False, repr=False)

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
        return self._kind() != "NotFound"

    def is_dir(self) -> bool:
        return self._kind() == "Directory"

    def is_symlink(self) -> bool:
        return False

    def open(self) -> Any:
        """A stream of its bytes, fetched READ bytes at a time."""
        return filesystem().open_input_stream(self.path, compression=None, buffer_size=READ)

    def open_seekable(self) -> Any:
        """A file that can be read at any offset."""
        return filesystem().open_input_file(self.path)

    def entries(self) -> list[S3Path]:
        """What is in the folder; FileNotFoundError when there is none."""
        from pyarrow.fs import FileSelector

        listing = filesystem().get_file_info(FileSelector(self.path))
        return [S3Path(info.path, info.type.name) for info in listing]

    def _kind(self) -> str:
        """pyarrow's type of it. A day's first requests are these: where no server answers them, as
        without a network or with a wrong endpoint, none is waited for as for one that is busy."""
        if self.listed:
            return self.listed
        try:
            info = filesystem(*NO_ANSWER).get_file_info(self.path)
        except OSError as error:
            if _code(error) == UNREACHABLE:
                raise
            info = filesystem().get_file_info(self.path)
        return str(info.type.name)


def etag(file: Any) -> str:
    """The ETag of an open key, which differs when its content does."""
    metadata = {str(name).lower(): value for name, value in file.metadata().items()}
    return metadata.get("etag", b"").decode()


def place(address: object) -> S3Path | Path:
    """The place that an address names: in S3, or an absolute path on disk. UsageError otherwise."""
    scheme, is_address, path = str(address).partition("://")
    if not is_address:
        return Path(scheme).absolute()
    if scheme != "s3":
        raise UsageError(f"{scheme}:// is not for Daybook: give a folder, or s3://bucket/prefix.")
    path = path.strip("/")
    bucket, _, key = path.partition("/")
    if not _BUCKET.fullmatch(bucket) or "//" in key or {".", ".."} & set(key.split("/")):
        # the address is not shown: it may hold credentials
        raise UsageError("The data's address is not of the form s3://bucket/prefix.")
    return S3Path(path)


def versions(paths: Iterable[S3Path]) -> list[Version]:
    """The version that each key has now, in order; DaybookError that names the one that failed."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(_version, paths))


def _version(path: S3Path) -> Version:
    try:
        with path.open_seekable() as file:
            return file.size(), 0, etag(file)
    except OSError as error:
        raise error_of(path, error) from None


def error_of(path: object, error: Exception) -> DaybookError:
    """`error` as a message that says what to do, without the server's text."""
    code = _code(error)
    if code == "NO_SUCH_BUCKET":
        return DaybookError(f"{path}: there is no such bucket.")
    if code in ("NO_SUCH_KEY", "RESOURCE_NOT_FOUND", "404") or isinstance(error, FileNotFoundError):
        return DaybookError(f"{path}: it is no longer there.")
    if code == "416":  # a range beyond its end
        return DaybookError(f"{path}: it changed while it was read; land the day again.")
    if code in REFUSED:
        return DaybookError(
            f"{path}: the credentials were refused, or the region ({code}). Look at "
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION and what they "
            "may read."
        )
    if code in ("SLOW_DOWN", "THROTTLING", "SERVICE_UNAVAILABLE", "REQUEST_TIMEOUT", "429", "503"):
        return DaybookError(f"{path}: the server is too busy, asked {TRIES} times ({code}).")
    if code == UNREACHABLE:
        where = next(filter(None, map(os.environ.get, ENDPOINTS)), "AWS")
        return DaybookError(f"{path}: {where.rpartition('@')[2]} can't be reached.")
    return DaybookError(f"{path}: S3 failed ({code or 'no code'}).")


def _code(error: Exception) -> str:
    match = _CODE.search(str(error))
    return match[1] if match else ""


@cache
def filesystem(tries: int = TRIES, connect_timeout: int = 10, request_timeout: int = 60) -> Any:
    """pyarrow's file system for the environment's settings; `connect_timeout`, and
    `request_timeout` of a request in which no byte comes, in seconds."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    # pyarrow's SDK takes an empty variable for a setting
    known = {name: value for name, value in os.environ.items() if value}.get
    setting = next(filter(known, ENDPOINTS), "")
    endpoint = _ENDPOINT.fullmatch(known(setting, ""))
    if endpoint is None:
        raise UsageError(f"{setting} is no address such as http://localhost:9000.")
    scheme, host = endpoint.groups()
    key = known("AWS_ACCESS_KEY_ID")
    return S3FileSystem(
        access_key=key,
        secret_key=known("AWS_SECRET_ACCESS_KEY", "") if key else None,
        session_token=known("AWS_SESSION_TOKEN") if key else None,
        region=known("AWS_REGION") or known("AWS_DEFAULT_REGION"),
        endpoint_override=host.rstrip("/") or None,
        scheme=(scheme or "https").lower(),
        connect_timeout=connect_timeout,
        request_timeout=request_timeout,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=tries),
    )
