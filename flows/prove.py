"""Whether what the days built is what they build anew: `python -m flows.prove`.

All landed days are built once more in scratch schemas, which are dropped afterwards. Each table is
compared with its twin there, by the hashes of its rows in any order.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from uuid import uuid4

from flows import site, transform
from flows.pages.read import ask, kind_of_days
from flows.pages.render import show
from flows.run import silent, unless_away
from loaders import ledger, warehouse
from loaders.arguments import JSON, command
from loaders.days import Day
from loaders.errors import DaybookError, LockedError, WarehouseError, many
from loaders.lock import run_lock, transaction
from loaders.progress import Progress
from loaders.sql import statement

if TYPE_CHECKING:
    from psycopg import Connection

SCRATCH = "daybook_prove"  # one name for all proofs: the lock keeps them apart, the next one sweeps
KEYS_SHOWN = 5
BUILD = ["build", "--exclude-resource-type", "unit_test", "test"]


@dataclass(frozen=True)
class Difference:
    """A table whose two builds differ: the counts of rows that only one has, and some keys."""

    table: str
    only_built: int
    only_rebuilt: int
    keys: list[list[str | None]]


@dataclass(frozen=True)
class Proof:
    """The result of a proof. `days` and `tables` are counts; `expired`: days whose landed rows are
    gone, so that the records typed from them are taken as right; `partings`: what differs."""

    started_at: datetime
    days: int
    tables: int
    expired: list[str]
    partings: list[Difference]


def prove(progress: Callable[..., None] = silent) -> Proof:
    """Build all landed days anew in scratch schemas, compare, and record the proof.

    It holds the run lock: LockedError when another run has it. DaybookError when a landed day is
    not built, or when dbt fails. `progress` is that of transform.build.
    """
    run, started = f"prove {uuid4()}", datetime.now(UTC)
    # dbt builds into the scratch schemas, and keeps their manifest apart.
    target = {
        "DBT_TARGET": "dev",
        "DBT_DEV_SCHEMA": SCRATCH,
        "DBT_TARGET_PATH": str(warehouse.own_folder("dbt") / "prove"),
    }
    with run_lock(f"daybook {run}") as lock, _scratch(run) as connection:
        with patch.dict(os.environ, target):
            transform.build(None, run, check=lock.check, arguments=BUILD, progress=progress)
        (days,), kind = ask(connection, "proof_days"), kind_of_days(connection)
        unbuilt, expired = (
            [Day(day, kind).text for day in days[which]] for which in ("unbuilt", "expired")
        )
        if unbuilt:
            raise DaybookError(
                f"Landed and not yet built: {', '.join(unbuilt)}. There is nothing to"
                " hold a proof against: run the day again (or dbt build), then prove."
            )
        tables, partings = compare(connection, SCRATCH)
        proof = Proof(started, days["days"], tables, expired, partings)
        with transaction(connection, lock):
            row = asdict(proof) | {"is_equal": not partings, "expired_days": days["expired"]}
            del row["expired"]
            ledger.note(connection, "proofs", row)
    return proof


def compare(connection: Connection, prefix: str) -> tuple[int, list[Difference]]:
    """Compare silver, quarantine, marts, row ledger and group activity with the tables of the same
    names in the schemas with this prefix. Returns how many were compared, and the differences.

    A table that was never built, or not with all its columns, counts as one without rows.
    """
    twins = statement("twin_tables").encode()
    tables = connection.execute(twins, {"prefix": f"{prefix}_"}).fetchall()
    partings = []
    for name, built, rebuilt in tables:
        query = statement("partings").format(built=built, rebuilt=rebuilt, most=KEYS_SHOWN)
        partings += [Difference(name, *row) for row in connection.execute(query.encode())]
    return len(tables), partings


def shown(progress: Callable[..., None] = silent) -> Proof:
    """Prove, and write the pages anew: the newest run's page shows the proof."""
    warehouse.wake()
    proof = prove(progress)
    with suppress(LockedError):  # another writes them, and the next run does
        site.write_site(lineage=False)
    return proof


@contextmanager
def _scratch(run: str) -> Iterator[Connection]:
    """A connection with new scratch schemas, into which the expired days' records are copied. They
    are dropped at the end; those that a killed proof left are dropped first."""
    from psycopg.errors import InsufficientPrivilege

    # An external warehouse: as the login itself, as in dbt's target dev; it may create schemas.
    role = warehouse.TRANSFORMER if warehouse.is_embedded() else None
    with warehouse.connect(
        application_name=f"daybook {run}", autocommit=True, role=role
    ) as connection:
        warehouse.check_ready(connection)
        _execute(connection, "proof_sweep")
        try:
            try:
                _execute(connection, "proof_begin")
            except InsufficientPrivilege as error:
                user, database = connection.info.user, connection.info.dbname
                may_create = "select has_database_privilege(current_database(), 'create')"
                lacking = f"make them: grant create on database {database} to {user}"
                if connection.execute(may_create).fetchone() == (True,):
                    lacking = f"fill them: {error.diag.message_primary}"
                raise WarehouseError(
                    f"A proof builds in schemas of its own, and {user} may not {lacking}."
                ) from None
            yield connection
        finally:
            with unless_away():  # the next proof drops them
                _execute(connection, "proof_sweep")


def _execute(connection: Connection, question: str) -> None:
    for row in ask(connection, question):
        connection.execute(row["statement"])


def as_answer(proof: Proof) -> dict[str, Any]:
    """The proof for programs and for prove.txt.j2; keys are data."""
    moment = {"started_at": proof.started_at.isoformat(), "verdict": verdict(proof)}
    return {"equal": not proof.partings, **asdict(proof), **moment}


def verdict(proof: Proof) -> str:
    """The proof in a line, with no value of data."""
    compared = f"{many(proof.tables, 'table')} of {many(proof.days, 'day')}"
    if proof.partings:
        return f"{len(proof.partings)} of {compared} not as the days build them."
    return f"{compared}: what the days built is what they build anew."


@command(
    "flows.prove",
    "Build all landed days anew in temporary schemas, and compare silver, quarantine, ledger,"
    " group activity and marts. Exit code 1 where they differ. It holds the warehouse meanwhile,"
    " and takes the time and disk of a first build of all days.",
    "example: %(prog)s --json",
    JSON,
)
def main(args: argparse.Namespace) -> int:
    # a log gets the result only
    shows = Progress("proof", sys.stderr) if sys.stderr.isatty() else nullcontext(silent)
    with shows as progress:
        progress("starting")
        proof = shown(progress)
    show("prove", as_answer(proof), as_json=args.json)
    return int(bool(proof.partings))


if __name__ == "__main__":
    sys.exit(main())
