"""Nobody gets in: Prefect's API asks for a secret, takes no page but its own, and runs one command.

Each test is an attack, on the temporary server of a run and on the stack's.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import urllib.error
import urllib.request
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows import api
from loaders import warehouse
from loaders.errors import DaybookError
from tests.watching import basic, csrf, opened, until

FOREIGN = {"Origin": "http://evil.example"}
SOCKETS = (
    *("/events/in", "/events/out", "/logs/out", "/task_runs/subscriptions/scheduled"),
    "/work_pools/daybook/workers/connect",
)
EVERYWHERE = pytest.mark.parametrize(
    "door", ["temporary", pytest.param("stack", marks=pytest.mark.stack)], indirect=True
)


class Door:
    """An API, the secret that it asks for, and a caller."""

    def __init__(self, url: str, secret: str) -> None:
        self.url, self.secret = url, secret

    def call(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, HTTPMessage, str]:
        asked = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), headers, method=method
        )
        try:
            with opened(asked) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.headers, refused.read().decode()

    def insider(self) -> dict[str, str]:
        headers = basic(self.secret)
        return {**headers, **csrf(self.url, headers), "Content-Type": "application/json"}


@pytest.fixture
def door(request) -> Door:
    if request.param == "temporary":
        url = request.getfixturevalue("prefect_url")
        return Door(url, os.environ[api.SECRET])
    made = request.getfixturevalue("stack")
    return Door(made.api, made.secret)


@EVERYWHERE
@pytest.mark.parametrize("guess", [None, "", "daybook:", "daybook:guess"])
def test_every_request_without_the_secret_is_refused(door, guess):
    headers = {} if guess is None else basic(guess)
    for path in ("/admin/settings", "/admin/version", "/csrf-token?client=me"):
        assert door.call("GET", path, **headers)[0] == 401
    for path in ("/deployments/filter", "/flow_runs/", "/work_pools/"):
        assert door.call("POST", path, {}, **headers)[0] in (401, 403)


@EVERYWHERE
def test_requests_from_a_page_of_another_origin_are_refused(door):
    wanted = {**FOREIGN, "Access-Control-Request-Method": "POST"}
    code, headers, _ = door.call("OPTIONS", "/deployments/filter", **wanted)
    assert code == 400
    assert "Access-Control-Allow-Origin" not in headers
    # Even where a browser would send the secret by itself.
    code, _, said = door.call("POST", "/deployments/filter", {}, **FOREIGN, **basic(door.secret))
    assert (code, "CSRF" in said) == (403, True)
    code, headers, _ = door.call("POST", "/flows/filter", {}, **FOREIGN, **door.insider())
    assert code == 200
    assert "Access-Control-Allow-Origin" not in headers


@EVERYWHERE
@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize("first", [{"type": "auth", "token": "guess"}, {"type": "auth"}, {}])
def test_a_websocket_without_the_secret_is_closed(door, path, first):
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    url = door.url.replace("http", "ws", 1) + path
    with connect(url, subprotocols=["prefect"]) as caller:
        caller.send(json.dumps(first))
        with pytest.raises(ConnectionClosed) as closed:
            caller.recv(timeout=30)
    assert closed.value.rcvd
    assert closed.value.rcvd.code == 1008  # a policy's, said by the server


@EVERYWHERE
def test_a_websocket_of_the_old_protocol_is_refused(door):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    with pytest.raises(InvalidStatus):
        connect(door.url.replace("http", "ws", 1) + "/events/out").close()


@pytest.mark.stack
@pytest.mark.parametrize(
    "variables", [{"command": "touch"}, {"env": {"PYTHONPATH": "/"}}, {"working_dir": "/"}]
)
def test_a_run_with_settings_of_its_own_is_refused(stack, variables):
    door = Door(stack.api, stack.secret)
    found = stack.prefect("/deployments/name/day-pipeline/day-pipeline")
    run = f"/deployments/{found['id']}/create_flow_run"
    code, _, said = door.call("POST", run, {"job_variables": variables}, **FOREIGN)
    assert code == 403, said
    code, _, said = door.call("POST", run, {"job_variables": variables}, **door.insider())
    assert (code, "not allowed" in said) == (422, True)


@pytest.mark.stack
def test_what_a_deployment_says_of_the_command_changes_nothing(stack, tmp_path):
    """A scheduled run is checked by nobody: the pool's template has no place for what it says."""
    door = Door(stack.api, stack.secret)
    found = stack.prefect("/deployments/name/backfill/backfill")
    variables = {"command": f"touch {tmp_path}/x", "env": {"PATH": str(tmp_path)}}
    here = f"/deployments/{found['id']}"
    assert door.call("PATCH", here, {"job_variables": variables}, **door.insider())[0] == 204
    try:
        wanted = {"state": {"type": "SCHEDULED"}, "job_variables": variables}
        named = {"flow_id": found["flow_id"], "deployment_id": found["id"], "parameters": {}}
        body = {**named, **wanted, "work_pool_name": "daybook"}
        code, _, run = door.call("POST", "/flow_runs/", body, **door.insider())
        assert code == 201, run
        path = f"/flow_runs/{json.loads(run)['id']}"
        until(lambda: stack.prefect(path)["state_type"] == "FAILED")  # told no days, so by our code
    finally:
        door.call("PATCH", here, {"job_variables": {}}, **door.insider())
    assert not (tmp_path / "x").exists()


@pytest.mark.stack
def test_deploying_takes_back_a_pool_that_took_commands_and_leaves_its_limit(stack):
    from flows.distributed import JOB_TEMPLATE

    door = Door(stack.api, stack.secret)
    open_to_all = {
        "job_configuration": {"command": "{{ command }}"},
        "variables": {"type": "object", "properties": {"command": {"type": "string"}}},
    }
    body = {"base_job_template": open_to_all, "concurrency_limit": 7}
    assert door.call("PATCH", "/work_pools/daybook", body, **door.insider())[0] == 204
    try:
        refused = stack.run("prefect", "--no-prompt", "deploy", "--all")
        assert "Workers of the pool daybook start a run by `{{ command }}` in None" in " ".join(
            (refused.stdout + refused.stderr).split()
        )
        assert stack.cold("flows.deploy", "backfill").returncode == 0
        pool = stack.prefect("/work_pools/daybook")
        assert pool["base_job_template"] == JOB_TEMPLATE
        assert pool["concurrency_limit"] == 7
    finally:
        stack.allow(8)


@pytest.mark.stack
def test_the_secret_is_in_no_argument_and_no_log(stack):
    for pid in (stack.pid("server"), stack.pid("worker")):
        assert not any(stack.secret in word for word in psutil.Process(pid).cmdline())
    for log in (stack.home / "stack").glob("*.log"):
        assert stack.secret.encode() not in log.read_bytes()
    assert stack.secret not in stack.cold("flows.stack", "logs").stdout


@pytest.fixture
def home(short_tmp, monkeypatch) -> Path:
    monkeypatch.setenv("DAYBOOK_HOME", str(short_tmp))
    monkeypatch.delenv(api.SECRET, raising=False)
    return short_tmp


def test_the_secret_is_made_once_and_its_owner_alone_can_read_it(home):
    made = api.secret()
    assert made == api.secret()
    assert len(made.partition(":")[2]) >= 32
    assert stat.S_IMODE(api.secret_file().stat().st_mode) == 0o600
    if os.geteuid() == 0:  # only root can try as somebody else
        seen = subprocess.run(["cat", str(api.secret_file())], user=12345, capture_output=True)
        assert (seen.returncode, seen.stdout) == (1, b"")
    api.secret_file().chmod(0o640)
    with pytest.raises(DaybookError, match="isn't its owner's alone"):
        api.secret()


def test_the_home_with_prefects_database_and_logs_is_its_owners_alone(home, monkeypatch):
    """Also where no embedded server has made it."""
    monkeypatch.setenv("DAYBOOK_HOME", str(home / "new"))
    api.environment()
    for folder in ("new", "new/prefect", "new/stack"):
        assert stat.S_IMODE((home / folder).stat().st_mode) == 0o700
    (home / "new").chmod(0o755)  # somebody has made it by hand
    warehouse.own_folder("prefect")
    assert not (home / "new").stat().st_mode & 0o067


def test_the_secret_is_told_to_no_server_but_our_own(home, monkeypatch):
    """Another user's program may have taken the port of a stack that was killed."""
    with socket.create_server((api.LOCAL, 0)) as taken:
        note = {"pid": 0, "started": 0, "port": taken.getsockname()[1]}
        warehouse.own_folder("stack")
        (api.folder() / "server.json").write_text(json.dumps(note))
        monkeypatch.setattr(api, "answers", lambda *_: True)
        assert api.SECRET not in api.connection()
        monkeypatch.setenv(api.ADDRESS, "https://prefect.example/api")
        assert api.connection() == {}
