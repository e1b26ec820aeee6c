"""Prefect's API: its address, its secret, and the settings of its server and callers.

Any web page and any user of the machine can reach a port on localhost, and whoever may start a run
with settings of their own can run commands as the worker.
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
START_SECONDS = 90  # for a server, the first of which makes its database, or a worker


def folder() -> Path:
    """The folder of the stack's pid notes, logs and lock."""
    return warehouse.home() / "stack"


def server() -> process.Program:
    """The stack's Prefect server."""
    return process.Program(folder(), "server")


def prefect_home() -> str:
    """PREFECT_HOME, else our folder; UsageError when Prefect's database can't be in ours."""
    home = warehouse.own_folder("prefect")  # it holds the parameters of runs
    if users := os.environ.get("PREFECT_HOME"):
        return users
    if re.search("[?%]", str(home)):
        raise UsageError(
            f"{home}: Prefect's database can't be in a folder with ? or % in its name: set another"
            " DAYBOOK_HOME, or PREFECT_HOME."
        )
    return str(home)


def environment() -> dict[str, str]:
    """The variables of server, worker and deployments; those that the user has set win."""
    warehouse.own_folder("stack")
    return {
        "PREFECT_HOME": prefect_home(),
        ADDRESS: local_address(port()),
        "PREFECT_WORKER_QUERY_SECONDS": "1",  # by default 10: each phase would wait it out
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",  # by default runs stay
        **os.environ,
        "DAYBOOK_HOME": str(warehouse.home()),
    }


def url() -> str | None:
    """The address of PREFECT_API_URL, else of the stack's API; None when it doesn't answer."""
    address = _address()
    return address if answers(address) else None


def connection() -> dict[str, str]:
    """Variables for the stack's API; none when it is down or PREFECT_API_URL is another's."""
    address = _address()
    if place(address) != (LOCAL, server().note().get("port")) or not answers(address):
        return {}
    # Only a server of ours gets the secret: another program may have taken its port.
    return {ADDRESS: address, **({SECRET: secret()} if server().pid() else {})}


def place(address: str) -> tuple[str, int]:
    """Host and port of an API; this machine is always LOCAL."""
    with contextlib.suppress(ValueError):  # of a port that is no number
        parts = urlsplit(address)
        host = str(parts.hostname)
        return LOCAL if host in ("localhost", "::1") else host, parts.port or 80
    raise UsageError(f"{ADDRESS} is no address: its port is no number up to 65535.")


def answers(address: str) -> bool:
    """Whether a healthy API is at `address`. It needs no secret to answer this."""
    try:
        with urllib.request.urlopen(f"{bare(address)}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, http.client.HTTPException):
        return False


def check_is_there(address: str) -> None:
    """DaybookError unless some server answers, whatever it says, at an address of the user's."""
    try:
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"{bare(address)}/health", timeout=10).close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLError):
            return  # which certificates to trust is Prefect's own setting
        raise DaybookError(
            f"Nothing answers at {ADDRESS}, {bare(address)}: start that server, or unset it."
        ) from None


def bare(address: str) -> str:
    """An address without the name and password that may be in it."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def wait_for(
    program: str, is_ready: Callable[[], bool], log: Path, is_alive: Callable[[], Any]
) -> None:
    """Wait until a program that was just started is ready. DaybookError when it isn't."""
    ended = process.until(lambda: is_ready() or not is_alive(), START_SECONDS)
    if not ended or not is_alive():
        raise DaybookError(f"Prefect's {program} did not start: see {log}.")


def new_secret() -> str:
    """A new secret in Prefect's form, `name:password`."""
    return f"daybook:{secrets.token_urlsafe(32)}"


def secret_file() -> Path:
    """Where the stack's secret is kept."""
    return warehouse.home() / "prefect-secret"


def secret() -> str:
    """PREFECT_API_AUTH_STRING, else the stack's secret, made when there is none. DaybookError when
    others may read its file."""
    if users := os.environ.get(SECRET):
        return users
    path = secret_file()
    if not path.exists():
        process.write_private(path, new_secret())
    state = path.lstat()
    if state.st_uid != os.geteuid() or stat.S_IMODE(state.st_mode) & 0o077:
        raise DaybookError(f"{path} isn't its owner's alone: delete it, then make restart.")
    return path.read_text()


def server_settings(secret: str, port: int) -> dict[str, str]:
    """A server's variables: it takes no call without the secret, and none from foreign pages."""
    origins = [f"http://{host}:{port}" for host in (LOCAL, "localhost")]
    return {
        "PREFECT_SERVER_API_AUTH_STRING": secret,
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": ",".join(origins),
    }


def _address() -> str:
    """PREFECT_API_URL, else the stack's address; empty when there is neither."""
    port = server().note().get("port")
    return os.environ.get(ADDRESS) or (local_address(port) if port else "")


def local_address(port: int) -> str:
    """The address of an API on this machine."""
    return f"http://{LOCAL}:{port}/api"


def port() -> int:
    """The stack's port: the configured one, else the one in use, else Prefect's default."""
    text = os.environ.get("PREFECT_SERVER_API_PORT") or str(server().note().get("port", PORT))
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise UsageError("PREFECT_SERVER_API_PORT is a number up to 65535.")
    return int(text)
