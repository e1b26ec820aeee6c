"""The embedded server: it outlives its starter, survives kills, and serves its owner alone."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from flows import transform
from flows.site import write_site
from loaders import cluster, server
from loaders.errors import WarehouseError
from loaders.sources import PROJECT
from loaders.spark.__main__ import main as spark
from tests.watching import run_python, tuples, until, value


def command(home: Path, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "DAYBOOK_HOME": str(home), **environment}
    return run_python("-m", "loaders.warehouse", name, env=env)


def start_command(home: Path) -> subprocess.Popen[str]:
    """`python -m loaders.warehouse start`, while it runs."""
    return subprocess.Popen(
        [sys.executable, "-m", "loaders.warehouse", "start"],
        cwd=PROJECT,
        env={**os.environ, "DAYBOOK_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def owner(home: Path, **more) -> psycopg.Connection:
    return psycopg.connect(**{**server.address(home), **more})


def kill_postmaster(home: Path) -> int:
    pid = int((home / "pg" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    return pid


def connects_as(uid: int, home: Path) -> str:
    """Whether a process of another user connects: forked, as that user may not run our Python."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(cluster.socket_dir(home) / ".s.PGSQL.5432"))
            os._exit(0)
        except PermissionError:
            os._exit(13)
        finally:
            os._exit(1)  # else the child would run the other tests too
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {0: "connected", 13: "refused"}[code]


@pytest.fixture
def home(short_tmp):
    place = short_tmp / "home"
    yield place
    if (place / "pg" / cluster.MARKER).exists():
        server.reset(place)


@pytest.fixture
def running(home):
    """A server without control tables: these tests are about the server."""
    server.start(home)
    return home


def test_the_server_outlives_the_process_that_started_it(home):
    begun = time.monotonic()
    started = command(home, "start")
    assert (started.returncode, started.stderr) == (0, "")
    assert time.monotonic() - begun < 60
    uri = command(home, "uri").stdout
    assert uri == f"postgresql://daybook@/daybook?host={home}/run&port=5432\n"
    assert uri in started.stdout
    assert len(started.stdout.splitlines()) == 2
    with psycopg.connect(uri.strip()) as conn:
        assert value(conn, "select count(*) from bronze.load_batches") == 0


def test_start_stop_and_status_can_be_repeated(home):
    assert command(home, "status").stdout.startswith("stopped (embedded): host ")
    assert command(home, "stop").stdout == "It wasn't running.\n"
    first, second = command(home, "start"), command(home, "start")
    assert first.stdout == second.stdout
    assert command(home, "status").stdout.startswith("running (embedded): PostgreSQL 1")
    assert command(home, "stop").stdout == "Stopped.\n"
    assert command(home, "stop").stdout == "It wasn't running.\n"
    stopped = command(home, "status")
    assert stopped.returncode == 0
    assert "Start it: daybook warehouse start (or " in stopped.stdout
    migrated = command(home, "migrate")  # what an upgrade says, after all was stopped
    assert (migrated.returncode, migrated.stderr) == (0, "")


def test_kill_9_of_the_postmaster_loses_nothing_committed_and_keeps_nothing_else(running):
    open_transaction = owner(running)
    with owner(running) as conn:
        conn.execute("create table numbers (n int)")
        conn.execute("insert into numbers select generate_series(1, 1000)")
    open_transaction.execute("insert into numbers select generate_series(1, 500)")
    for _ in range(3):
        kill_postmaster(running)
        assert server.start(running)
    with owner(running) as conn:
        assert value(conn, "select count(*) from numbers") == 1000


def test_kill_9_of_the_postmaster_while_a_query_runs_does_not_block_the_next_start(running):
    busy = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import psycopg, sys\n"
            "conn = psycopg.connect(sys.argv[1])\n"
            "print('on', flush=True)\n"
            "conn.execute('select count(*) from generate_series(1, 10000000000)')",
            f"host={running}/run port=5432 user=daybook dbname=daybook",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    busy.stdout.readline()
    time.sleep(0.3)
    kill_postmaster(running)
    begun = time.monotonic()
    assert server.start(running)
    assert time.monotonic() - begun < 45
    assert busy.wait(timeout=10) != 0
    busy.stdout.close()


def test_a_start_that_died_before_it_made_the_database_is_completed_by_the_next(running):
    with owner(running, autocommit=True, dbname="postgres") as conn:
        conn.execute("drop database daybook with (force)")
    server.start(running)
    owner(running).close()


def test_a_pid_file_that_names_a_living_stranger_does_not_stop_a_start(running):
    kill_postmaster(running)
    time.sleep(0.5)
    for file in (running / "pg" / "postmaster.pid", running / "run" / ".s.PGSQL.5432.lock"):
        file.write_text(f"{os.getpid()}\n{running}/pg\n")
    assert server.start(running)


def test_a_package_that_the_servers_user_cannot_enter_is_copied(short_tmp, home, monkeypatch):
    """A clone below root's home: the server runs as another user, from a copy."""
    (short_tmp / "closed").mkdir(mode=0o700)
    found = cluster._package()
    package = short_tmp / "closed" / found.name
    shutil.copytree(found, package, symlinks=True)
    if (libraries := found.with_name(f"{found.name}.libs")).exists():
        shutil.copytree(libraries, package.with_name(libraries.name))
    monkeypatch.setattr(cluster, "_package", lambda: package)
    assert server.start(home)
    owner(home).close()
    assert server.stop(home)
    assert server.start(home)


@pytest.mark.parametrize("left", ["PG_VERSION", "notes.txt"])
def test_a_foreign_folder_is_refused_and_left_as_it_is(home, left):
    (home / "pg").mkdir(parents=True)
    (home / "pg" / left).write_text("18\n")
    refused = command(home, "start")
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: {home}/pg isn't a warehouse of ours, or is half made")
    assert "Traceback" not in refused.stderr
    assert [path.name for path in (home / "pg").iterdir()] == [left]


def test_a_damaged_folder_is_refused(running):
    server.stop(running)
    (running / "pg" / "global" / "pg_control").unlink()
    with pytest.raises(WarehouseError, match="is damaged"):
        server.start(running)


def test_a_file_where_the_data_belong_is_refused(home):
    home.mkdir()
    (home / "pg").write_text("")
    with pytest.raises(WarehouseError):
        server.start(home)


@pytest.mark.slow
@pytest.mark.parametrize("made", ["log", "pg.making/base", "pg"])
def test_a_start_that_is_killed_half_way_is_completed_by_the_next(home, made):
    starting = start_command(home)
    place = home / "log"  # links, where the server's user can't enter the home
    until(lambda: (place.resolve().parent / made).exists())
    os.killpg(starting.pid, signal.SIGKILL)
    starting.wait()
    started = command(home, "start")
    assert (started.returncode, started.stderr) == (0, "")
    assert not (home / "pg.making").exists()


def test_several_starts_at_once_make_one_server(home):
    starts = [start_command(home) for _ in range(3)]
    ends = {(*process.communicate(timeout=60), process.returncode) for process in starts}
    ((_, errors, code),) = ends
    assert (errors, code) == ("", 0)


def test_only_the_owner_reaches_the_server(running):
    for folder in (cluster.socket_dir(running), running / "pg", running / "log"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with owner(running) as conn:
        assert value(conn, "show listen_addresses") == ""
    if os.geteuid() == 0:  # only root can try as somebody else
        assert connects_as(12345, running) == "refused"
        # whoever else runs as the server's user can enter the folder, and no further
        assert connects_as((running / "pg").stat().st_uid, running) == "refused"


def test_a_home_that_was_open_to_others_is_closed_to_all_but_its_server(home):
    (home / "site").mkdir(parents=True)
    (home / "site" / "index.html").write_text("figures")
    home.chmod(0o755)
    server.start(home)
    if os.geteuid() == 0:  # only root can try as somebody else
        page = home / "site" / "index.html"
        assert seen_by(12345, "cat", page) == 1
        data = (home / "pg").stat()
        assert seen_by(data.st_uid, "ls", home, group=data.st_gid) == 2
    server.stop(home)
    home.chmod(0o700)
    assert server.start(home)
    with owner(home) as conn:
        assert value(conn, "select 1") == 1
    assert not stat.S_IMODE(home.stat().st_mode) & 0o067


@pytest.mark.parametrize(
    "writes",
    [
        transform.target_path,
        lambda: write_site(lineage=False),
        lambda: spark(["day1", "--data", "raw"]),
    ],
    ids=["dbt", "pages", "spark"],
)
def test_a_home_beside_a_server_of_ones_own_is_made_for_its_owner_alone(
    writes, warehouse, tmp_path, monkeypatch
):
    monkeypatch.setattr("loaders.spark.reading.read_day", lambda *_, **_options: None)
    monkeypatch.setenv("DAYBOOK_HOME", str(tmp_path / "home"))
    writes()
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def seen_by(uid: int, program: str, path: Path, group: int = 12345) -> int:
    return subprocess.run(
        [program, path], user=uid, group=group, extra_groups=[], capture_output=True
    ).returncode


def test_its_settings_are_fast_for_loading_and_durable(running):
    with owner(running) as conn:
        shown = dict(tuples(conn, "select name, setting from pg_settings"))
        assert value(conn, "show server_encoding") == "UTF8"
    assert (shown["fsync"], shown["full_page_writes"], shown["synchronous_commit"]) == ("on",) * 3
    assert (shown["wal_level"], shown["jit"], shown["TimeZone"]) == ("minimal", "off", "UTC")
    assert int(shown["max_wal_size"]) == 4096  # MB
    assert int(shown["work_mem"]) == 65536  # kB


def test_its_log_has_no_value_of_data(running):
    with owner(running, autocommit=True) as conn:
        with pytest.raises(psycopg.DataError):
            conn.execute("select 'secret-value'::int")
        conn.execute("create temporary table landed (name text)")
        with pytest.raises(ValueError), conn.cursor().copy("copy landed from stdin"):
            raise ValueError("It begins with secret-value")
        copying = conn.cursor().copy("copy landed from stdin")
        with pytest.raises(psycopg.OperationalError), copying as copy:
            copy.write("secret-value\n" * 100_000)
            with owner(running, autocommit=True) as other:
                other.execute("select pg_terminate_backend(%s, 9000)", [conn.info.backend_pid])
    log = (running / "log" / "postgres.log").read_text()
    assert "ready to accept connections" in log and "terminating connection" in log
    assert "secret-value" not in log


def test_the_server_gets_nothing_of_our_environment(home):
    assert command(home, "start", PGPASSWORD="hunter2", AWS_SECRET="hunter2").returncode == 0
    pid = (home / "pg" / "postmaster.pid").read_text().split()[0]
    environment = Path(f"/proc/{pid}/environ")
    if environment.exists():
        assert b"hunter2" not in environment.read_bytes()


def test_a_home_of_any_depth_has_a_socket_short_enough(short_tmp):
    home = short_tmp / ("a" * 100)
    assert cluster.socket_dir(home).parent == Path("/tmp")
    server.start(home)
    try:
        owner(home).close()
        assert stat.S_IMODE(cluster.socket_dir(home).stat().st_mode) == 0o700
    finally:
        server.reset(home)
    assert not cluster.socket_dir(home).exists()


def test_a_home_of_any_name_works(short_tmp):
    home = short_tmp / "bl ank qu'ote späße"
    started = command(home, "start")
    assert (started.returncode, started.stderr) == (0, "")
    uri = command(home, "uri").stdout.strip()
    psycopg.connect(uri).close()
    server.reset(home)


def test_a_home_that_the_servers_user_cannot_enter_works(short_tmp):
    """Root's own home is like this: the server runs as another user, elsewhere."""
    closed = short_tmp / "closed"
    closed.mkdir(mode=0o700)
    home = closed / "home"
    server.start(home)
    place = (home / "pg").resolve()
    owner(home).close()
    kill_postmaster(home)
    assert server.start(home)
    assert (home / "pg").resolve() == place
    assert stat.S_IMODE(cluster.socket_dir(home).stat().st_mode) == 0o700
    server.reset(home)
    assert not place.exists()


def test_a_socket_folder_of_somebody_else_is_refused(short_tmp):
    home = short_tmp / ("b" * 100)
    sockets = cluster.socket_dir(home)
    sockets.symlink_to(short_tmp)
    try:
        with pytest.raises(WarehouseError, match="belongs to someone else"):
            server.start(home)
    finally:
        sockets.unlink()


def test_postgresql_16_works_and_is_not_mixed_with_18(home):
    started = command(home, "start", DAYBOOK_PG_MAJOR="16")
    assert started.stdout.startswith("PostgreSQL 16.")
    assert "control tables" not in command(home, "status").stdout
    assert command(home, "stop").stdout == "Stopped.\n"
    refused = command(home, "start", DAYBOOK_PG_MAJOR="18")
    assert refused.returncode == 1
    assert "made by PostgreSQL 16, not 18: set DAYBOOK_PG_MAJOR=16" in refused.stderr
    refused = command(home, "start", DAYBOOK_PG_MAJOR="12")
    assert refused.returncode == 2 and "is 16 or 18" in refused.stderr
