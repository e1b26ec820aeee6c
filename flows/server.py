"""Prefect's API for a run by hand: a temporary server that lives as long as this process.

Prefect can start one itself. But that one outlives a killed flow, gets the terminal's Ctrl-C
before the flow has closed its runs, and two first starts race for one database.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from flows import api, timing
from loaders import process, warehouse

SETTINGS = {  # the user's own variables win
    # Events are for pages and automations, and this server has neither.
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
    "PREFECT_SERVER_EVENTS_STREAM_OUT_ENABLED": "false",
    # It records task runs from events. By default each of a run's three states is a transaction.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    # Looking for blocks to register, in prefect-dbt and dbt, takes a third of its start.
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
}
RESTARTS = 5  # of a server that was ended by something else
_running: list[subprocess.Popen[bytes]] = []


def start_server(*, verbose: bool = False, meanwhile: Callable[[], Any] = lambda: None) -> None:
    """Make PREFECT_API_URL answer: the user's own, that of `make up`, or a temporary server.

    Its database is in PREFECT_HOME, by default DAYBOOK_HOME/prefect. Call it before Prefect is
    imported, which reads its settings once; when Prefect already is, it starts its own server.
    `meanwhile` is called while the server starts, which takes seconds.
    Raises DaybookError when the server does not answer within START_SECONDS.
    """
    if not verbose:
        # The console is for the run's account; Prefect's API still gets every log line.
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
        # Without a handler, the first library that logs gives the root logger one for the console.
        logging.getLogger().addHandler(logging.NullHandler())
        logging.raiseExceptions = False  # Prefect's log of a server that fails would end the output
    os.environ.setdefault(
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", str(api.START_SECONDS)
    )
    warehouse.own_folder("prefect")  # makes DAYBOOK_HOME too, which the first run lacks
    api.port()  # Prefect reads the setting too
    os.environ.update(api.connection())
    if address := os.environ.get(api.ADDRESS):
        api.check_is_there(address)
    if address or "prefect" in sys.modules:
        meanwhile()
        return
    prefect_home = Path(os.environ.setdefault("PREFECT_HOME", api.prefect_home()))
    prefect_home.mkdir(parents=True, exist_ok=True)
    # the first start migrates the database
    with process.only_one(prefect_home / "server.lock", 2 * api.START_SECONDS):
        spawn_server(prefect_home, meanwhile)


def spawn_server(prefect_home: Path, meanwhile: Callable[[], Any] = lambda: None) -> None:
    """Start a server on a free port of this machine, with a new secret, and set PREFECT_API_URL and
    PREFECT_API_AUTH_STRING to them. When something else ends it, it is started again."""
    log, secret = prefect_home / "server.log", api.new_secret()
    listener = socket.create_server((api.LOCAL, 0))
    descriptor, port = listener.fileno(), listener.getsockname()[1]
    settings = {**SETTINGS, **os.environ, **api.server_settings(secret, port)}

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "flows.server", str(descriptor)]
        child = process.spawn(command, log, settings, stdin=subprocess.PIPE, pass_fds=[descriptor])
        _running[:] = [child]
        return child

    def keep(child: subprocess.Popen[bytes]) -> None:
        with listener:  # while no server listens, requests wait in its backlog
            for _ in range(RESTARTS):
                child.wait()
                if child not in _running:
                    return
                child = start()
            child.wait()

    os.environ.update({api.ADDRESS: api.local_address(port), api.SECRET: secret})
    child = start()
    try:
        meanwhile()
        with timing.part("prefect-server"):
            answers = partial(api.answers, os.environ[api.ADDRESS])
            api.wait_for("server", answers, log, lambda: child.poll() is None)
    except BaseException:
        child.kill()
        stop_server()
        listener.close()
        raise
    threading.Thread(target=keep, args=[child], daemon=True, name="daybook-prefect").start()


def stop_server() -> None:
    """Let the temporary server finish its open requests, and end it."""
    while _running:
        child = _running.pop()
        if child.stdin:
            child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=10)
        for name in (api.ADDRESS, api.SECRET):
            os.environ.pop(name, None)


def page_of(flow_run_id: str) -> str | None:
    """The address of Prefect's page of a run, without name and password; None for the temporary
    server, which ends with this process."""
    from prefect.utilities.urls import url_for

    if _running:
        return None
    return api.bare(url_for("flow-run", obj_id=flow_run_id) or "") or None


def _serve(descriptor: int) -> None:
    import uvicorn
    from prefect.server.api.server import create_app

    # without pages and without services for deployments, schedules and workers
    app = create_app(ephemeral=True)
    config = uvicorn.Config(app, fd=descriptor, log_level="error", timeout_graceful_shutdown=3)
    server = uvicorn.Server(config)

    def leave_with_parent() -> None:
        sys.stdin.buffer.read()  # ends when the parent closes it, or dies
        server.should_exit = True
        time.sleep(10)
        os._exit(0)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    # It ignores signals to all of a run's processes, so that the flow can still record its end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    server.run()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
