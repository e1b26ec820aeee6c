"""Whether what the days built is what they build anew: `python -m flows.prove`.

All landed days are built once more, in schemas of their own that go again, and each table is held
against its twin by one hash of its rows, whatever their order.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from uuid import uuid4

from flows import site, transform
from flows.pages.read import ask
from flows.run import silent, unless_away
from loaders import ledger, warehouse
from loaders.arguments import JSON, command
from loaders.errors import DaybookError, WarehouseError
from loaders.lock import run_lock, transaction
from loaders.progress import Progress
from loaders.sql import statement

if TYPE_CHECKING:
    from psycopg import Connection

SCRATCH = "daybook_prove"  # one name for all proofs: the lock keeps them apart, the next one sweeps
LAYERS = ("intermediate", "silver", "quarantine", "metrics", "marts")
KEYS_SHOWN = 5
BUILD = ["build", "--exclude-resource-type", "unit_test", "test"]


@dataclass(frozen=True)
class Difference:
    """A table whose two builds differ: rows that only one of them has, and some of their keys."""

    table: str
    only_built: int
    only_rebuilt: int
    keys: list[list[str | None]]


@dataclass(frozen=True)
class Proof:
    """What a proof came to. `expired`: days whose landed rows are gone; what was made of them
    when they came is taken for granted."""

    started_at: datetime
    days: int
    tables: int
    expired: list[date]
    partings: list[Difference]


def prove(progress: Callable[..., None] = silent) -> Proof:
    """Build all landed days anew beside what they built, compare, and note what it came to.

    Holds the warehouse meanwhile, as a run does: LockedError where another holds it. DaybookError
    when there is a day that has landed and isn't built, or when dbt fails. `progress`: as dbt's.
    """
    run, started = f"prove {uuid4()}", datetime.now(UTC)
    # dbt's target is the scratch schemas, with a manifest of their own.
    target = {
        "DBT_TARGET": "dev",
        "DBT_DEV_SCHEMA": SCRATCH,
        "DBT_TARGET_PATH": str(warehouse.home() / "dbt" / "prove"),
    }
    with run_lock(f"daybook {run}") as lock, _scratch(run) as connection:
        with patch.dict(os.environ, target):
            transform.build(None, run, check=lock.check, arguments=BUILD, progress=progress)
        (days,) = ask(connection, "proof_days")
        if unbuilt := days["unbuilt"]:
            raise DaybookError(
                f"Landed and not yet built: {', '.join(map(str, unbuilt))}. There is nothing to"
                " hold a proof against: run the day again (or dbt build), then prove."
            )
        tables, partings = compare(connection, SCRATCH)
        proof = Proof(started, days["days"], tables, days["expired"], partings)
        with transaction(connection, lock):
            row = {**asdict(proof), "is_equal": not partings}
            ledger.note(connection, "proofs", row | {"expired_days": row.pop("expired")})
    return proof


def compare(connection: Connection, prefix: str) -> tuple[int, list[Difference]]:
    """Hold silver, quarantine, marts, row ledger and group activity against what is of the same
    name in the schemas with this prefix: how many tables there are, and which part.

    A table that was never built, or not with all its columns, has no row.
    """
    twins = statement("twin_tables").encode()
    tables = connection.execute(twins, {"prefix": f"{prefix}_"}).fetchall()
    partings = []
    for name, built, rebuilt in tables:
        parted = statement("partings").format(built=built, rebuilt=rebuilt, most=KEYS_SHOWN)
        partings += [Difference(name, *row) for row in connection.execute(parted.encode())]
    return len(tables), partings


def shown(progress: Callable[..., None] = silent) -> Proof:
    """A proof for people to see: the newest run's page tells of it."""
    warehouse.wake()
    proof = prove(progress)
    site.write_site(lineage=False)
    return proof


@contextmanager
def _scratch(run: str) -> Iterator[Connection]:
    """A connection under which there are scratch schemas, with what has expired; they are gone
    afterwards, and those of a proof that was killed before."""
    import psycopg

    layers = ", ".join(f"{SCRATCH}_{layer}" for layer in LAYERS)
    drop = f"drop schema if exists {layers} cascade"
    # Elsewhere as the login itself, as in dbt's target dev: it is its right to make schemas.
    role = warehouse.TRANSFORMER if warehouse.is_embedded() else None
    with warehouse.connect(
        application_name=f"daybook {run}", autocommit=True, role=role
    ) as connection:
        warehouse.check_ready(connection)
        connection.execute(drop)
        try:
            try:
                for row in ask(connection, "proof_begin"):
                    connection.execute(row["statement"])
            except psycopg.errors.InsufficientPrivilege as error:
                user, database = connection.info.user, connection.info.dbname
                may_create = "select has_database_privilege(current_database(), 'create')"
                said = f"make them: grant create on database {database} to {user}"
                if connection.execute(may_create).fetchone() == (True,):
                    said = f"fill them: {error.diag.message_primary}"
                raise WarehouseError(
                    f"A proof builds in schemas of its own, and {user} may not {said}."
                ) from None
            yield connection
        finally:
            with unless_away():  # the next proof drops them
                connection.execute(drop)


def as_json(proof: Proof) -> str:
    """What a program reads."""
    fields: dict[str, Any] = {"equal": not proof.partings, **asdict(proof)}
    return json.dumps(fields, default=lambda moment: moment.isoformat())


def verdict(proof: Proof) -> str:
    """In a line, with no value of data."""
    of_all = f"{proof.tables} tables of {proof.days} days"
    if proof.partings:
        return f"{len(proof.partings)} of {of_all} part from what the days build."
    return f"{of_all}: what the days built is what they build anew."


def as_text(proof: Proof) -> str:
    """What people read: a line for each table that parts; text of data is escaped."""
    lines = [
        f"{each.table}: {each.only_built:,} rows only as built, {each.only_rebuilt:,} only as"
        f" rebuilt; keys: {', '.join(json.dumps(key)[1:-1] for key in each.keys)}"
        for each in proof.partings
    ]
    if expired := ", ".join(map(str, proof.expired)):
        lines.append(
            f"Landed rows have expired of {expired}: what was typed from them can't be proved,"
            " what follows from it is."
        )
    return "\n".join([*lines, verdict(proof)])


@command(
    "flows.prove",
    "Build all landed days anew, in schemas of their own that go again, and hold silver,"
    " quarantine, ledger, group activity and marts against it. Exit code 1 where they part. It"
    " holds the warehouse meanwhile, and takes as long and as much room as all days.",
    "example: %(prog)s --json",
    JSON,
)
def main(given: argparse.Namespace) -> int:
    stopped = False

    def stop(_number: int, _frame: Any) -> None:
        nonlocal stopped
        stopped = True
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        # in a log only what it came to
        watched = Progress("proof", sys.stderr) if sys.stderr.isatty() else nullcontext(silent)
        with watched as progress:
            progress("starting")
            proof = shown(progress)
    finally:
        if stopped:  # dbt may have made an error of its own of it
            raise KeyboardInterrupt
    print(as_json(proof) if given.json else as_text(proof))
    return int(bool(proof.partings))


if __name__ == "__main__":
    sys.exit(main())
