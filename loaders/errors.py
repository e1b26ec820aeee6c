"""What can go wrong, and the exit code each kind ends a command with."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any


class DaybookError(Exception):
    """The data or the run failed; the message says what to do about it."""

    exit_code = 1


class UsageError(DaybookError):
    """The command was called wrongly: nothing was read or written."""

    exit_code = 2


class PlanError(DaybookError):
    """The day can't be landed as it lies there; the message has names of files and columns, and no
    value of data."""


class LockedError(DaybookError):
    """Another run holds the warehouse."""

    exit_code = 3


class WarehouseError(DaybookError):
    """The warehouse could not be reached, started or trusted."""


class DriverError(WarehouseError):
    """What everybody may read of a driver's error; `sqlstate` is None for a lost connection."""

    def __init__(self, message: str, sqlstate: str | None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


def plain(error: Exception) -> Exception:
    """`error`, or in place of a driver's own (psycopg's, SQLAlchemy's around it) a DriverError.

    The driver's text carries DETAIL and CONTEXT, which hold whole rows, and errors of data
    (SQLSTATE 22…) quote the value in their first line too.
    """
    of_driver: Any = getattr(error, "orig", error)
    if not hasattr(of_driver, "diag"):
        return error
    state = of_driver.sqlstate
    said = of_driver.diag.message_primary or str(of_driver).strip().partition("\n")[0]
    if state and state.startswith("22"):
        said = re.sub('".*"', "a value", said, flags=re.DOTALL)
    kind = type(of_driver).__name__
    return DriverError(f"PostgreSQL: {said} ({kind})", state)


def ended_with(error: Exception | KeyboardInterrupt) -> int:
    """Say in a sentence what ended a command; its exit code. A fault of ours is raised as it is."""
    if isinstance(error, KeyboardInterrupt):
        error = DaybookError("interrupted")
    said = plain(error)
    if not isinstance(said, (DaybookError, OSError)):
        raise error
    print(f"error: {said}", file=sys.stderr)
    return getattr(said, "exit_code", 1)


def guess(word: str, known: Iterable[str], least: float = 0.6) -> str:
    """` Did you mean …?`, the nearest of what is known; empty where nothing is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), 1, least)
    return f" Did you mean {near[0]}?" if near else ""
