"""A fork server: it saves each command of a test the twelve seconds of imports and parsing.

The server imports dbt, Prefect and the checks and parses the project, once. Each command is a fork
of it: a process with a pid, signals and an exit code of its own. A fork copies only the thread that
forks, so the server has one thread, no connection and no event loop, and refuses to fork otherwise.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import functools
import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, NoReturn

import psutil

from loaders import lock
from loaders.sources import PROJECT
from tests.watching import InProcessWorker

# What a day imports late, inside functions, and what the commands are.
PRELOADED = (
    *("flows.backfill", "flows.pipeline", "flows.status", "loaders.__main__"),
    *("prefect.artifacts", "prefect.client.orchestration", "prefect.concurrency.services"),
    *("prefect.deployments", "prefect.engine", "prefect.events.worker", "prefect.flow_engine"),
    *("prefect.task_engine", "prefect.telemetry.run_telemetry", "prefect.cli.deployment"),
    *("dbt.adapters.postgres", "dbt.task.build", "dbt.task.docs.generate"),
    *("great_expectations.expectations.core", "great_expectations.render.renderer"),
    *("sqlalchemy.dialects.postgresql.psycopg", "psycopg", "alembic", "pyarrow.parquet"),
    *("fastapi", "babel.dates", "graphviz", "opentelemetry.metrics"),
)
# Otherwise numpy and Arrow start threads at import, and dbt's static parser while it parses.
ONE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "DBT_STATIC_PARSER": "false",
}


class Command:
    """A command that runs or has ended, much like subprocess.Popen; its output is in files."""

    def __init__(self, forks: Forks, pid: int, output: Path) -> None:
        self._forks, self.pid, self._output = forks, pid, output

    @property
    def stdout(self) -> str:
        return (self._output / "out").read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return (self._output / "err").read_text(encoding="utf-8")

    @property
    def returncode(self) -> int | None:
        """None while it runs; a negative number is the signal that ended it."""
        return self._forks.exit_code(self.pid)

    def wait(self, seconds: float = 180) -> int:
        deadline = time.monotonic() + seconds
        while (code := self.returncode) is None:
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"still running after {seconds} s:\n{self.stderr}")
            time.sleep(0.02)
        return code

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forks:
    """Starts the fork server and talks with it; its environment names dbt's project and profile.

    Over a socket, a JSON object a line: a request says what to run, and the server reports each
    fork's pid (`forked`) and, later, its end (`ended`, with the wait status)."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder, self._log = folder, folder / "server.log"
        self._forked: list[int] = []
        self._exits: dict[int, int] = {}
        self._partial_line, self._socket_lock = b"", threading.Lock()
        self._socket, servers_end = socket.socketpair()
        with servers_end, self._log.open("wb") as log:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.forks", str(servers_end.fileno())],
                cwd=PROJECT,
                env=environment | ONE_THREAD,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[servers_end.fileno()],
                start_new_session=True,  # Ctrl-C is for pytest, which then ends it
            )

    def start(
        self, module: str, *arguments: Any, env: dict[str, str], folder: str = str(PROJECT)
    ) -> Command:
        """`python -m module arguments…` in that folder, with just that environment."""
        output = Path(tempfile.mkdtemp(dir=self._folder))
        for name in ("out", "err"):
            (output / name).touch()
        request = {"module": module, "arguments": [*map(str, arguments)], "env": env}
        request |= {"folder": folder, "output": str(output)}
        with self._socket_lock:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            while not self._forked:
                self._read_reports()
            return Command(self, self._forked.pop(), output)

    def exit_code(self, pid: int) -> int | None:
        with self._socket_lock:
            while pid not in self._exits and select.select([self._socket], [], [], 0)[0]:
                self._read_reports()
        return self._exits.get(pid)

    def close(self) -> None:
        self._socket.close()
        self._server.wait(10)

    def _read_reports(self) -> None:
        received = b""
        with contextlib.suppress(ConnectionResetError):
            received = self._socket.recv(65536)
        assert received, f"the fork server ended:\n{self._log.read_text()}"
        *lines, self._partial_line = (self._partial_line + received).split(b"\n")
        for report in map(json.loads, lines):
            if "forked" in report:
                self._forked.append(report["forked"])
            else:
                self._exits[report["ended"]] = os.waitstatus_to_exitcode(report["status"])


def cache_repeated_work() -> None:
    """Patch libraries to do once what they do again at each command with the same result: compile
    templates, find out who declared a flag of dbt's and which plugins it has, build the vocabulary
    of dates, load certificates, which Prefect's clients never use. dbt's events become messages
    only where somebody reads them."""
    import parsedatetime
    from dbt.context import macros
    from dbt.events import logging
    from dbt.plugins.manager import PluginManager
    from dbt_common.behavior_flags import BehaviorFlagRendered
    from dbt_common.events.base_types import BaseEvent
    from dbt_common.events.event_manager import EventManager
    from jinja2 import Environment

    compiled: dict[Any, Any] = {}
    compile_template = Environment.compile

    def compile_once(self: Environment, source: Any, name: Any = None, *a: Any, **kw: Any) -> Any:
        escapes = self.autoescape(name) if callable(self.autoescape) else self.autoescape
        settings = (type(self), escapes, self.trim_blocks, *self.extensions, *self.filters)
        key = (settings, source, name, a, *kw.items())
        if key not in compiled:
            compiled[key] = compile_template(self, source, name, *a, **kw)
        return compiled[key]

    Namespace = macros.MacroNamespace
    fire, make_message = EventManager.fire_event, BaseEvent.__init__

    def fire_event(self: EventManager, *event: Any, **how: Any) -> None:
        if self.loggers or self.callbacks:
            fire(self, *event, **how)

    def make_message_later(self: BaseEvent, *args: Any, **fields: Any) -> None:
        vars(self)["make_message"] = functools.partial(make_message, self, *args, **fields)

    def pb_msg(self: BaseEvent) -> Any:
        vars(self).pop("make_message")()
        return vars(self)["pb_msg"]

    class AllByName(dict[str, Any], Namespace):
        """All macros by name: dbt would look through five dicts for each of them."""

        def __init__(self, **places: Any) -> None:
            Namespace.__init__(self, **places)
            for place in reversed([*self._search_order()]):
                self.update(place)

    Environment.compile = compile_once  # type: ignore[method-assign]
    EventManager.fire_event = fire_event  # type: ignore[method-assign]
    BaseEvent.__init__ = make_message_later  # type: ignore[method-assign]
    BaseEvent.pb_msg = functools.cached_property(pb_msg)
    BaseEvent.pb_msg.__set_name__(BaseEvent, "pb_msg")
    logging.add_callback_to_manager = lambda callback: None
    macros.MacroNamespace = AllByName
    BehaviorFlagRendered._default_source = staticmethod(lambda: "dbt")
    PluginManager.get_prefixed_modules = functools.cache(PluginManager.get_prefixed_modules)
    parsedatetime.Constants = functools.cache(parsedatetime.Constants)
    ssl.create_default_context = functools.cache(ssl.create_default_context)
    _reuse_connections()


def _reuse_connections() -> None:
    """dbt opens a connection for each node, and PostgreSQL a process that reads its catalogues.
    Here a node gets a connection that another node of its command has closed, reset to new."""
    from dbt.adapters.postgres import connections

    psycopg2, Connections = connections.psycopg2, connections.PostgresConnectionManager
    connect, cleanup_all = psycopg2.connect, Connections.cleanup_all
    pool: list[Any] = []

    def connect_from_pool(**where: Any) -> Any:
        with contextlib.suppress(IndexError, psycopg2.Error):  # an empty pool, a lost connection
            handle = pool.pop()
            handle.autocommit = True
            handle.cursor().execute("discard all")
            handle.cursor().execute("set datestyle to iso")  # as psycopg2 does at first
            handle.autocommit = False
            return handle
        return connect(**where)

    def return_to_pool(connection: Any) -> None:
        with contextlib.suppress(psycopg2.Error):
            if handle := connection.handle:  # None if it could not be opened
                handle.rollback()
                pool.append(handle)

    def close_all(self: Connections) -> None:
        cleanup_all(self)
        while pool:
            pool.pop().close()

    psycopg2.connect = connect_from_pool
    Connections._close_handle = return_to_pool
    Connections.cleanup_all = close_all


def _preload() -> None:
    from dbt_common.clients.jinja import get_template
    from great_expectations.render.view import DefaultJinjaPageView

    from flows import server, timing, transform
    from flows.checks import judge, run

    judge.great_expectations()
    run.Worker = InProcessWorker  # type: ignore[misc]
    for name in PRELOADED:
        importlib.import_module(name)
    cache_repeated_work()  # imports dbt, after Prefect: else the root logger writes to the console
    parsed = transform.manifest()
    for node in (*parsed.nodes.values(), *parsed.macros.values()):
        get_template(getattr(node, "macro_sql", "") or getattr(node, "raw_code", ""), {})
    pages = DefaultJinjaPageView().env
    for template in pages.list_templates():
        pages.get_template(template)
    timing.taken()  # forget these seconds: they belong to no run
    start = server.start_server

    def start_server(**named: Any) -> None:
        start(**named)  # sets the environment that Prefect reads when it is imported
        if not os.environ.get("PREFECT_API_URL"):  # Prefect is imported, and would start its own
            home = Path(os.environ["PREFECT_HOME"])
            home.mkdir(exist_ok=True)
            server.spawn_server(home)
        _read_prefects_settings()

    server.start_server = start_server
    gc.collect()
    gc.freeze()  # forks share these objects, and their garbage collection passes over them
    gc.set_threshold(50_000)


def _serve(control: socket.socket) -> None:
    """Fork for each request, and report each fork that has ended: SIGCHLD wakes the loop."""
    wake_up, woken_by = socket.socketpair()
    for each in (wake_up, woken_by):
        each.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken_by.fileno())
    requests = control.makefile("r", encoding="utf-8")

    running: set[int] = set()

    def report(**fields: int) -> None:
        control.sendall(json.dumps(fields).encode() + b"\n")

    while True:
        ready, _, _ = select.select([control, wake_up], [], [])
        if wake_up in ready:
            wake_up.recv(4096)
            with contextlib.suppress(ChildProcessError):
                while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                    running.discard(ended[0])
                    report(ended=ended[0], status=ended[1])
        if control in ready:
            if not (line := requests.readline()):
                for pid in running:  # pytest is gone: nobody else would end them
                    os.kill(pid, signal.SIGKILL)
                return
            assert psutil.Process().num_threads() == 1, "a fork would lose the other threads"
            if (pid := os.fork()) == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for each in (control, wake_up, woken_by):
                    each.close()
                _run_command(**json.loads(line))
            running.add(pid)
            report(forked=pid)


def _run_command(
    module: str, arguments: list[str], env: dict[str, str], folder: str, output: str
) -> NoReturn:
    """In the fork: make this process the command, from its environment to its exit code."""
    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{output}/{name}", os.O_WRONLY | os.O_APPEND), number)
    faulthandler.enable()  # a crash of the interpreter says where, among the command's errors
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    lock.WAIT = float(env.get("TEST_LOCK_WAIT", lock.WAIT))
    if not module.startswith(("flows", "loaders")):  # these do it in start_server
        _read_prefects_settings()
    random.seed()
    sys.argv = [module, *arguments]
    # It warns that the module has been imported before it runs: that's the point of a fork.
    warnings.filterwarnings("ignore", ".*found in sys.modules", RuntimeWarning)
    code: Any = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    # What the interpreter does at its end, without freeing a hundred thousand objects.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def _read_prefects_settings() -> None:
    """Prefect reads its settings at import: have it read them again, in this environment."""
    from prefect.context import refresh_global_settings_context
    from prefect.logging.configuration import setup_logging

    refresh_global_settings_context()
    setup_logging(incremental=False)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as control:
        _preload()
        _serve(control)
