"""Starts and stops the embedded PostgreSQL, by the wheel's own initdb and pg_ctl."""

from __future__ import annotations

import os
import re
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from loaders import process
from loaders.cluster import SUPERUSER, Cluster, refuse_foreign, socket_dir
from loaders.errors import SettingError, WarehouseError

RECOVERY = 600  # seconds that a start may take: after a crash the log is replayed
PATIENCE = 60.0  # seconds for a start that is under way, and for a killed server's sessions to end
PARAMETERS = ("PGOPTIONS", "PGTZ", "PGDATESTYLE", "PGGEQO")  # variables that reach a server
_SETTING = re.compile(
    "connection is bad: (invalid|definition of service|could not parse|GSSAPI encryption required)"
    "|requirepeer specifies|authentication method requirement|channel binding required"
    "|server is not in hot standby mode"
    '|FATAL: .*(parameter "|command-line argument|requires a value)'
)


def start(home: Path) -> bool:
    """Start the server of `home`; False if it ran already. A missing one is made first.

    WarehouseError for a directory that isn't ours, is half made or of another major version, and
    for a server that doesn't come up.
    """
    import psycopg

    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with process.only_one(home / "server.lock"):
            if answers(home):
                return False
            _bring_up(home)
            with psycopg.connect(**address(home, "postgres"), options="") as conn:
                conn.autocommit = True
                made = conn.execute("select from pg_database where datname = 'daybook'")
                if made.fetchone() is None:
                    conn.execute("create database daybook")
    except psycopg.OperationalError as error:
        unusable = setting_error(f"No session of the embedded server: {error}.", error)
        raise unusable or error from None
    except OSError as error:
        raise WarehouseError(
            f"The embedded server can't be started in {home}: {error}. Make that possible, or set"
            " DAYBOOK_HOME to another folder."
        ) from error
    return True


def stop(home: Path) -> bool:
    """Stop the server (fast shutdown: open transactions are rolled back); False if none ran.
    WarehouseError when it is not ours, or still runs afterwards."""
    data = (home / "pg").resolve()
    try:
        if not _runs(data):
            return False
        refuse_foreign(data)
        with process.only_one(home / "server.lock"):
            cluster = Cluster(home)
            cluster.run("pg_ctl", "stop", "-D", data, "-m", "fast")
            if _runs(data):
                raise WarehouseError(f"The embedded server didn't stop; see {cluster.log}.")
    except OSError as error:
        raise WarehouseError(f"The embedded server can't be stopped in {home}: {error}") from error
    return True


def reset(home: Path) -> None:
    """Stop the server and delete its data, socket and log."""
    stop(home)
    if (home / "pg").is_symlink():
        shutil.rmtree((home / "pg").readlink().parent, ignore_errors=True)
    for path in (home / "pg", home / "pg.making", home / "log", home / "run", socket_dir(home)):
        if path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(path, ignore_errors=True)


def answers(home: Path, database: str = "daybook") -> bool:
    """Whether the server accepts a connection, which a process alone doesn't show."""
    import psycopg

    try:
        psycopg.connect(**address(home, database), connect_timeout=5).close()
    except psycopg.OperationalError as error:
        return setting_error("", error) is not None  # which the session that needs it says
    return True


def setting_error(message: str, reason: object) -> SettingError | None:
    """`message` as the error of a setting, when it is for one that libpq or a server refused a
    session. A server's words name the parameter, and not the variable that brought it."""
    refused = _SETTING.search(str(reason))
    names = [name for name in PARAMETERS if os.environ.get(name)]
    names += ["DATABASE_URL"] if "options=" in os.environ.get("DATABASE_URL", "") else []
    if refused and refused[0].startswith("FATAL:"):
        return SettingError(f"{message} Look at {' and '.join(names)}.") if names else None
    return SettingError(message) if refused else None


def address(home: Path, database: str = "daybook") -> dict[str, Any]:
    """libpq's parameters, by name, to connect as the owner."""
    return {"host": str(socket_dir(home)), "port": "5432", "user": SUPERUSER, "dbname": database}


def _bring_up(home: Path) -> None:
    data = (home / "pg").resolve()
    # a start that was killed may have left a server that is coming up
    if not process.until(lambda: not _runs(data) or answers(home, "postgres"), PATIENCE):
        raise WarehouseError(f"The embedded server runs, but lets nobody in: see {home / 'log'}.")
    if _runs(data):
        return
    cluster = Cluster(home)
    cluster.make()
    _forget_dead(cluster)
    process.set_aside(cluster.log)
    before = cluster.log.stat().st_size if cluster.log.exists() else 0
    done = cluster.run(
        *("pg_ctl", "start", "-D", cluster.data, "-l", cluster.log, "-w", "-t", RECOVERY)
    )
    if done.returncode != 0:
        log = cluster.log.read_bytes()[before:] if cluster.log.exists() else b""
        lines = [done.stderr.strip(), *log.decode(errors="replace").splitlines()]
        fatal = [line for line in lines if "FATAL" in line] or lines[:1]
        raise WarehouseError(f"The embedded server didn't start; {cluster.log} says: {fatal[-1]}")


def _forget_dead(cluster: Cluster) -> None:
    """After kill -9: end the dead postmaster's children and delete its pid and lock files."""
    for pid in _processes(cluster.data):
        with suppress(OSError):
            os.kill(pid, signal.SIGQUIT)
    process.until(lambda: not _processes(cluster.data), PATIENCE)
    # It still can't run twice: PostgreSQL checks the shared memory, too.
    (cluster.data / "postmaster.pid").unlink(missing_ok=True)
    (cluster.sockets / ".s.PGSQL.5432.lock").unlink(missing_ok=True)


def _runs(data: Path) -> bool:
    """Whether the postmaster of `data` runs. PostgreSQL itself asks only whether any process has
    the pid in its file; in a restarted container another one soon has."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return False
    return pid in _processes(data)


def _processes(data: Path) -> list[int]:
    """The pids of PostgreSQL's processes whose folder is `data`, without zombies."""
    import psutil

    wanted = {"name": "postgres", "cwd": str(data)}
    return [each.pid for each in psutil.process_iter(["name", "cwd"]) if each.info == wanted]
