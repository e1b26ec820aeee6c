"""Runs Spark in a process of its own: its JVM ends with it, and a stopped run can end it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable

from loaders import warehouse
from loaders.days import Day
from loaders.errors import DaybookError, UsageError
from loaders.sources import PROJECT

TURN = 0.5  # seconds between two calls of `check`


def read_apart(
    data: str,
    day: Day,
    *,
    allow_empty: bool = False,
    sources: str | None = None,
    check: Callable[[], None] = lambda: None,
) -> str:
    """Run `python -m loaders.spark` for `day`; returns the path to land it from.

    `check` is called twice a second; when it raises, Spark is ended. DaybookError (UsageError for a
    wrong option) with the command's message when it fails. An earlier run's output is deleted.
    """
    out = str(warehouse.home() / "spark" / "flow")
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "loaders.spark", "--day", day.text, "--data", data]
    command += ["--out", out, *(["--allow-empty"] if allow_empty else [])]
    command += ["--sources", sources] if sources else []
    output = ""
    with subprocess.Popen(
        command,
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        errors="replace",
    ) as process:
        try:
            while process.returncode is None:
                try:
                    output, _ = process.communicate(timeout=TURN)
                except subprocess.TimeoutExpired:
                    check()
        finally:
            process.kill()
    if process.returncode:
        _, found, message = output.rpartition("error: ")
        kind = UsageError if process.returncode == 2 else DaybookError
        text = message.strip() if found else "it ended without a word"
        raise kind(f"Spark could not read {day}: {text}")
    return out
