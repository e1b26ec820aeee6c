"""The containers, without a container engine: each service's command as a process of this machine,
in the declared order, behind its health check."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
import socket
import subprocess
import threading
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from flows import api
from loaders import cluster, s3, warehouse
from loaders import server as pg
from loaders.sources import PROJECT
from tests.conftest import new_home, remove_home
from tests.raw_days import SAMPLE
from tests.watching import column, free_port, prefect, run_command, value

DEPLOY = PROJECT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DEVELOPMENT = yaml.safe_load((DEPLOY / "compose.dev.yaml").read_text())
GIVEN = {
    "DAYBOOK_DB_PASSWORD": "secret1",
    "DAYBOOK_PREFECT_PASSWORD": "secret2",
    "DAYBOOK_RUN_PASSWORD": "secret3",
    "DAYBOOK_PREFECT_DB_PASSWORD": "secret4",
    "DAYBOOK_DATA": str(SAMPLE),
}


def filled_in(text: str) -> str:
    """Compose's own ${NAME:-default} and ${NAME:?message}."""
    return re.sub(
        r"\$\{(\w+)(?::([-?])([^}]*))?\}",
        lambda m: GIVEN.get(m[1]) or (m[3] if m[2] == "-" else ""),
        text,
    )


def forward(port: int, path: str) -> None:
    """Make the server behind the unix socket `path` listen on `port`."""

    def pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while piece := source.recv(1 << 16):
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            target.close()

    def serve() -> None:
        with socket.create_server(("127.0.0.1", port)) as listener:
            while True:
                client, _ = listener.accept()
                upstream = socket.socket(socket.AF_UNIX)
                upstream.connect(path)
                for ends in ((client, upstream), (upstream, client)):
                    threading.Thread(target=pump, args=ends, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()


def of_the_image() -> dict[str, str]:
    """The settings that the image itself has."""
    final = (DEPLOY / "Dockerfile").read_text().rpartition("\nENV ")[2].partition("\nUSER")[0]
    return dict(re.findall(r"(\w+)=(\S+)", final))


class Machine:
    """Names, ports and folders of the containers, as they are on this machine."""

    def __init__(self, home: Path) -> None:
        self.home, self.db_port, self.api_port = home, free_port(), free_port()
        self.processes: list[subprocess.Popen[bytes]] = []

    def here(self, text: str) -> str:
        for there, here in {
            "prefect-server:4200": f"127.0.0.1:{self.api_port}",
            "127.0.0.1:4200": f"127.0.0.1:{self.api_port}",
            "0.0.0.0": "127.0.0.1",
            "--port 4200": f"--port {self.api_port}",
        }.items():
            text = text.replace(there, here)
        return text

    def environment(self, service: dict[str, Any]) -> dict[str, str]:
        declared = {name: self.here(filled_in(v)) for name, v in service["environment"].items()}
        return {
            **of_the_image(),
            **{name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ},
            "PATH": f"{PROJECT / '.venv/bin'}:/usr/bin:/bin",
            "HOME": str(self.home),
            "DAYBOOK_HOME": str(self.home),
            "PREFECT_HOME": str(self.home / "prefect"),
            "DBT_PROFILES_DIR": str(self.home),
            "DATA_BASE_PATH": str(SAMPLE),
            **declared,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.db_port),
            # The embedded server lacks pg_trgm, which Prefect's migrations ask PostgreSQL for.
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self.home}/prefect.db",
        }

    def start(self, name: str) -> subprocess.Popen[bytes]:
        service = SERVICES[name]
        command = shlex.split(self.here(shlex.join(service["command"])))
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=self.environment(service),
            stdout=(self.home / f"{name}.log").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def wait_until_healthy(self, name: str, seconds: float = 120) -> None:
        test = [self.here(part) for part in SERVICES[name]["healthcheck"]["test"][1:]]
        deadline = time.monotonic() + seconds
        while run_command(*test, env=self.environment(SERVICES[name]), timeout=30).returncode:
            assert time.monotonic() < deadline, (self.home / f"{name}.log").read_text()[-2000:]
            time.sleep(0.5)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return run_command(*command, env=self.environment(SERVICES["prefect-worker"]))


def make_logins(home: Path) -> None:
    """Run the script that the database's image runs when its volume is new."""
    settings = {n: filled_in(v) for n, v in SERVICES["db"]["environment"].items()}
    path = f"{Path(cluster.program('psql')).parent}:/usr/bin:/bin"
    subprocess.run(
        ["sh", DEPLOY / "logins.sh"],
        env={**settings, "PATH": path, "PGHOST": pg.address(home)["host"]},
        check=True,
    )


def test_the_passwords_of_the_logins_are_in_no_argument(tmp_path):
    """Everybody on the machine sees a container's processes."""
    (tmp_path / "psql").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "psql").chmod(0o755)
    settings = {n: filled_in(v) for n, v in SERVICES["db"]["environment"].items()}
    path = f"{tmp_path}:/usr/bin:/bin"
    done = run_command("sh", DEPLOY / "logins.sh", env={**settings, "PATH": path})
    assert "-U daybook -d daybook" in done.stdout
    assert "secret" not in done.stdout


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine(home := new_home())
    try:
        (home / "profiles.yml").write_text((PROJECT / "profiles.example.yml").read_text())
        pg.start(home)
        make_logins(home)
        forward(machine.db_port, f"{pg.address(home)['host']}/.s.PGSQL.5432")
        yield machine
    finally:
        for process in reversed(machine.processes):
            process.terminate()
        for process in reversed(machine.processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()  # does nothing once it has ended
            process.wait()
        remove_home(home)


@pytest.mark.stack
@pytest.mark.slow
def test_a_day_goes_through_the_services_in_their_order(machine):
    waits_for = {name: service.get("depends_on", {}) for name, service in SERVICES.items()}
    healthy, completed = (
        {"condition": f"service_{c}"} for c in ("healthy", "completed_successfully")
    )
    assert list(waits_for["setup-db"].values()) == [healthy]
    assert waits_for["prefect-server"] == {"setup-db": completed}
    assert waits_for["prefect-worker"] == {"prefect-server": healthy}
    for _ in range(2):  # migrating is idempotent
        assert machine.start("setup-db").wait(120) == 0, (machine.home / "setup-db.log").read_text()
    machine.start("prefect-server")
    machine.wait_until_healthy("prefect-server")
    machine.start("prefect-worker")

    day = ("prefect", "deployment", "run", "day-pipeline/day-pipeline", "-p", "day=day1")
    deadline = time.monotonic() + 120
    while "not found" in (done := machine.run(*day, "--watch")).stdout + done.stderr:
        assert time.monotonic() < deadline, done.stdout + done.stderr
        time.sleep(1)  # the worker deploys first
    assert "finished successfully" in done.stdout, done.stdout
    with psycopg.connect(**pg.address(machine.home)) as db:
        assert value(db, "select count(*) from silver.agents") > 0
        assert {*column(db, "select status from metrics.pipeline_metrics")} == {"success"}
        superusers = "select rolname from pg_roles where rolcanlogin and rolsuper"
        assert column(db, superusers) == ["daybook"]
        may_prove = "select has_database_privilege('daybook_run', current_database(), 'create')"
        assert value(db, may_prove)
        owner = "select relowner::regrole::text from pg_class where oid = 'silver.agents'::regclass"
        assert value(db, owner) == "daybook_transformer"
    logs = "".join(path.read_text() for path in machine.home.glob("*.log"))
    assert not {"secret1", "secret2", "secret3", "secret4"} & set(re.findall(r"\w+", logs))
    api = f"http://127.0.0.1:{machine.api_port}/api"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        prefect(api, "/admin/version", "daybook:guess")
    assert prefect(api, "/admin/version", "daybook:secret2")


def test_every_setting_of_compose_is_explained_and_no_other():
    text = (DEPLOY / ".env.example").read_text()
    explained = dict(re.findall(r"^#?([A-Z_0-9]+)=(.*)$", text, re.M))
    used = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    assert used <= set(explained)
    containers = text.split("--- everywhere")[0]
    assert set(re.findall(r"^#?([A-Z_0-9]+)=", containers, re.M)) <= used
    lines = text.splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r"#?[A-Z_0-9]+=", line) and not re.match(r"#?[A-Z_0-9]+=", before):
            assert before.startswith("# "), f"{line} isn't explained"


def test_a_run_in_a_container_can_read_days_in_s3():
    of_aws = {
        name: {each for each in service.get("environment", {}) if each.startswith("AWS_")}
        for name, service in SERVICES.items()
    }
    passed = of_aws.pop("prefect-worker")
    assert not any(of_aws.values())
    assert passed <= set(re.findall(r'"(AWS_\w+)"', Path(s3.__file__).read_text()))
    kinds = {"ACCESS", "SECRET", "SESSION", "REGION", "DEFAULT", "ENDPOINT"}
    assert {name.split("_")[1] for name in passed} == kinds


def test_ports_are_on_localhost_and_data_is_in_named_volumes():
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
    assert SERVICES["db"]["image"] == "postgres:18"
    # The image of 18 keeps its data one folder higher than those before.
    assert "db:/var/lib/postgresql" in SERVICES["db"]["volumes"]
    assert set(COMPOSE["volumes"]) == {"db", "home"}
    _, *others = SERVICES["prefect-worker"]["volumes"]
    assert all(volume.endswith(":ro") for volume in others)


def test_nobody_gets_in_from_a_page_of_another_origin_or_without_the_password():
    settings = SERVICES["prefect-server"]["environment"]
    assert settings["PREFECT_SERVER_API_AUTH_STRING"] == settings["PREFECT_API_AUTH_STRING"]
    assert "PREFECT_SERVER_API_AUTH_STRING" not in SERVICES["prefect-worker"]["environment"]
    port = SERVICES["prefect-server"]["ports"][0].split(":", 1)[1].removesuffix(":4200")
    names = set(api.server_settings("a:b", 1))
    assert names <= set(settings)
    origins = settings["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"].split(",")
    assert origins == [f"http://127.0.0.1:{port}", f"http://localhost:{port}"]
    assert settings["PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED"] == "true"
    # A browser doesn't know the containers' names.
    assert settings["PREFECT_SERVER_UI_API_URL"] == f"{origins[0]}/api"
    assert SERVICES["prefect-worker"]["environment"]["PREFECT_UI_URL"] == origins[0]


def test_in_a_container_without_settings_the_warehouse_is_the_service_db(monkeypatch):
    for name in ("DATABASE_URL", "PGPORT"):
        monkeypatch.delenv(name, raising=False)
    for name, setting in of_the_image().items():
        if name.startswith("PG"):
            monkeypatch.setenv(name, setting)
    assert SERVICES["db"]["environment"]["POSTGRES_USER"] == "daybook"
    assert warehouse.where() == "host db, port 5432, database daybook, user daybook"
    assert not warehouse.is_embedded()


def test_development_runs_the_code_of_this_folder_where_the_image_has_its_own():
    assert set(DEVELOPMENT["services"]) == {"setup-db", "prefect-worker"}
    (workdir,) = re.findall(r"^WORKDIR (/opt/\S+)$", (DEPLOY / "Dockerfile").read_text(), re.M)
    for service in DEVELOPMENT["services"].values():
        mounts = [volume.split(":") for volume in service["volumes"]]
        for here, there, mode in mounts:
            assert (DEPLOY / here).exists(), here
            assert (there, mode) == (f"{workdir}/{Path(here).name}", "ro")
        assert {"flows", "loaders", "models", "macros"} <= {Path(each[0]).name for each in mounts}


def test_prefects_database_is_one_that_the_first_start_creates():
    (script,) = [v.split(":")[0] for v in SERVICES["db"]["volumes"] if "initdb.d" in v]
    url = SERVICES["prefect-server"]["environment"]["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    assert url.startswith("postgresql+asyncpg://")
    login, name = re.search(r"//(\w+):.*/(\w+)$", url).groups()
    made = (DEPLOY / script).read_text()
    assert f"create role {login} login" in made
    assert f"create database {name} owner {login};" in made


def test_the_image_runs_as_nobody_special_and_installs_only_what_is_pinned():
    stages = re.split(r"^FROM ", (DEPLOY / "Dockerfile").read_text(), flags=re.M)[1:]
    assert len(stages) == 2
    build, final = stages
    assert build.count("--require-hashes") == 2
    assert not re.search(r"pip install|apt-get|gcc|build-essential|uv ", final)
    assert re.search(r"^USER [1-9]\d*$", final, re.M)
    assert "> /opt/venv/bin/daybook" in final, "the command that messages name"
    assert "install -d -o daybook -g daybook target logs" in final, "what a dbt by hand writes"
    for path in re.findall(r"^COPY (?!--from)(.+) \S+$", build, re.M):
        assert all((PROJECT / name).exists() for name in path.split())
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert {".git", ".env", "deploy/.env", ".venv"} <= set(ignored)
