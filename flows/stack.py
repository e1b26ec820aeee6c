"""The stack on this machine: `python -m flows.stack up | down | restart | status | logs | work`.

Warehouse, Prefect server and worker are processes that outlive the command that started them;
DAYBOOK_HOME/stack has a note of each. In a container, `work` becomes the worker.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

from flows import api, deploy
from loaders import process, warehouse
from loaders.arguments import command, option
from loaders.errors import DaybookError
from loaders.sources import PROJECT

PREFECT = [sys.executable, "-m", "prefect"]


def worker() -> process.Program:
    """The stack's Prefect worker."""
    return process.Program(api.folder(), "worker")


def up() -> None:
    """Start what doesn't run yet, deploy, and close the runs that a dead worker left. Idempotent.

    DaybookError when server or worker don't start.
    """
    print("starting what does not run yet", file=sys.stderr, flush=True)
    with _only_one():
        warehouse.wake()
        settings = api.environment()
        address = settings[api.ADDRESS]
        host, port = api.place(address)
        server = api.server()
        theirs = os.environ.get(api.ADDRESS) and api.answers(address) and not server.pid()
        if host == api.LOCAL and not theirs:
            settings[api.SECRET] = api.secret()
            if not server.pid():
                _start_server(port, settings)
            api.wait_for("server", lambda: api.answers(address), server.log, server.pid)
        if _at_home():  # so that the prefect command finds the server without variables
            _tell_prefect(settings)
        os.environ.update(settings)
        deploy.deploy(deploy.declared())
        if not worker().pid():
            worker().start(_worker_command(), settings)
            from flows.distributed import has_worker

            api.wait_for("worker", has_worker, worker().log, worker().pid)
    print(f"Prefect is at {address.removesuffix('/api')}")
    if server.pid() and api.secret_file().exists():
        print(f"Its pages ask for a password: what is in {api.secret_file()}")


def down(*, keep_warehouse: bool = False) -> None:
    """Stop worker, server and the embedded warehouse; open runs are interrupted and recorded."""
    print("stopping Prefect's worker and server", file=sys.stderr, flush=True)
    with _only_one():
        worker().stop()
        api.server().stop()
        if _at_home():
            (PROJECT / "prefect.toml").unlink(missing_ok=True)
        if warehouse.is_embedded() and not keep_warehouse:
            warehouse.stop()


def restart() -> None:
    """Stop server and worker and start them again."""
    down(keep_warehouse=True)
    up()


def status() -> int:
    """Print which of the three run; returns 0 when all do, else 1."""
    version, _ = warehouse.status()
    url = api.url()
    lines = {"warehouse": f"PostgreSQL {version} at {warehouse.where()}" if version else None}
    lines["prefect server"] = f"{url} (pid {api.server().pid() or 'elsewhere'})" if url else None
    lines["prefect worker"] = f"pool {api.POOL} (pid {pid})" if (pid := worker().pid()) else None
    for name, line in lines.items():
        print(f"{name:<15} {line or 'stopped'}")
    return 0 if all(lines.values()) else 1


def logs() -> int:
    """Print the end of each log; returns tail's exit code."""
    paths = [api.server().log, worker().log, *sorted((warehouse.home() / "log").glob("*"))]
    existing = [path for path in paths if path.exists()]
    if not existing:
        print("no log yet")
        return 0
    return subprocess.run(["tail", "-n", "40", "--", *existing], check=False).returncode


def work() -> None:
    """Deploy, close the runs that a dead worker left, and become the pool's worker."""
    deploy.deploy(deploy.declared())
    command = _worker_command()
    os.execv(command[0], command)


def _at_home() -> bool:
    return warehouse.home() == PROJECT / ".daybook"


def _tell_prefect(settings: dict[str, str]) -> None:
    lines = ["[api]", f'url = "{settings[api.ADDRESS]}"']
    if secret := settings.get(api.SECRET):
        lines.append(f"auth_string = '{secret}'")
    process.write_private(PROJECT / "prefect.toml", "\n".join(lines) + "\n")


def _only_one() -> AbstractContextManager[None]:
    return process.only_one(warehouse.own_folder("stack") / "lock")


def _start_server(port: int, settings: dict[str, str]) -> None:
    if not process.is_free(port):
        raise DaybookError(
            f"Port {port} of this machine is taken by another program: set "
            "PREFECT_SERVER_API_PORT to a free one, or PREFECT_API_URL to the server to use."
        )
    command = [*PREFECT, "server", "start", "--host", api.LOCAL, "--port", str(port)]
    own = api.server_settings(settings[api.SECRET], port)
    api.server().start(command, settings | own, port=port)


def _worker_command() -> list[str]:
    """The command of the pool's worker. Closes the runs that a dead worker left first."""
    from flows import distributed

    distributed.reap(distributed.is_left)
    command = ["worker", "start", "--pool", api.POOL, "--type", "process"]
    return [*PREFECT, *command, "--install-policy", "never"]


COMMANDS: dict[str, Callable[[], int | None]] = {
    each.__name__: each for each in (up, down, restart, status, logs, work)
}


@command(
    "flows.stack",
    "Start (up), stop (down) or restart warehouse, Prefect's server and worker on this machine; say"
    " which run (status); show the end of their logs; work: become the worker, in a container.",
    "example: %(prog)s up",
    option("command", choices=COMMANDS),
)
def main(args: argparse.Namespace) -> int | None:
    return COMMANDS[args.command]()


if __name__ == "__main__":
    sys.exit(main())
