"""Why a run failed: what may be said of it where everybody reads, and what is worth a retry."""

from __future__ import annotations

from flows.checks.run import CheckError
from flows.run import Stopped
from flows.transform import BuildError
from loaders.errors import DaybookError, DriverError, LockedError, without_header
from loaders.readers.rows import UnreadableError

RETRIED_STATES = ("08", "40001", "40P01", "57P01", "57P02", "57P03")


class LandError(DaybookError):
    """Required tables did not land, nothing of them was replaced. `errors`: one a table."""

    def __init__(self, errors: list[BaseException]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = errors


class PhaseError(DaybookError):
    """A run on the pool did not complete; the message, of its state, may quote data."""


class LedgerError(DaybookError):
    """The row ledger of the day does not balance."""


def without_values(error: BaseException) -> str:
    """What pipeline_metrics may say of an error: kinds and names, never a value of data.

    Our own errors say what was found and hold none, but for what a file begins with and what a
    driver says.
    """
    if isinstance(error, BuildError):
        return f"dbt failed: {', '.join(error.nodes)}"
    if isinstance(error, CheckError):
        return f"checks failed: {', '.join(error.checks)}"
    if isinstance(error, LandError):
        return " ".join(map(without_values, error.errors))
    if isinstance(error, PhaseError):
        return f"{str(error).partition(':')[0]} failed"
    if isinstance(error, UnreadableError):
        return _on_one_line(error.said)
    if isinstance(error, DaybookError):
        said, cause = str(error), error.__cause__
        repeated = str(cause).strip()
        if cause is not None and said != repeated and said.endswith(repeated):
            said = said.removesuffix(repeated) + without_values(cause)
        return _on_one_line(said)
    state = getattr(error, "sqlstate", None)
    return type(error).__name__ + (f" (SQLSTATE {state})" if state else "")


def _on_one_line(text: str) -> str:
    """Storable whatever a folder is called."""
    lines = text.replace("\0", "").encode("utf-8", "backslashreplace").decode().splitlines()
    return " ".join(map(without_header, lines))


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
