"""Spark in a process of its own: its JVM ends with it, and a run that is stopped can end it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable

from loaders import warehouse
from loaders.days import Day
from loaders.errors import DaybookError, UsageError
from loaders.sources import PROJECT

TURN = 0.5  # seconds between two looks at whether the run may go on


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
    out = str(warehouse.home() / "spark" / "flow")
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "loaders.spark", "--day", day.text, "--data", data]
    command += ["--out", out, *(["--allow-empty"] if allow_empty else [])]
    command += ["--sources", sources] if sources else []
    said = ""
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
                    said, _ = process.communicate(timeout=TURN)
                except subprocess.TimeoutExpired:
                    check()
        finally:
            process.kill()
    if process.returncode:
        _, found, message = said.rpartition("error: ")
        kind = UsageError if process.returncode == 2 else DaybookError
        text = message.strip() if found else "it ended without a word"
        raise kind(f"Spark could not read {day}: {text}")
    return out
