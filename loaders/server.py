"""The embedded PostgreSQL: the wheel's own binaries, run by their own initdb and pg_ctl."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

from loaders import process
from loaders.cluster import SUPERUSER, Cluster, refuse_foreign, socket_dir
from loaders.errors import WarehouseError

PATIENCE = 30.0  # seconds for a start, crash recovery apart: pg_ctl waits for that itself


def start(home: Path) -> bool:
    """Start the server of `home`, making it first where there is none; False if it ran already.

    WarehouseError for a directory that isn't ours, is half made or of another major version, and
    for a server that doesn't come up.
    """
    if answers(home):
        return False
    try:
        if not home.exists():
            process.private_folder(home)
        with process.only_one(home / "server.lock"):
            if answers(home):
                return False
            if not answers(home, "postgres"):
                cluster = Cluster(home)
                if cluster.user is None:  # else its data may be in there, and it has to enter
                    home.chmod(0o700)
                cluster.make()
                cluster.configure()
                _bring_up(cluster)
            _make_database(home)
    except OSError as error:
        raise WarehouseError(f"The embedded server can't be started in {home}: {error}") from error
    return True


def stop(home: Path) -> bool:
    """Stop the server (fast shutdown: open transactions are rolled back); False if none ran."""
    data = home / "pg"
    try:
        if not (data / "postmaster.pid").exists():
            return False
        refuse_foreign(data)
        with process.only_one(home / "server.lock"):
            if not _runs(data.resolve()):
                return False
            cluster = Cluster(home)
            done = cluster.run("pg_ctl", "stop", "-D", cluster.data, "-m", "fast")
    except OSError as error:
        raise WarehouseError(f"The embedded server can't be stopped in {home}: {error}") from error
    if done.returncode != 0 and _runs(cluster.data):
        raise WarehouseError(f"The embedded server didn't stop; see {home / 'log'}.")
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
    """Whether the server takes a connection: a process that is there may still be a dead one."""
    import psycopg

    try:
        psycopg.connect(_conninfo(home, database), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def address(home: Path) -> dict[str, str]:
    """How to connect as the owner: libpq's parameters by name."""
    return {
        "host": str(socket_dir(home)),
        "port": "5432",
        "user": SUPERUSER,
        "dbname": "daybook",
    }


def _conninfo(home: Path, database: str) -> str:
    from psycopg.conninfo import make_conninfo

    return make_conninfo(**{**address(home), "dbname": database})


def _bring_up(cluster: Cluster) -> None:
    log = cluster.log
    process.set_aside(log)
    deadline = time.monotonic() + PATIENCE
    while not answers(cluster.home, "postgres"):
        _forget_dead(cluster.data, socket_dir(cluster.home))
        seen = log.stat().st_size if log.exists() else 0
        start = ("start", "-D", cluster.data, "-l", log, "-w", "-t", "600")
        done = cluster.run("pg_ctl", *start)
        if done.returncode == 0:
            return
        said = done.stderr.strip()
        if log.exists():
            with log.open(errors="replace") as lines:
                lines.seek(seen)
                said = " ".join(line.strip() for line in lines if "FATAL" in line) or said
        # After a kill -9 the old server's processes may live on for a moment.
        if ("shared memory" not in said and "lock file" not in said) or time.monotonic() > deadline:
            raise WarehouseError(f"The embedded server didn't start; {log} says: {said or '?'}")
        time.sleep(0.2)


def _forget_dead(data: Path, sockets: Path) -> None:
    """After kill -9: end the dead postmaster's children and drop the files that name it."""
    import psutil

    if _runs(data):
        return
    for pid in psutil.pids():
        if process.works_in(pid, data):
            with suppress(OSError):
                os.kill(pid, signal.SIGQUIT)
    # PostgreSQL still looks at the shared memory, so it can't run twice.
    (data / "postmaster.pid").unlink(missing_ok=True)
    (sockets / ".s.PGSQL.5432.lock").unlink(missing_ok=True)


def _runs(data: Path) -> bool:
    """Whether the postmaster of `data` is there. PostgreSQL itself asks only whether the number in
    its file is in use, and in a container that is started again it soon is."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return False
    return process.works_in(pid, data)


def _make_database(home: Path) -> None:
    import psycopg

    with psycopg.connect(_conninfo(home, "postgres"), autocommit=True) as conn:
        if not conn.execute("select 1 from pg_database where datname = 'daybook'").fetchone():
            conn.execute("create database daybook")
