"""The stack on this machine: `python -m flows.stack up | down | restart | status | logs`.

Warehouse, Prefect server and worker, as processes that outlive the command that started them.
What runs is noted under DAYBOOK_HOME/stack; a note whose process is gone counts for nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flows.command import guarded
from loaders import warehouse
from loaders.errors import DaybookError
from loaders.sources import PROJECT

POOL = "daybook"
PORT = 4200  # Prefect's own
START_SECONDS = 90.0
STOP_SECONDS = 20.0
LOG_LIMIT = 10_000_000  # bytes; a larger log is set aside at the next start
SERVER, WORKER = "server", "worker"
HERE = ("127.0.0.1", "localhost", "::1")


def folder() -> Path:
    """Where notes and logs of the stack are."""
    return warehouse.home() / "stack"


def environment() -> dict[str, str]:
    """What server, worker and deployments run with; what the user has set wins."""
    chosen = dict(os.environ)
    chosen.setdefault("PREFECT_HOME", str(warehouse.home() / "prefect"))
    chosen.setdefault("PREFECT_API_URL", f"http://127.0.0.1:{_port()}/api")
    chosen.setdefault("PREFECT_WORKER_QUERY_SECONDS", "1")  # each phase waits for it: 10 is long
    chosen["DAYBOOK_HOME"] = str(warehouse.home())
    chosen["DAYBOOK_PROJECT"] = str(PROJECT)
    chosen["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{chosen.get('PATH', '')}"
    return chosen


def up() -> None:
    """Start what doesn't run yet, deploy, and close what a dead worker left. Idempotent.

    DaybookError when server or worker don't come up.
    """
    with _only_one():
        if warehouse.is_embedded():
            warehouse.start()
        settings = environment()
        if _is_ours(settings["PREFECT_API_URL"]):
            parts = urlsplit(settings["PREFECT_API_URL"])
            address = ["--host", "127.0.0.1", "--port", str(parts.port or 80)]
            if not pid_of(SERVER):
                _refuse_taken(parts.port or 80)
                _spawn(SERVER, ["server", "start", *address], settings)
            _wait_for_server(settings["PREFECT_API_URL"])
        (folder() / "api-url").write_text(settings["PREFECT_API_URL"])
        if _at_home():  # so that the prefect command finds the server with nothing exported
            (PROJECT / "prefect.toml").write_text(f'[api]\nurl = "{settings["PREFECT_API_URL"]}"\n')
        _command("flows.deploy", settings)
        if not pid_of(WORKER):
            # Nobody else works for this pool: what still says Running belongs to the dead.
            _command("flows.reap", settings)
            worker = ["worker", "start", "--pool", POOL, "--type", "process"]
            _spawn(WORKER, [*worker, "--install-policy", "never"], settings)
    print(f"Prefect is at {settings['PREFECT_API_URL'].removesuffix('/api')}")


def down(*, keep_warehouse: bool = False) -> None:
    """Stop worker, server and the embedded warehouse; what runs is interrupted and recorded."""
    with _only_one():
        for name in (WORKER, SERVER):
            _stop(name)
        (folder() / "api-url").unlink(missing_ok=True)
        if _at_home():
            (PROJECT / "prefect.toml").unlink(missing_ok=True)
        if warehouse.is_embedded() and not keep_warehouse:
            warehouse.stop()


def api_url() -> str | None:
    """The stack's Prefect API, if it is up and answers."""
    try:
        url = (folder() / "api-url").read_text().strip()
    except OSError:
        return None
    return url if answers(url) else None


def answers(url: str, seconds: float = 2.0) -> bool:
    """Whether a Prefect API is there and well."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=seconds) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def pid_of(name: str) -> int | None:
    """The process of a service, None when there is none: a pid alone may be someone else's."""
    import psutil

    try:
        noted = json.loads((folder() / f"{name}.json").read_text())
        process = psutil.Process(noted["pid"])
        gone = process.status() == psutil.STATUS_ZOMBIE
        return None if gone or process.create_time() != noted["started"] else process.pid
    except (OSError, ValueError, KeyError, psutil.Error):
        return None


def status() -> int:
    """Say what runs; 0 when all of it does."""
    found = warehouse.status()
    url = api_url()
    lines = {"warehouse": f"PostgreSQL {found.version} at {found.where}" if found.running else None}
    lines["prefect server"] = f"{url} (pid {pid_of(SERVER) or 'elsewhere'})" if url else None
    lines["prefect worker"] = f"pool {POOL} (pid {pid})" if (pid := pid_of(WORKER)) else None
    for name, line in lines.items():
        print(f"{name:<15} {line or 'stopped'}")
    return 0 if all(lines.values()) else 1


def logs(lines: int) -> int:
    """Print the end of each log."""
    found = [folder() / f"{name}.log" for name in (SERVER, WORKER)]
    with contextlib.suppress(OSError):
        found += sorted((warehouse.home() / "log").glob("*"))
    for path in found:
        print(f"== {path}")
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - 200 * lines))
                text = file.read().decode(errors="replace")
            print("\n".join(text.splitlines()[-lines:]))
        except OSError:
            print("(no log yet)")
    return 0


def _port() -> int:
    """The configured port; else the one in use; else 4200, or a free one where that is taken."""
    if os.environ.get("PREFECT_SERVER_API_PORT"):
        return int(os.environ["PREFECT_SERVER_API_PORT"])
    with contextlib.suppress(OSError, ValueError):
        noted = int((folder() / "port").read_text())
        if pid_of(SERVER) or _is_free(noted):
            return noted
    port = PORT
    if not _is_free(PORT):
        with contextlib.closing(socket.socket()) as any_free:
            any_free.bind(("127.0.0.1", 0))
            port = any_free.getsockname()[1]
    folder().mkdir(parents=True, exist_ok=True)
    (folder() / "port").write_text(str(port))
    return port


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _refuse_taken(port: int) -> None:
    if not _is_free(port):
        raise DaybookError(
            f"Port {port} of this machine is taken by another program: set "
            "PREFECT_SERVER_API_PORT to a free one, or PREFECT_API_URL to the server to use."
        )


def _at_home() -> bool:
    return warehouse.home() == PROJECT / ".daybook"


def _is_ours(url: str) -> bool:
    return urlsplit(url).hostname in HERE


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _spawn(name: str, arguments: list[str], settings: dict[str, str]) -> None:
    """Start a service in a process group of its own, so that it outlives this command."""
    import psutil

    path = folder() / f"{name}.log"
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        path.replace(path.with_suffix(".log.old"))
    with path.open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "prefect", *arguments],
            cwd=PROJECT,
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    note = {"pid": child.pid, "started": psutil.Process(child.pid).create_time()}
    (folder() / f"{name}.json").write_text(json.dumps(note))


def _stop(name: str) -> None:
    """SIGTERM to the service and its flow runs, which record their end; then SIGKILL."""
    pid = pid_of(name)
    if pid is not None:
        import psutil

        group = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)
        _, left = psutil.wait_procs(group, timeout=STOP_SECONDS)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=5)
    (folder() / f"{name}.json").unlink(missing_ok=True)


def _wait_for_server(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers(url):
        if not pid_of(SERVER) or time.monotonic() > deadline:
            raise DaybookError(f"Prefect's server did not start: see {folder() / 'server.log'}.")
        time.sleep(0.2)


def _command(module: str, settings: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-m", module], cwd=PROJECT, env=settings, check=False)
    if done.returncode != 0:
        raise DaybookError(f"{module} ended with {done.returncode}.")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flows.stack",
        description="Warehouse, Prefect server and worker on this machine.",
        epilog="example: python -m flows.stack up",
    )
    parser.add_argument(
        "command", choices=["up", "down", "restart", "status", "logs"], help="what to do"
    )
    parser.add_argument("--lines", type=int, default=40, help="of each log (default 40)")
    given = parser.parse_args(argv)

    def restart() -> None:
        down(keep_warehouse=True)
        up()

    done: dict[str, Any] = {
        "up": up,
        "down": down,
        "restart": restart,
        "status": status,
        "logs": lambda: logs(given.lines),
    }
    return guarded(lambda: done[given.command]() or 0)


if __name__ == "__main__":
    sys.exit(main())
