"""Spark in a process of its own: its JVM ends with it, and a run that is stopped can end it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable

from loaders.days import Day
from loaders.errors import DaybookError, UsageError
from loaders.sources import PROJECT
from loaders.spark.__main__ import default_out

TURN = 0.5  # seconds between two looks at whether the run may go on
PATIENCE = 20.0  # seconds that Spark has to end when it is told to


def read_apart(
    data: str,
    day: Day,
    *,
    allow_empty: bool = False,
    sources: str | None = None,
    check: Callable[[], None] = lambda: None,
) -> str:
    """`python -m loaders.spark` for `day`; the path to land it from.

    `check` is called twice a second, and what it raises ends Spark. DaybookError with what the
    command said when it fails. What the run before has left is thrown away.
    """
    out = str(default_out() / "flow")
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "loaders.spark", "--day", day.text, "--data", data]
    command += ["--out", out, *(["--allow-empty"] if allow_empty else [])]
    command += ["--sources", sources] if sources else []
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(
            command, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        try:
            while process.poll() is None:
                check()
                with_patience(process, TURN)
        finally:
            if process.poll() is None:
                process.terminate()
                if not with_patience(process, PATIENCE):
                    process.kill()
                    process.wait()
        if process.returncode:
            said.seek(0)
            _, found, message = said.read().rpartition("error: ")
            text = message.strip() if found else "it ended without a word"
            kind = UsageError if process.returncode == 2 else DaybookError
            raise kind(f"Spark could not read {day}: {text}")
    return out


def with_patience(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the process ended within `seconds`."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
