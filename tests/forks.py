"""Commands of the project as forks of a process that has imported dbt, Prefect and the checks and
has parsed the project: a day then costs its work, not twelve seconds of getting ready.

Each command is a process with a pid, signals and an exit code of its own. The server imports and
parses, and nothing else: it has one thread, no connection and no event loop, or it refuses to fork.
"""

from __future__ import annotations

import atexit
import contextlib
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
from tests.watching import Here

# What a day imports by the way, besides what the flow itself imports.
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
# numpy and Arrow start threads while they are imported, dbt's static parser while it parses.
ONE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "DBT_STATIC_PARSER": "false",
}


class Command:
    """A command that runs, or has run: much as subprocess.Popen with its output in files."""

    def __init__(self, forks: Forks, pid: int, said: Path) -> None:
        self._forks, self.pid, self._said = forks, pid, said

    @property
    def stdout(self) -> str:
        return (self._said / "out").read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return (self._said / "err").read_text(encoding="utf-8")

    @property
    def returncode(self) -> int | None:
        """None while it runs; below zero the signal that ended it."""
        return self._forks.exit_code(self.pid)

    def wait(self, seconds: float = 180) -> int:
        deadline = time.monotonic() + seconds
        while (code := self.returncode) is None:
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"still at work after {seconds} s:\n{self.stderr}")
            time.sleep(0.02)
        return code

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forks:
    """The server, started in an environment that says where dbt finds project and profile."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder, self._log = folder, folder / "server.log"
        self._forked: list[int] = []
        self._exits: dict[int, int] = {}
        self._rest, self._talking = b"", threading.Lock()
        self._socket, theirs = socket.socketpair()
        with theirs, self._log.open("wb") as log:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.forks", str(theirs.fileno())],
                cwd=PROJECT,
                env=environment | ONE_THREAD,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for pytest, which ends it
            )

    def start(
        self, module: str, *arguments: Any, env: dict[str, str], folder: str = str(PROJECT)
    ) -> Command:
        """`python -m module arguments…` in that folder, with just that environment."""
        said = Path(tempfile.mkdtemp(dir=self._folder))
        for name in ("out", "err"):
            (said / name).touch()
        asked = {"module": module, "arguments": [*map(str, arguments)], "env": env}
        with self._talking:
            asked |= {"folder": folder, "said": str(said)}
            self._socket.sendall(json.dumps(asked).encode() + b"\n")
            while not self._forked:
                self._listen()
            return Command(self, self._forked.pop(), said)

    def exit_code(self, pid: int) -> int | None:
        with self._talking:
            while pid not in self._exits and select.select([self._socket], [], [], 0)[0]:
                self._listen()
        return self._exits.get(pid)

    def close(self) -> None:
        self._socket.close()
        self._server.wait(10)

    def _listen(self) -> None:
        heard = self._socket.recv(65536)
        assert heard, f"the fork server ended:\n{self._log.read_text()}"
        *lines, self._rest = (self._rest + heard).split(b"\n")
        for answer in map(json.loads, lines):
            if "forked" in answer:
                self._forked.append(answer["forked"])
            else:
                self._exits[answer["ended"]] = os.waitstatus_to_exitcode(answer["status"])


def remember() -> None:
    """Have what libraries work out anew at each command, always the same, worked out once: compiled
    templates, who declared a flag of dbt's, which plugins it has, the words that a date could be
    written in, the certificates that Prefect's clients never use. And what dbt tells of itself is
    not put into words where nobody listens."""
    import parsedatetime
    from dbt.context import macros
    from dbt.events import logging
    from dbt.plugins.manager import PluginManager
    from dbt_common.behavior_flags import BehaviorFlagRendered
    from dbt_common.events.base_types import BaseEvent
    from dbt_common.events.event_manager import EventManager
    from jinja2 import Environment

    compiled: dict[Any, Any] = {}
    plain = Environment.compile

    def once(self: Environment, source: Any, name: Any = None, *how: Any, **more: Any) -> Any:
        escapes = self.autoescape(name) if callable(self.autoescape) else self.autoescape
        its = (type(self), escapes, self.trim_blocks, *self.extensions, *self.filters)
        key = (its, source, name, how, *more.items())
        if key not in compiled:
            compiled[key] = plain(self, source, name, *how, **more)
        return compiled[key]

    Namespace = macros.MacroNamespace
    tell, put_into_words = EventManager.fire_event, BaseEvent.__init__

    def fire_event(self: EventManager, *event: Any, **how: Any) -> None:
        if self.loggers or self.callbacks:
            tell(self, *event, **how)

    def happen(self: BaseEvent, *args: Any, **what: Any) -> None:
        vars(self)["words"] = functools.partial(put_into_words, self, *args, **what)

    def pb_msg(self: BaseEvent) -> Any:
        vars(self).pop("words")()
        return vars(self)["pb_msg"]

    class AllByName(dict[str, Any], Namespace):
        """All macros: dbt looks through five places for each, and asks for all."""

        def __init__(self, **places: Any) -> None:
            Namespace.__init__(self, **places)
            for place in reversed([*self._search_order()]):
                self.update(place)

    Environment.compile = once  # type: ignore[method-assign]
    EventManager.fire_event = fire_event  # type: ignore[method-assign]
    BaseEvent.__init__ = happen  # type: ignore[method-assign]
    BaseEvent.pb_msg = functools.cached_property(pb_msg)
    BaseEvent.pb_msg.__set_name__(BaseEvent, "pb_msg")
    logging.add_callback_to_manager = lambda its_own: None
    macros.MacroNamespace = AllByName
    BehaviorFlagRendered._default_source = staticmethod(lambda: "dbt")
    PluginManager.get_prefixed_modules = functools.cache(PluginManager.get_prefixed_modules)
    parsedatetime.Constants = functools.cache(parsedatetime.Constants)
    ssl.create_default_context = functools.cache(ssl.create_default_context)
    _keep_connections()


def _keep_connections() -> None:
    """dbt opens a connection a node, and Postgres a process that reads its catalogues anew: the
    nodes of a command here get those that others have closed, as clean as new ones."""
    from dbt.adapters.postgres import connections

    psycopg2, Connections = connections.psycopg2, connections.PostgresConnectionManager
    connect, cleanup_all = psycopg2.connect, Connections.cleanup_all
    closed: list[Any] = []

    def connect_again(**where: Any) -> Any:
        with contextlib.suppress(IndexError, psycopg2.Error):  # none left, or one that is lost
            handle = closed.pop()
            handle.autocommit = True
            handle.cursor().execute("discard all")
            handle.cursor().execute("set datestyle to iso")  # as psycopg2 begins
            handle.autocommit = False
            return handle
        return connect(**where)

    def close(connection: Any) -> None:
        with contextlib.suppress(psycopg2.Error):
            if handle := connection.handle:  # none where it could not be opened
                handle.rollback()
                closed.append(handle)

    def end(self: Connections) -> None:
        cleanup_all(self)
        while closed:
            closed.pop().close()

    psycopg2.connect = connect_again
    Connections._close_handle = close
    Connections.cleanup_all = end


def _preload() -> None:
    from dbt_common.clients.jinja import get_template
    from great_expectations.render.view import DefaultJinjaPageView

    from flows import server, timing, transform
    from flows.checks import judge, run

    judge.great_expectations()
    run.Worker = Here  # type: ignore[misc]
    for name in PRELOADED:
        importlib.import_module(name)
    remember()  # dbt after Prefect: what it imports would have the root logger write to the console
    parsed = transform.manifest()
    for node in (*parsed.nodes.values(), *parsed.macros.values()):
        get_template(getattr(node, "macro_sql", "") or getattr(node, "raw_code", ""), {})
    pages = DefaultJinjaPageView().env
    for template in pages.list_templates():
        pages.get_template(template)
    timing.taken()  # no run's own seconds
    start = server.start_server

    def start_server(**named: Any) -> None:
        start(**named)  # sets what Prefect, which comes after it, is to read
        if not os.environ.get("PREFECT_API_URL"):  # it leaves that to Prefect, which is imported
            home = Path(os.environ["PREFECT_HOME"])
            home.mkdir(exist_ok=True)
            server.spawn_server(home)
        _read_prefects_settings()

    server.start_server = start_server
    gc.collect()
    gc.freeze()  # forks share what is never collected, and don't look through it
    gc.set_threshold(50_000)


def _serve(control: socket.socket) -> None:
    """Fork for each line that asks for it, and tell of each fork that has ended."""
    woken, wakes = socket.socketpair()
    for each in (woken, wakes):
        each.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes.fileno())
    requests = control.makefile("r", encoding="utf-8")

    at_work: set[int] = set()

    def tell(**what: int) -> None:
        control.sendall(json.dumps(what).encode() + b"\n")

    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            with contextlib.suppress(ChildProcessError):
                while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                    at_work.discard(ended[0])
                    tell(ended=ended[0], status=ended[1])
        if control in ready:
            if not (line := requests.readline()):
                for pid in at_work:  # nobody is left to end them
                    os.kill(pid, signal.SIGKILL)
                return
            assert psutil.Process().num_threads() == 1, "a fork would lose a thread"
            if (pid := os.fork()) == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for each in (control, woken, wakes):
                    each.close()
                _become(**json.loads(line))
            at_work.add(pid)
            tell(forked=pid)


def _become(
    module: str, arguments: list[str], env: dict[str, str], folder: str, said: str
) -> NoReturn:
    """The command itself, from its environment to its exit code."""
    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{said}/{name}", os.O_WRONLY | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    lock.WAIT = float(env.get("TEST_LOCK_WAIT", lock.WAIT))
    if not module.startswith(("flows", "loaders")):  # they read them where a server starts
        _read_prefects_settings()
    random.seed()
    sys.argv = [module, *arguments]
    # It has been imported before it runs: that's the point.
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
    # As the interpreter ends, but for taking a hundred thousand objects apart.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def _read_prefects_settings() -> None:
    """Prefect reads its settings while it is imported: as it would in this environment."""
    from prefect.context import refresh_global_settings_context
    from prefect.logging.configuration import setup_logging

    refresh_global_settings_context()
    setup_logging(incremental=False)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as given:
        _preload()
        _serve(given)
