"""moto's S3 server in a process of its own, behind a proxy that can fail requests."""

from __future__ import annotations

import contextlib
import functools
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.watching import free_port, until

PAGE = 50  # keys in one answer, where Arrow asks for a thousand
SLOW_DOWN = (
    b'<?xml version="1.0"?><Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)


class Door(ThreadingHTTPServer):
    """Hands requests on to `port`. `before(method, path)` may do something, or give the status to
    refuse with."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.port = port
        self.before: Callable[[str, str], int] = lambda _method, _path: 0
        self.seen: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Door

    def _handle(self) -> None:
        body = self._body()
        self.server.seen.append((self.command, self.path))
        if status := self.server.before(self.command, self.path):
            self._answer(status, {"Content-Type": "application/xml"}, SLOW_DOWN)
            return
        onward = HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        asked = {k: v for k, v in self.headers.items() if k.lower() != "transfer-encoding"}
        path = self.path.replace("max-keys=1000", f"max-keys={PAGE}")
        onward.request(self.command, path, body, asked)
        answer = onward.getresponse()
        headers = {
            name: value
            for name, value in answer.getheaders()
            if name.lower() not in ("transfer-encoding", "connection", "server", "date")
        }
        self._answer(answer.status, headers, answer.read())
        onward.close()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if not (name.lower() == "content-length" and self.command != "HEAD"):
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def log_message(self, *_: Any) -> None:
        return


@contextlib.contextmanager
def s3_server() -> Iterator[Door]:
    """A fresh server, up and reachable through its door."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _answers(port, process))
        with Door(port) as door:
            threading.Thread(target=door.serve_forever, args=[0.05], daemon=True).start()
            yield door
            door.shutdown()
    finally:
        process.kill()
        process.wait()


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "moto's server did not come up"
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def reset(door: Door, *, checks_credentials: bool = False) -> None:
    """Nothing in it, nothing misbehaving. With `checks_credentials` it knows nobody's."""
    door.before = lambda _method, _path: 0
    door.seen.clear()
    free = b"0" if checks_credentials else b"1000000000"
    for path, body in (("reset", b""), ("reset-auth", free)):
        address = f"http://127.0.0.1:{door.port}/moto-api/{path}"
        # without a type urllib says it is a form, and Flask takes it apart
        request = urllib.request.Request(address, body, {"Content-Type": "text/plain"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()


@functools.cache
def client(door: Door) -> Any:
    """boto3's, straight to the server: what tests put there does not go through the door."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{door.port}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def upload(door: Door, folder: Path, address: str) -> None:
    """Put all files of `folder` under `bucket/prefix`; the bucket is made."""
    bucket, _, prefix = address.partition("/")
    s3 = client(door)
    s3.create_bucket(Bucket=bucket)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(folder)}".lstrip("/")
            s3.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
