"""Why a run failed: its message without values of data, and whether a retry may help."""

from __future__ import annotations

from loaders.errors import DaybookError, DriverError, without_header

RETRIED_STATES = ("08", "40001", "40P01", "57P01", "57P02", "57P03")


class LandError(DaybookError):
    """Required tables did not land, nothing of them was replaced. `errors`: one a table."""

    def __init__(self, errors: list[BaseException]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.public = " ".join(map(without_values, errors))


class PhaseError(DaybookError):
    """A run on the pool did not complete; the message, of its state, may quote data."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.public = message.partition(":")[0]


class LedgerError(DaybookError):
    """The row ledger of the day does not balance."""


def without_values(error: BaseException) -> str:
    """An error's message for pipeline_metrics: kinds and names, never a value of data.

    Our own messages have none, but for what a file begins with and what a driver says.
    """
    if not isinstance(error, Exception):
        return "The run was ended from outside: cancelled in Prefect, or its worker was stopped."
    if not isinstance(error, DaybookError):
        state = getattr(error, "sqlstate", None)
        return type(error).__name__ + (f" (SQLSTATE {state})" if state else "")
    text, cause = error.public or str(error), str(error.__cause__ or "").strip()
    if error.__cause__ and cause and text != cause and text.endswith(cause):
        text = text.removesuffix(cause) + without_values(error.__cause__)
    # a folder's name may have bytes that can't be stored
    lines = text.replace("\0", "").encode("utf-8", "backslashreplace").decode().splitlines()
    return " ".join(map(without_header, lines))


def can_retry(error: BaseException | None) -> bool:
    """True for a lost connection, a deadlock or a failed serialization, whoever wrapped it."""
    import psycopg

    while error is not None:
        if isinstance(error, DaybookError) and error.can_retry is not None:
            return error.can_retry
        if isinstance(error, psycopg.Error | DriverError):
            state = error.sqlstate
            lost = isinstance(error, psycopg.OperationalError | DriverError) and state is None
            return lost or bool(state and state.startswith(RETRIED_STATES))
        error = error.__cause__
    return False
