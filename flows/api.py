"""Prefect's API: the secret that it asks for, and what its server and its callers are told.

A page of any origin and any other user of the machine can reach a port on localhost, and who may
start a run with settings of their own runs commands as the worker.
"""

from __future__ import annotations

import http.client
import os
import secrets
import stat
import urllib.request
from pathlib import Path

from loaders import process, warehouse
from loaders.errors import DaybookError

ADDRESS = "PREFECT_API_URL"
SECRET = "PREFECT_API_AUTH_STRING"


def own_home() -> Path:
    """Where Prefect keeps its own, unless PREFECT_HOME says so: what runs are told is in there."""
    home = warehouse.home() / "prefect"
    process.make_private(home)
    return home


def new_secret() -> str:
    """Who may call, in Prefect's form: a name and a password."""
    return f"daybook:{secrets.token_urlsafe(32)}"


def secret_file() -> Path:
    """Where the stack's secret is kept."""
    return warehouse.home() / "prefect-secret"


def secret() -> str:
    """The stack's secret, made where there is none; PREFECT_API_AUTH_STRING wins. DaybookError for
    a file that others may read."""
    if told := os.environ.get(SECRET):
        return told
    path = secret_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with process.only_one(path.with_suffix(".lock")):
        if not path.exists():
            process.write_private(path, new_secret())
    found = path.lstat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise DaybookError(f"{path} isn't its owner's alone: delete it, then make restart.")
    return path.read_text()


def server_settings(secret: str, port: int) -> dict[str, str]:
    """What a server is started with: no call without the secret, from no page but its own."""
    origins = [f"http://{host}:{port}" for host in ("127.0.0.1", "localhost")]
    return {
        "PREFECT_SERVER_API_AUTH_STRING": secret,
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": ",".join(origins),
    }


def answers(url: str, seconds: float = 2.0) -> bool:
    """Whether a Prefect API is there and well; it needs no secret to say so."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=seconds) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, http.client.HTTPException):
        return False
