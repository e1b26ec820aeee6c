"""Programs that outlive the command that started them: start, find, wait for and stop them; with
their locks, logs, private files and ports."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders.errors import LockedError
from loaders.sources import PROJECT

if TYPE_CHECKING:
    import psutil

LONGEST = 900  # seconds of waiting for a lock: a server's start may replay its log
LOG_LIMIT = 10_000_000  # bytes; a larger log is set aside at the next start
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Program:
    """A program, its log, and a note of its process: its pid alone may later be another's."""

    folder: Path
    name: str

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def _file(self) -> Path:
        return self.folder / f"{self.name}.json"

    def note(self) -> dict[str, Any]:
        """The note of its newest start: `pid`, `started` (see _started), and what `start`
        was asked to note; empty when it was stopped."""
        try:
            return dict(json.loads(self._file.read_text()))
        except (OSError, ValueError):
            return {}

    def pid(self) -> int | None:
        """The pid of its process, None when it does not run."""
        import psutil

        try:
            process = psutil.Process((note := self.note())["pid"])
            is_ours = _started(process) == note["started"]
            return process.pid if is_ours and process.status() != psutil.STATUS_ZOMBIE else None
        except (KeyError, OSError, psutil.Error):
            return None

    def start(self, command: list[str], environment: dict[str, str], **noted: Any) -> None:
        """Start it, and note its process and `noted`."""
        import psutil

        child = spawn(command, self.log, environment)
        started = _started(psutil.Process(child.pid))
        write_private(self._file, json.dumps({"pid": child.pid, "started": started, **noted}))

    def stop(self) -> None:
        """End it and its children: SIGTERM, so that they can record their end; then SIGKILL."""
        if pid := self.pid():
            import psutil

            group = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGTERM)
            _, left = psutil.wait_procs(group, timeout=STOP_SECONDS)
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=5)
        self._file.unlink(missing_ok=True)


def _started(child: psutil.Process) -> str:
    """When it started: on Linux the system's own start and the ticks since then, as its time of day
    would hang on the clock, which may have been set meanwhile."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    if not boot.exists():
        return str(child.create_time())
    ticks = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{boot.read_text().strip()} {ticks}"


def spawn(
    command: list[str], log: Path, environment: dict[str, str], **more: Any
) -> subprocess.Popen[bytes]:
    """Start a program in the project's folder; its output is appended to `log`. It has a session of
    its own, so that our Ctrl-C doesn't reach it. `more` goes to Popen."""
    set_aside(log)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**environment, "PYTHONSAFEPATH": ""},  # our modules are in the folder
            stdout=output,
            stderr=output,
            start_new_session=True,
            **{"stdin": subprocess.DEVNULL, **more},
        )


@contextlib.contextmanager
def only_one(lock: Path, seconds: float = LONGEST) -> Iterator[None]:
    """Hold the lock file alone, and wait for it; LockedError after `seconds`."""
    with lock.open("w") as file:

        def is_taken() -> bool:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            return False

        if not until(is_taken, seconds):
            raise LockedError(
                f"Another process has held {lock} for {seconds:g} s: wait, or end it"
                f" (`fuser {lock}` says which), and run this again."
            )
        yield


def private_folder(folder: Path) -> Path:
    """A folder that only its owner can enter; it is made if need be, with those above it."""
    if not folder.parent.exists():
        private_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    return folder


@contextlib.contextmanager
def whole(path: Path, *, private: bool = False) -> Iterator[Path]:
    """A file to write beside `path`, which takes its place at the end of the block, or goes when
    that fails. It gets that file's rights, or is its owner's alone. What killed processes left of
    theirs goes too."""
    import psutil

    path = path.resolve()  # a link stays one
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.new"):
        pid = left.name.split(".")[-2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            left.unlink(missing_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        fresh.touch(0o600 if private else 0o666, exist_ok=False)
        if path.exists() and not private:
            fresh.chmod(stat.S_IMODE(path.stat().st_mode))
        yield fresh
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    with whole(path, private=True) as fresh:
        fresh.write_text(text)


def set_aside(log: Path) -> None:
    """Rename a log that is larger than LOG_LIMIT; it replaces the one set aside before."""
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_name(f"{log.name}.old"))


def until(met: Callable[[], bool], seconds: float) -> bool:
    """Wait until `met` is true; False when it isn't within `seconds`."""
    deadline = time.monotonic() + seconds
    while not met():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def is_free(port: int) -> bool:
    """Whether nothing listens on the port of this machine."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
