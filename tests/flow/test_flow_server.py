"""The Prefect server that a run starts for itself, and the hosts that a run connects to."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import stat
import sys
import tomllib
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from flows import api, stack
from flows.server import start_server
from loaders import process, warehouse
from loaders.errors import DaybookError, LockedError, UsageError
from loaders.sources import PROJECT
from tests.raw_days import SAMPLE, write_day
from tests.watching import is_gone, is_waited_for, run_command, run_python, until


@pytest.fixture(scope="module")
def prefect_home(prefect_url, prefect_folder, tmp_path_factory) -> Path:
    """Of the servers that runs start by themselves. Their database is a copy: making one takes
    longer than all else at a server's first start."""
    home = tmp_path_factory.mktemp("prefect")
    with (
        closing(sqlite3.connect(prefect_folder / "prefect.db")) as made,
        closing(sqlite3.connect(home / "prefect.db")) as copy,
    ):
        made.backup(copy)
    return home


def test_a_server_that_prefect_needs_does_not_outlive_a_killed_run(prefect_home):
    script = (
        "import os; from flows.server import start_server; start_server();"
        "print(os.environ['PREFECT_API_URL'], flush=True); os.kill(os.getpid(), 9)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment |= {"DAYBOOK_HOME": str(prefect_home.parent), "PREFECT_HOME": str(prefect_home)}
    killed = run_python("-c", script, env=environment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    port = urlsplit(killed.stdout.strip()).port
    assert port

    def refused() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    until(refused)


def test_a_run_whose_own_prefect_server_is_killed_goes_on_with_another_and_nothing_is_lost(
    after_day1, flow_started, db, prefect_home
):
    own = {"PREFECT_API_URL": "", "PREFECT_HOME": str(prefect_home)}
    with warehouse.connect() as blocker:
        blocker.execute("lock table silver.agents in access exclusive mode")
        run = flow_started("flows.day", "--day", "day2", "--data", SAMPLE, **own)
        until(lambda: is_waited_for(db, "silver.agents") or run.returncode is not None)
        children = psutil.Process(run.pid).children()
        (server,) = [child for child in children if "flows.server" in child.cmdline()]
        server.kill()
    assert run.wait(120) == 0, run.stderr

    def states() -> dict[str, set[str]]:
        """Of the newest run's task runs, by name."""
        with closing(sqlite3.connect(prefect_home / "prefect.db")) as prefects:
            rows = prefects.execute(
                "select task_run.name, state.type from task_run_state as state"
                " join task_run on task_run.id = state.task_run_id where flow_run_id ="
                " (select id from flow_run order by created desc limit 1)"
            ).fetchall()
        return {name: {state for of, state in rows if of == name} for name, _ in rows}

    each = {"PENDING", "RUNNING", "COMPLETED"}
    some = {"land stg_agents", "agents", "inactive_groups", "expire-days"}
    until(lambda: some <= {name for name, found in states().items() if found == each})
    assert all(found == each for found in states().values())


def test_prefects_records_quote_nothing_of_a_file(flow_cli, db, prefect_folder, tmp_path):
    quoted = "quoted@example.com"
    write_day(tmp_path, "day1", **{"agents.json": f"<html>{quoted}</html>"})
    (write_day(tmp_path, "day2", **{"agents.csv": f"1,{quoted},Jo"}) / "agents.json").unlink()
    for day in ("day1", "day2"):
        done = flow_cli("flows.day", "--day", day, "--data", tmp_path)
        assert (done.returncode, quoted in done.stderr) == (1, True)
    with closing(sqlite3.connect(prefect_folder / "prefect.db")) as prefects:
        kept = "\n".join(prefects.iterdump())
    assert "it is HTML" in kept and "agent_id is missing" in kept
    assert quoted not in kept


HOOK = """
import sys, os
def seen(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        what = args[1] if event == "socket.connect" else args[0]
        with open(os.environ["SEEN"], "a") as out:
            out.write(event + " " + repr(what) + "\\n")
sys.addaudithook(seen)
"""


IN_PYTHON = f"""
import json, os
from flows.day import run_day
from flows.options import Options
from tests.watching import prefect, until
done = run_day("day1", Options({str(SAMPLE)!r}))
of_run = {{"id": {{"any_": [done.flow_run_id]}}}}
known = []
def is_known():
    found = prefect(os.environ["PREFECT_API_URL"], "/task_runs/filter", flow_runs=of_run)
    known[:] = [run["id"] for run in found]
    return {{phase["run_id"] for phase in done.phases.values()}} <= set(known)
until(is_known)  # it writes each second
print(json.dumps([done.phases, known]))
"""


def test_a_day_calls_nobody_but_its_own_prefect_and_warehouse(
    warehouse_url, dbt_environment, prefect_home, monkeypatch, tmp_path
):
    """Begun by Python, which gets each phase's run and state."""
    (tmp_path / "script.py").write_text(IN_PYTHON)
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    tracking = ("DO_NOT_TRACK", "DBT_SEND_ANONYMOUS_USAGE_STATS")
    for name in (*tracking, "PREFECT_API_URL", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'hook'}:{PROJECT}")
    monkeypatch.setenv("PREFECT_HOME", str(prefect_home))
    done = run_python(tmp_path / "script.py")
    assert done.returncode == 0, done.stderr
    seen = set((tmp_path / "seen").read_text().splitlines())
    assert any("127.0.0.1" in line for line in seen), "the hook saw Prefect's own calls"
    foreign = {line for line in seen if "127.0.0.1" not in line and "'localhost'" not in line}
    assert foreign == set()
    by_phase, known = json.loads(done.stdout)
    assert list(by_phase) == [
        *("prepare-day", "land-day", "sweep-orphans", "match-names", "transform-day"),
        *("check-day", "finish-day", "expire-days"),
    ]
    assert {phase["state"] for phase in by_phase.values()} == {"Completed"}
    assert {phase["run_id"] for phase in by_phase.values()} <= set(known)


def test_a_start_waits_for_another_and_then_gives_up(tmp_path):
    with (
        process.only_one(tmp_path / "lock"),
        pytest.raises(LockedError, match=r"lock for 0\.3 s"),
        process.only_one(tmp_path / "lock", 0.3),
    ):
        pass


def test_an_address_where_nothing_answers_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DAYBOOK_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", "http://me:secret@127.0.0.1:1/api")
    with pytest.raises(DaybookError, match=r"at PREFECT_API_URL, http://127\.0\.0\.1:1/api"):
        start_server()


@pytest.mark.parametrize("name", ["qu?x", "a%20b"])
def test_a_home_that_prefects_database_cannot_be_in_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setenv("DAYBOOK_HOME", str(tmp_path / name))
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    with pytest.raises(UsageError, match="set another DAYBOOK_HOME, or PREFECT_HOME"):
        api.prefect_home()


def test_prefect_finds_address_and_secret_in_the_projects_folder(
    prefect_url, tmp_path, monkeypatch
):
    monkeypatch.setattr(stack, "PROJECT", tmp_path)
    stack._tell_prefect({api.ADDRESS: prefect_url, api.SECRET: os.environ[api.SECRET]})
    settings = tmp_path / "prefect.toml"
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    assert tomllib.loads(settings.read_text())["api"]["url"] == prefect_url
    assert run_command("git", "check-ignore", "-q", "prefect.toml").returncode == 0
    prefect = Path(sys.executable).with_name("prefect")

    def lists_pools(**more: str) -> bool:
        bare = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        done = run_command(prefect, "work-pool", "ls", cwd=tmp_path, env=bare | more)
        return done.returncode == 0

    assert lists_pools()
    settings.unlink()
    assert not lists_pools(**{api.ADDRESS: prefect_url})


def test_a_program_is_known_by_its_note_after_the_clock_was_set(tmp_path, monkeypatch):
    program = process.Program(tmp_path, "sleeper")
    program.start(["sleep", "60"], dict(os.environ))
    pid, booted = program.pid(), psutil.boot_time()
    # Linux says when it booted by the clock of now
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: booted + 3600)
    assert program.pid() == pid == program.note()["pid"]
    program.stop()
    assert is_gone(pid)
