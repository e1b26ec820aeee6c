"""The flow's command lines as processes: forks on one Prefect server, or a stack of their own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg.rows import dict_row

from loaders import server as pg
from tests.conftest import MIGRATED, copy_database, dbt_settings, new_home, remove_home
from tests.forks import Command, Forks
from tests.raw_days import SAMPLE
from tests.watching import free_port, prefect, run_python


@pytest.fixture
def flow_environment(warehouse, prefect_url, dbt_environment, monkeypatch) -> None:
    """This test's warehouse, the shared Prefect server, a profile: what a child inherits."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    monkeypatch.setenv("PREFECT_HOME", str(Path(os.environ["DBT_PROFILES_DIR"]) / "prefect"))


@pytest.fixture
def flow_started(flow_environment, forks) -> Iterator[Callable[..., Command]]:
    """`flow_started("flows.day", "--day", "day1", …)` is the running command; killed at the end."""
    running: list[Command] = []

    def start(module: str, *arguments: Any, **environment: str) -> Command:
        running.append(forks.start(module, *arguments, env={**os.environ, **environment}))
        return running[-1]

    yield start
    for command in running:
        command.kill()
        command.wait()


@pytest.fixture
def flow_cli(flow_started) -> Callable[..., Command]:
    """As flow_started, but waits until the command has ended."""

    def run(module: str, *arguments: Any) -> Command:
        command = flow_started(module, *arguments)
        command.wait()
        return command

    return run


@pytest.fixture(scope="session")
def _with_day1() -> list[Command]:
    """The run that made this process's template of day1: by the first test that wants it."""
    return []


@pytest.fixture
def after_day1(_with_day1, shared_home, flow_cli) -> Command:
    """The flow has run the first sample day, by this command. Asked for before `db`, whose session
    it would end."""
    if not _with_day1:
        done = flow_cli("flows.day", "--day", "day1", "--data", SAMPLE)
        assert done.returncode == 0, done.stderr
        copy_database(shared_home, "daybook", "after_day1")
        _with_day1.append(done)
    else:
        copy_database(shared_home, "after_day1")
    return _with_day1[0]


class Stack:
    """What `make up` makes in a home of its own: warehouse, Prefect server, worker."""

    def __init__(self, home: Path, forks: Forks, environment: dict[str, str], api: str) -> None:
        self.home, self.environment, self.api, self._forks = home, environment, api, forks
        self.secret: str | None = None  # that of this test process's server

    def start(self, module: str, *arguments: Any) -> Command:
        env = {**self.environment, "PREFECT_API_URL": self.api}
        if self.secret:
            env["PREFECT_API_AUTH_STRING"] = self.secret
        return self._forks.start(module, *arguments, env=env)

    def run(self, module: str, *arguments: Any) -> Command:
        command = self.start(module, *arguments)
        command.wait(400)
        return command

    def day(self, day: str, *options: str) -> None:
        done = self.run("flows.day", "--day", day, "--data", SAMPLE, *options)
        assert done.returncode == 0, done.stdout + done.stderr

    def cold(self, module: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
        """A command as a user types it: it finds Prefect and warehouse by itself."""
        return run_python("-m", module, *arguments, env=self.environment)

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(**pg.address(self.home), autocommit=True, row_factory=dict_row)

    def postmaster(self) -> int:
        return int((self.home / "pg" / "postmaster.pid").read_text().splitlines()[0])

    def prefect(self, path: str, **body: Any) -> Any:
        return prefect(self.api, path, self.secret, **body)

    def up(self) -> None:
        done = self.cold("flows.stack", "up")
        assert done.returncode == 0, done.stderr + done.stdout
        self.secret = (self.home / "prefect-secret").read_text()

    def deployment(self, name: str, *parameters: str, watch: bool = True) -> Command:
        """`prefect deployment run …`, with the sample days as data."""
        options = [word for each in (f"data={SAMPLE}", *parameters) for word in ("-p", each)]
        return self.run("prefect", "deployment", "run", name, *options, *["--watch"] * watch)

    def begin(self, **parameters: Any) -> str:
        """A run of the day's deployment, started as from its page; its id."""
        found = self.prefect("/deployments/name/day-pipeline/day-pipeline")
        path = f"/deployments/{found['id']}/create_flow_run"
        return self.prefect(path, parameters={"data": str(SAMPLE), **parameters})["id"]

    def allow(self, runs: int) -> None:
        """How many runs the work pool has at once."""
        done = self.run("prefect", "work-pool", "set-concurrency-limit", "daybook", runs)
        assert done.returncode == 0, done.stderr

    def flow_runs(self, **wanted: Any) -> list[dict[str, Any]]:
        return self.prefect("/flow_runs/filter", flow_runs=wanted)

    def pid(self, name: str) -> int:
        """Of the server or the worker."""
        return json.loads((self.home / "stack" / f"{name}.json").read_text())["pid"]

    def flow_processes(self) -> list[psutil.Process]:
        return psutil.Process(self.pid("worker")).children(recursive=True)


@pytest.fixture(scope="session")
def stack(dbt_folder, forks) -> Iterator[Stack]:
    """The stack of this test process: it takes as long to start as a day to run."""
    home, port = new_home(), free_port()
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "DATABASE_URL"))},
        "DAYBOOK_HOME": str(home),
        "PREFECT_SERVER_API_PORT": str(port),
        **dbt_settings(dbt_folder),
    }
    made = Stack(home, forks, environment, f"http://127.0.0.1:{port}/api")
    try:
        made.up()
        assert made.prefect("/work_pools/daybook")["status"] == "READY", "a day may begin at once"
        copy_database(home, "daybook", MIGRATED)
        yield made
    finally:
        made.cold("flows.stack", "down")
        remove_home(home)
