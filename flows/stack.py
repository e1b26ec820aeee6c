"""The stack on this machine: `python -m flows.stack up | down | restart | status | logs`.

Warehouse, Prefect server and worker, as processes that outlive the command that started them.
What runs is noted under DAYBOOK_HOME/stack.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flows import api
from flows.command import guarded
from loaders import process, warehouse
from loaders.errors import DaybookError
from loaders.sources import PROJECT

POOL = "daybook"
PORT = 4200  # Prefect's own
LOCAL = "127.0.0.1"
START_SECONDS = 90.0


def folder() -> Path:
    """Where notes and logs of the stack are."""
    return warehouse.home() / "stack"


def server() -> process.Program:
    return process.Program(folder(), "server")


def worker() -> process.Program:
    return process.Program(folder(), "worker")


def environment() -> dict[str, str]:
    """What worker and deployments run with; what the user has set wins."""
    chosen = dict(os.environ)
    chosen.setdefault("PREFECT_HOME", str(api.own_home()))
    chosen.setdefault(api.ADDRESS, f"http://{LOCAL}:{_port()}/api")
    chosen.setdefault("PREFECT_WORKER_QUERY_SECONDS", "1")  # each phase waits for it: 10 is long
    chosen["DAYBOOK_HOME"] = str(warehouse.home())
    return chosen


def up() -> None:
    """Start what doesn't run yet, deploy, and close what a dead worker left. Idempotent.

    DaybookError when server or worker don't come up.
    """
    with _only_one():
        if warehouse.is_embedded():
            warehouse.start()
        settings = environment()
        host, port = _place(settings[api.ADDRESS])
        if host == LOCAL:
            settings[api.SECRET] = api.secret()
            if not server().pid():
                _start_server(port, settings)
            _wait_for_server(settings[api.ADDRESS])
        (folder() / "api-url").write_text(settings[api.ADDRESS])
        if _at_home():  # so that the prefect command finds the server with nothing exported
            _tell_prefect(settings)
        _command("flows.deploy", settings)
        if not worker().pid():
            # Nobody else works for this pool: what still says Running belongs to the dead.
            _command("flows.reap", settings)
            command = ["worker", "start", "--pool", POOL, "--type", "process"]
            worker().start(_prefect(*command, "--install-policy", "never"), PROJECT, settings)
    print(f"Prefect is at {settings[api.ADDRESS].removesuffix('/api')}")
    if host == LOCAL and api.SECRET not in os.environ:
        print(f"Its pages ask for a password: what is in {api.secret_file()}")


def down(*, keep_warehouse: bool = False) -> None:
    """Stop worker, server and the embedded warehouse; what runs is interrupted and recorded."""
    with _only_one():
        worker().stop()
        server().stop()
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
    return url if api.answers(url) else None


def connection() -> dict[str, str]:
    """Address and secret of the stack's API; empty when it is down or another one is named."""
    url = api_url()
    named = os.environ.get(api.ADDRESS) or url
    if not url or not named or _place(named) != _place(url):
        return {}
    # Nobody but a server of our own is told it, even on its port.
    told = {api.SECRET: api.secret()} if server().pid() else {}
    return {api.ADDRESS: named, **told}


def status() -> int:
    """Say what runs; 0 when all of it does."""
    found = warehouse.status()
    url = api_url()
    lines = {"warehouse": f"PostgreSQL {found.version} at {found.where}" if found.running else None}
    lines["prefect server"] = f"{url} (pid {server().pid() or 'elsewhere'})" if url else None
    lines["prefect worker"] = f"pool {POOL} (pid {pid})" if (pid := worker().pid()) else None
    for name, line in lines.items():
        print(f"{name:<15} {line or 'stopped'}")
    return 0 if all(lines.values()) else 1


def logs(lines: int) -> int:
    """Print the end of each log."""
    found = [server().log, worker().log]
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
    noted = folder() / "port"
    with contextlib.suppress(OSError, ValueError):
        port = int(noted.read_text())
        if server().pid() or process.is_free(port):
            return port
    with process.listener(PORT if process.is_free(PORT) else 0) as free:
        port = int(free.getsockname()[1])
    process.make_private(folder())
    noted.write_text(str(port))
    return port


def _place(url: str) -> tuple[str, int]:
    """Host and port of an API, this machine by one name."""
    parts = urlsplit(url)
    host = str(parts.hostname)
    return LOCAL if host in ("localhost", "::1") else host, parts.port or 80


def _at_home() -> bool:
    return warehouse.home() == PROJECT / ".daybook"


def _tell_prefect(settings: dict[str, str]) -> None:
    lines = ["[api]", f'url = "{settings[api.ADDRESS]}"']
    if secret := settings.get(api.SECRET):
        lines.append(f"auth_string = '{secret}'")
    process.write_private(PROJECT / "prefect.toml", "\n".join(lines) + "\n")


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    process.make_private(folder())
    with process.only_one(folder() / "lock"):
        yield


def _start_server(port: int, settings: dict[str, str]) -> None:
    if not process.is_free(port):
        raise DaybookError(
            f"Port {port} of this machine is taken by another program: set "
            "PREFECT_SERVER_API_PORT to a free one, or PREFECT_API_URL to the server to use."
        )
    command = _prefect("server", "start", "--host", LOCAL, "--port", str(port))
    told = api.server_settings(settings[api.SECRET], port)
    server().start(command, PROJECT, {**settings, **told})


def _wait_for_server(url: str) -> None:
    ended = process.until(lambda: api.answers(url) or not server().pid(), START_SECONDS)
    if not ended or not server().pid():
        raise DaybookError(f"Prefect's server did not start: see {server().log}.")


def _prefect(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "prefect", *arguments]


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
