"""The flow's command lines in processes of their own, on one Prefect server per test process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import server
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
