"""Why a run failed, and whether a retry may help."""

from __future__ import annotations

from loaders.errors import DaybookError, DriverError, without_values

RETRIED_STATES = ("08", "40001", "40P01", "57P01", "57P02", "57P03")


class LandError(DaybookError):
    """Required tables did not land, nothing of them was replaced. `errors`: one a table."""

    def __init__(self, errors: list[BaseException]) -> None:
        said = (getattr(error, "quoting", "") or str(error) for error in errors)
        super().__init__("\n".join(dict.fromkeys(said)))
        self.public = " ".join(dict.fromkeys(map(without_values, errors)))


class PhaseError(DaybookError):
    """A run on the pool did not complete; the message, of its state, may quote data."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.public = message.partition(":")[0]


class LedgerError(DaybookError):
    """The row ledger of the day does not balance, or is empty."""


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
