"""One embedded server per test process, one fresh database per test, and dbt in this process."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg.rows import dict_row

from loaders import server, warehouse
from loaders.days import parse_day
from loaders.sources import PROJECT
from tests.forks import Forks, cache_repeated_work
from tests.watching import InProcessWorker

# Every test's database has the embedded warehouse's name, which dbt's kept manifest holds.
DATABASE = "daybook"
# The template of each test's database: migrated, and never written.
MIGRATED = "migrated"
# The same with all models, built without data.
BUILT = "built"


# Variables that a shell may export and no test may see, but for those that set up the suite itself.
FOREIGN = ("PG", "DBT_", "PREFECT_", "AWS_", "SPARK_", "DAYBOOK_", "DATABASE_URL", "DATA_BASE_PATH")
OF_THE_SUITE = ("DAYBOOK_PG_MAJOR", "DAYBOOK_SCREENSHOTS", "DAYBOOK_LOOK")
# Files whose tests share what takes long to make (a stack, the fork server, a template), by how
# their paths begin: one process runs all of a group. From the longest group to the shortest.
FORKED = (
    *("flow/", "test_benchmarks", "test_forget", "test_operating", "test_prove"),
    "test_tutorial",
)
GROUPS = ("flow/test_stack", FORKED, "test_dbt_ways", "test_spark", "test_browser")
SLOWEST = 30
# Off in a server that lives for minutes. Not synchronous_commit: some tests crash the server.
SWITCHED_OFF = ("fsync", "full_page_writes", "autovacuum")
# A copy of a database there takes a quarter of the CPU; used if programs may run in it and half a
# GB has room.
MEMORY, ROOM = Path("/dev/shm"), 2 << 30
# What a webhook answers, and a secret in its address.
OK, TOKEN = b"HTTP/1.1 204 No Content\r\n\r\n", "T0KEN-in-the-path"


def pytest_configure() -> None:
    """The suite sees no warehouse but its own, whatever the shell exports."""
    for name in list(os.environ):
        if name.startswith(FOREIGN) and name not in OF_THE_SUITE:
            del os.environ[name]
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ["DBT_SEND_ANONYMOUS_USAGE_STATS"] = "false"
    # where root can't make it either
    os.environ["DAYBOOK_HOME"] = "/proc/no-test-asked-for-a-warehouse"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # of a script's `&` it is ignored
    # PySpark, where it is installed, takes a worker of pytest for its doctests and ends it.
    sys.modules["__main__"].__dict__.setdefault("__file__", __file__)


def group_of(nodeid: str) -> str | tuple[str, ...] | None:
    if nodeid.endswith("temporary]"):  # of test_stack_trust.py, on the server of the forks' runs
        return FORKED
    file = nodeid.partition("::")[0].removeprefix("tests/")
    return next((group for group in GROUPS if file.startswith(group)), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: else one worker is left with them at the end while the other idles."""

    def place(item: pytest.Item) -> int:
        if group := group_of(item.nodeid):
            return GROUPS.index(group)
        return len(GROUPS) + (item.get_closest_marker("slow") is None)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A group goes to one process, every other test to whichever is free, in the order above.

    The marker xdist_group would do, but for pytest 9.2, whose tests no longer carry it in their id.
    """
    from xdist.scheduler import LoadScopeScheduling

    class GroupsThenTests(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str | tuple[str, ...]:
            return group_of(nodeid) or nodeid

    config.option.loadscopereorder = False
    return GroupsThenTests(config, log)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the thirty slowest tests, their fixtures counted, and keep all of them in a file."""
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            seconds[getattr(report, "nodeid", "")] += getattr(report, "duration", 0.0)
    if len(seconds) <= SLOWEST or not (cache := getattr(config, "cache", None)):
        return
    lines = [f"{taken:7.1f} s  {name!r}" for name, taken in seconds.most_common()]
    place = cache.mkdir("daybook") / "slowest.txt"
    place.write_text("\n".join(lines) + "\n")
    terminalreporter.section(f"{SLOWEST} slowest tests, all in {place.relative_to(PROJECT)}")
    terminalreporter.write_line("\n".join(lines[:SLOWEST]))


def has_room(folder: Path) -> bool:
    if not os.access(folder, os.W_OK):
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize > ROOM and not found.f_flag & os.ST_NOEXEC


def new_home() -> Path:
    """A home whose path leaves room for a socket, and that a server's user can enter."""
    home = Path(tempfile.mkdtemp(prefix="db-", dir=MEMORY if has_room(MEMORY) else "/tmp"))
    home.chmod(0o755)
    return home


def remove_home(home: Path) -> None:
    server.reset(home)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(autouse=True)
def _checks_here(monkeypatch) -> None:
    monkeypatch.setattr("flows.checks.run.Worker", InProcessWorker)


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A folder whose path leaves room for a socket, and that a server's user can enter."""
    folder = new_home()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_home() -> Iterator[Path]:
    """The home of this process's server."""
    home = new_home()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAYBOOK_HOME", str(home))
        warehouse.start()
        with psycopg.connect(**server.address(home), autocommit=True) as conn:
            for setting in SWITCHED_OFF:
                conn.execute(f"alter system set {setting} = off")
            conn.execute("select pg_reload_conf()")
        copy_database(home, DATABASE, MIGRATED)
    yield home
    remove_home(home)


def copy_database(home: Path, template: str, name: str = DATABASE) -> None:
    """Replace a database by a copy of another; the sessions of both end."""
    admin = {**server.address(home), "dbname": "postgres"}
    with psycopg.connect(**admin, autocommit=True) as conn:
        # on a busy machine a closed one may last for longer than PostgreSQL waits
        end = "select pg_terminate_backend(pid, 60000) from pg_stat_activity where datname = %s"
        conn.execute(end, [template])
        conn.execute(f"drop database if exists {name} with (force)")
        # By file, with a checkpoint: after a crash sequences of a logged copy fall back.
        conn.execute(f"create database {name} template {template} strategy file_copy")


@pytest.fixture
def warehouse_url(request, shared_home, monkeypatch) -> str:
    """A migrated database of this test's own, as DATABASE_URL; with all models, if the test asks
    for `world` or `built`."""
    url = point_at(shared_home, monkeypatch)
    built = {"world", "built"} & {*request.fixturenames}
    copy_database(shared_home, request.getfixturevalue("built") if built else MIGRATED)
    return url


def point_at(home: Path, patch: pytest.MonkeyPatch) -> str:
    """Make the tests' database on that server the warehouse; returns its address."""
    host = quote(server.address(home)["host"], safe="/")
    url = f"postgresql://daybook@/{DATABASE}?host={host}&port=5432"
    patch.setenv("DATABASE_URL", url)
    patch.setenv("DAYBOOK_HOME", str(home))
    return url


@pytest.fixture(scope="session")
def built(shared_home, _dbt_session) -> str:
    """The template with all models, built without data: a test's first build is like any other."""
    copy_database(shared_home, MIGRATED)
    with pytest.MonkeyPatch.context() as patch:
        point_at(shared_home, patch)
        result = _dbt_session.run("build", "--exclude-resource-type", "unit_test", "test")
    assert result.success
    copy_database(shared_home, DATABASE, BUILT)
    return BUILT


@pytest.fixture(name="warehouse")
def _warehouse(warehouse_url) -> str:
    """As `warehouse_url`: for tests that want the database and not its address."""
    return warehouse_url


@pytest.fixture
def db(warehouse_url) -> Iterator[psycopg.Connection]:
    """An autocommit connection to this test's database, rows as dicts."""
    with warehouse.connect(autocommit=True, row_factory=dict_row) as conn:
        yield conn


@pytest.fixture
def hook(monkeypatch) -> Iterator[Callable[..., list[str]]]:
    """`hook(answer)` serves the webhook and returns the bodies that it receives, as they come. It
    pauses so many seconds after each byte of its answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    requests: list[str] = []

    def listen(answer: bytes = OK, pause: float = 0) -> list[str]:
        def work() -> None:
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return
                with caller.makefile("rb") as request:
                    head = b"".join(iter(request.readline, b"\r\n")).decode()
                    length = int(head.lower().partition("content-length: ")[2].split()[0])
                    requests.append(request.read(length).decode())
                try:
                    for byte in answer:
                        caller.send(bytes([byte]))
                        time.sleep(pause)
                except OSError:
                    pass
                caller.close()

        threading.Thread(target=work, daemon=True).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/{TOKEN}"
        monkeypatch.setenv("DAYBOOK_WEBHOOK_URL", address)
        return requests

    yield listen
    listener.close()


@pytest.fixture(scope="session")
def prefect_folder(tmp_path_factory) -> Path:
    """The PREFECT_HOME of `prefect_url`."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session")
def prefect_url(prefect_folder) -> Iterator[str]:
    """A Prefect server for the tests of this process: a temporary one per run takes seconds."""
    from flows import server as prefect_server  # sets its switches once the shell's are gone

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(prefect_folder))
        patch.setenv("PREFECT_API_URL", "")
        patch.setenv("PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED", "true")  # for assets
        prefect_server.spawn_server(prefect_folder)
        url = os.environ["PREFECT_API_URL"]
    yield url
    prefect_server.stop_server()


@pytest.fixture(scope="session")
def dbt_folder(tmp_path_factory) -> Path:
    """A profiles.yml as set-up makes it, and dbt's target, parsed once."""
    folder = tmp_path_factory.mktemp("flow-dbt")
    shutil.copy(PROJECT / "profiles.example.yml", folder / "profiles.yml")
    return folder


def dbt_settings(folder: Path) -> dict[str, str]:
    """The variables by which dbt finds its profile and target in that folder."""
    return {
        "DBT_PROFILES_DIR": str(folder),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
    }


@pytest.fixture
def dbt_environment(dbt_folder, monkeypatch) -> None:
    """These variables, for commands in this process."""
    for name, value in dbt_settings(dbt_folder).items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def forks(dbt_folder, tmp_path_factory) -> Iterator[Forks]:
    """The server of forks of this test process."""
    made = Forks(tmp_path_factory.mktemp("forks"), {**os.environ, **dbt_settings(dbt_folder)})
    yield made
    made.close()


class Dbt:
    """dbt in this process, with a manifest that is parsed once a setting."""

    def __init__(self, folder: Path) -> None:
        cache_repeated_work()
        self.folder = folder
        self.manifests: dict[Any, Any] = {}  # by project, and the setting that parsing reads

    def run(self, *arguments: str, project: Path = PROJECT) -> Any:
        from dbt.cli.main import dbtRunner

        places = ("--project-dir", str(project), "--profiles-dir", str(self.folder))
        outputs = ("--target-path", str(self.folder / "target"), "--log-path", str(self.folder))
        setting = project, os.environ.get("DAYBOOK_FX_PRIORITY")
        if setting not in self.manifests:
            parsed = dbtRunner().invoke(["parse", "--quiet", *places, *outputs])
            if not parsed.success:
                raise parsed.exception or AssertionError("dbt parse failed")
            self.manifests[setting] = parsed.result
            gc.freeze()  # it stays, so that no collection needs to look through it
        command, *rest = arguments
        quiet = ("--log-level", "none", "--log-level-file", "none")
        gc.disable()  # a fifth of a build's time
        try:
            runner = dbtRunner(manifest=self.manifests[setting])
            result = runner.invoke([command, *quiet, *rest, *places, *outputs])
        finally:
            gc.enable()
        if result.exception:
            raise result.exception
        return result


@pytest.fixture(scope="session")
def _dbt_session(dbt_folder) -> Dbt:
    return Dbt(dbt_folder)


@pytest.fixture
def dbt(warehouse_url, _dbt_session, monkeypatch) -> Callable[..., Any]:
    """`dbt("build", "--select", "tag:groups", day="day1", flow_run_id="r1")` -> dbtRunnerResult.

    Raises only what dbt itself raises: whether nodes failed is in `.success` and `.result`.
    """

    def run(
        *arguments: str, day: str | None = None, flow_run_id: str | None = None, **where: Path
    ) -> Any:
        monkeypatch.chdir(PROJECT)
        with pytest.MonkeyPatch.context() as patch:
            context = warehouse.pgoptions(parse_day(day) if day else None, flow_run_id)
            patch.setenv("PGOPTIONS", context)
            return _dbt_session.run(*arguments, **where)

    return run


@pytest.fixture
def world(request, tmp_path, dbt, db) -> Any:
    """Days to write, land and build, on this test's own database."""
    from tests.silver_world import World

    marked = request.node.get_closest_marker("builds")
    return World(tmp_path / "data", dbt, db, marked.args if marked else ())


@pytest.fixture(scope="session")
def _templates() -> set[str]:
    """What this process's tests have made by `once`."""
    return set()


@pytest.fixture
def once(world, shared_home, _templates) -> Callable[..., None]:
    """`once(name, make)` leaves the world's database as `make` does: made once, copied later."""

    def begin(name: str, make: Callable[[], None]) -> None:
        if name not in _templates:
            make()
        places = (name, DATABASE) if name in _templates else (DATABASE, name)
        with world.without_session():
            copy_database(shared_home, *places)
        _templates.add(name)

    return begin
