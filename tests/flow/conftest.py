"""The flow's command lines in processes of their own, on one Prefect server per test process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from flows import server
from loaders import server as pg
from loaders.sources import PROJECT


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect server for the tests of this process: a temporary one per run takes seconds."""
    folder = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(folder))
        patch.setenv("PREFECT_API_URL", "")
        server.spawn_server(folder)
        url = os.environ["PREFECT_API_URL"]
    yield url
    server.stop_server()


@pytest.fixture(scope="session")
def dbt_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profiles.yml as set-up makes it, and dbt's target, parsed once."""
    folder = tmp_path_factory.mktemp("flow-dbt")
    shutil.copy(PROJECT / "profiles.example.yml", folder / "profiles.yml")
    return folder


@pytest.fixture
def dbt_environment(dbt_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBT_PROFILES_DIR", str(dbt_folder))
    monkeypatch.setenv("DBT_TARGET_PATH", str(dbt_folder / "target"))
    monkeypatch.setenv("DBT_LOG_PATH", str(dbt_folder / "logs"))


@pytest.fixture
def flow_environment(
    warehouse: str, prefect_url: str, dbt_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This test's warehouse, the shared Prefect server, a profile: what a child inherits."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    monkeypatch.setenv("PREFECT_HOME", str(Path(os.environ["DBT_PROFILES_DIR"]) / "prefect"))


class Stack:
    """What `make up` makes, in a home of its own: warehouse, Prefect server, worker."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.home, self.environment = home, environment

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environment['PREFECT_SERVER_API_PORT']}/api"

    def run(
        self, module: str, *arguments: Any, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """A command line as a user of the stack types it."""
        return subprocess.run(
            _command(module, arguments),
            cwd=PROJECT,
            env={**self.environment, **settings},
            capture_output=True,
            text=True,
            timeout=400,
        )

    def start(self, module: str, *arguments: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            _command(module, arguments),
            cwd=PROJECT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def up(self) -> None:
        done = self.run("flows.stack", "up")
        assert done.returncode == 0, done.stderr + done.stdout

    def prefect(self, method: str, path: str, **body: Any) -> Any:
        """Prefect's own API."""
        request = urllib.request.Request(
            self.url + path,
            json.dumps(body).encode() if body or method != "GET" else None,
            {"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")

    def flow_runs(self, **wanted: Any) -> list[dict[str, Any]]:
        return self.prefect("POST", "/flow_runs/filter", flow_runs=wanted)

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(**pg.address(self.home), autocommit=True, row_factory=dict_row)

    def pid(self, name: str) -> int:
        return json.loads((self.home / "stack" / f"{name}.json").read_text())["pid"]


@pytest.fixture(scope="session")
def stack(dbt_folder: Path) -> Iterator[Stack]:
    """The stack of this test process: it takes as long to start as a day to run."""
    home = Path(tempfile.mkdtemp(prefix="db-", dir="/tmp"))
    home.chmod(0o755)
    with contextlib.closing(socket.socket()) as any_free:
        any_free.bind(("127.0.0.1", 0))
        port = any_free.getsockname()[1]
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "DATABASE_URL"))},
        "DAYBOOK_HOME": str(home),
        "PREFECT_SERVER_API_PORT": str(port),
        "DBT_PROFILES_DIR": str(dbt_folder),
        "DBT_TARGET_PATH": str(dbt_folder / "target"),
        "DBT_LOG_PATH": str(dbt_folder / "logs"),
    }
    made = Stack(home, environment)
    made.up()
    yield made
    made.run("flows.stack", "down")
    pg.reset(home)
    shutil.rmtree(home, ignore_errors=True)


def _command(module: str, arguments: tuple[Any, ...]) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


@pytest.fixture
def flow_cli(flow_environment: None) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`flow_cli("flows.day", "--day", "day1", …)` runs it and returns what it said."""

    def run(module: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            _command(module, arguments), cwd=PROJECT, capture_output=True, text=True, timeout=180
        )

    return run


@pytest.fixture
def flow_started(flow_environment: None) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """As flow_cli, but returns the running process; it is killed when the test ends."""
    running: list[subprocess.Popen[str]] = []

    def start(module: str, *arguments: Any) -> subprocess.Popen[str]:
        running.append(
            subprocess.Popen(
                _command(module, arguments),
                cwd=PROJECT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()
