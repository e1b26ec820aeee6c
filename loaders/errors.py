"""What can go wrong, and the exit code each kind ends a command with."""

from __future__ import annotations


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
