"""Why a run failed: what may be said of it where everybody reads, and what is worth a retry."""

from __future__ import annotations

import re

from flows.checks.run import CheckError
from flows.stopping import Stopped
from flows.transform import BuildError
from loaders.errors import DaybookError, DriverError, LockedError, PlanError

RETRIED_STATES = ("08", "40001", "40P01", "57P01", "57P02", "57P03")


class LandError(DaybookError):
    """A required table did not land; nothing of that table was replaced."""


class LedgerError(DaybookError):
    """The row ledger of the day does not balance."""


def without_values(error: BaseException) -> str:
    """What pipeline_metrics may say of an error: kinds and names, never a value of data."""
    if isinstance(error, BuildError):
        return f"dbt failed: {', '.join(error.nodes)}"
    if isinstance(error, CheckError):
        return f"checks failed: {', '.join(error.checks)}"
    if isinstance(error, Stopped | LockedError | LedgerError):
        return str(error)
    if isinstance(error, PlanError):
        return _of_plan(error)
    if isinstance(error, DaybookError):
        return f"{type(error).__name__}: see bronze.load_batches and the run's own output"
    state = getattr(error, "sqlstate", None)
    return type(error).__name__ + (f" (SQLSTATE {state})" if state else "")


def _of_plan(error: PlanError) -> str:
    """On one line, and storable whatever a folder is called."""
    lines = str(error).replace("\0", "").encode("utf-8", "backslashreplace").decode().splitlines()
    # Where a file has no header its first record is taken for one.
    return " ".join(re.sub(r"(the header repeats) .*", r"\1 a name.", line) for line in lines)


def can_retry(error: BaseException | None) -> bool:
    """True for a lost connection, a deadlock or a failed serialization, whoever wrapped it."""
    if isinstance(error, BuildError):
        return error.can_retry
    if isinstance(error, LockedError | Stopped):
        return False
    while error is not None:
        import psycopg

        if isinstance(error, psycopg.Error | DriverError):
            state = error.sqlstate
            lost = isinstance(error, psycopg.OperationalError | DriverError) and state is None
            return lost or bool(state and state.startswith(RETRIED_STATES))
        error = error.__cause__
    return False
