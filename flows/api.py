"""Prefect's API: where it is, the secret that it asks for, what server and callers are told.

A page of any origin and any other user of the machine can reach a port on localhost, and who may
start a run with settings of its own runs commands as the worker.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import secrets
import ssl
import stat
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loaders import process, warehouse
from loaders.errors import DaybookError, UsageError

ADDRESS = "PREFECT_API_URL"
SECRET = "PREFECT_API_AUTH_STRING"
POOL = "daybook"
LOCAL = "127.0.0.1"
PORT = 4200  # Prefect's own
START_SECONDS = 90  # for a server: the first one makes its database


def folder() -> Path:
    """Where notes and logs of the stack are."""
    return warehouse.home() / "stack"


def server() -> process.Program:
    """The stack's Prefect server."""
    return process.Program(folder(), "server")


def own_home() -> Path:
    """Where Prefect keeps its own, unless PREFECT_HOME says so: what runs are told is in there."""
    return process.private_folder(warehouse.home() / "prefect")


def prefect_home() -> str:
    """PREFECT_HOME, else ours; UsageError where Prefect's database could not be in it."""
    home = own_home()
    if given := os.environ.get("PREFECT_HOME"):
        return given
    if re.search("[?%]", str(home)):
        raise UsageError(
            f"{home}: Prefect's database can't be in a folder with ? or % in its name: set another"
            " DAYBOOK_HOME, or PREFECT_HOME."
        )
    return str(home)


def environment() -> dict[str, str]:
    """What server, worker and deployments run with; what the user has set wins."""
    process.private_folder(folder())
    return {
        "PREFECT_HOME": prefect_home(),
        ADDRESS: local_address(port()),
        "PREFECT_WORKER_QUERY_SECONDS": "1",  # each phase waits for it: 10 is long
        **os.environ,
        "DAYBOOK_HOME": str(warehouse.home()),
    }


def url() -> str | None:
    """The API that PREFECT_API_URL names, else the stack's, if it answers."""
    address = _address()
    return address if address and answers(address) else None


def connection() -> dict[str, str]:
    """Address and secret of the stack's API; empty when it is down or another one is named."""
    address = _address()
    if place(address) != (LOCAL, server().note().get("port")) or not answers(address):
        return {}
    # Nobody but a server of our own is told it, even on its port.
    return {ADDRESS: address, **({SECRET: secret()} if server().pid() else {})}


def place(address: str) -> tuple[str, int]:
    """Host and port of an API, this machine by one name."""
    parts = urlsplit(address)
    host = str(parts.hostname)
    return LOCAL if host in ("localhost", "::1") else host, parts.port or 80


def answers(address: str, seconds: float = 2.0) -> bool:
    """Whether an API is there and well; it needs no secret to say so."""
    try:
        with urllib.request.urlopen(f"{bare(address)}/health", timeout=seconds) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, http.client.HTTPException):
        return False


def check_is_there(address: str) -> None:
    """DaybookError where no server, whatever it says, is at an address that the user has set."""
    try:
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"{bare(address)}/health", timeout=10).close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLError):
            return  # whom to trust is Prefect's own setting
        raise DaybookError(
            f"Nothing answers at {ADDRESS}, {bare(address)}: start that server, or unset it."
        ) from None


def bare(address: str) -> str:
    """An address without the name and password that it can hold."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def wait_for(address: str, log: Path, is_alive: Callable[[], Any]) -> None:
    """Wait until a server that has just been started answers. DaybookError where it doesn't."""
    process.until(lambda: answers(address, START_SECONDS) or not is_alive(), START_SECONDS)
    if not is_alive() or not answers(address):
        raise DaybookError(f"Prefect's server did not start: see {log}.")


def new_secret() -> str:
    """Who may call, in Prefect's form: a name and a password."""
    return f"daybook:{secrets.token_urlsafe(32)}"


def secret_file() -> Path:
    """Where the stack's secret is kept."""
    return warehouse.home() / "prefect-secret"


def secret() -> str:
    """The stack's secret, made where there is none; PREFECT_API_AUTH_STRING wins. DaybookError for
    a file that others may read."""
    if given := os.environ.get(SECRET):
        return given
    path = secret_file()
    if not path.exists():
        process.write_private(path, new_secret())
    state = path.lstat()
    if state.st_uid != os.geteuid() or stat.S_IMODE(state.st_mode) & 0o077:
        raise DaybookError(f"{path} isn't its owner's alone: delete it, then make restart.")
    return path.read_text()


def server_settings(secret: str, port: int) -> dict[str, str]:
    """What a server is started with: no call without the secret, from no page but its own."""
    origins = [f"http://{host}:{port}" for host in (LOCAL, "localhost")]
    return {
        "PREFECT_SERVER_API_AUTH_STRING": secret,
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": ",".join(origins),
    }


def _address() -> str:
    """Empty where PREFECT_API_URL names none and the stack has none."""
    port = server().note().get("port")
    return os.environ.get(ADDRESS) or (local_address(port) if port else "")


def local_address(port: int) -> str:
    """That of an API on this machine."""
    return f"http://{LOCAL}:{port}/api"


def port() -> int:
    """That of the stack's API: the configured one; else the one in use, or Prefect's own."""
    return int(os.environ.get("PREFECT_SERVER_API_PORT") or server().note().get("port", PORT))
