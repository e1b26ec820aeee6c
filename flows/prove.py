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
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from uuid import uuid4

from flows import site, transform
from flows.command import guarded
from loaders import warehouse
from loaders.compare import Parting, compare
from loaders.errors import DaybookError, WarehouseError
from loaders.lock import Lock, run_lock

if TYPE_CHECKING:
    from psycopg import Connection

SCRATCH = "daybook_prove"  # one name for all proofs: the lock keeps them apart, the next one sweeps
LAYERS = ("intermediate", "silver", "quarantine", "metrics", "marts")
BUILD = ["build", "--exclude-resource-type", "unit_test", "test"]


@dataclass(frozen=True)
class Proof:
    """What a proof came to. `expired`: days whose landed rows are gone; what was made of them
    when they came is taken for granted."""

    started_at: datetime
    days: int
    tables: int
    expired: list[date]
    partings: list[Parting]


def prove(check: Callable[[], None] = lambda: None) -> Proof:
    """Build all landed days anew beside what they built, compare, and note what it came to.

    Holds the warehouse meanwhile, as a run does: LockedError where another holds it. DaybookError
    when there is a day that has landed and isn't built, or when dbt fails. `check` raises where
    somebody interrupted: dbt may have kept that to itself, or made an error of its own of it.
    """
    run, started = f"prove {uuid4()}", datetime.now(UTC)
    with run_lock(f"daybook {run}") as lock, _scratch(run) as connection:
        expired = _take_expired(connection)
        # dbt's target is the scratch schemas, with a manifest of their own.
        chosen = {"DBT_TARGET": "dev", "DBT_DEV_SCHEMA": SCRATCH}
        with patch.dict(
            os.environ, chosen, DBT_TARGET_PATH=str(warehouse.home() / "dbt" / "prove")
        ):
            try:
                transform.build(None, run, arguments=BUILD)
            finally:
                check()
        _refuse_unbuilt(connection)
        tables, partings = compare(connection, SCRATCH)
        [(days,)] = connection.execute(
            f"select count(distinct day) from {SCRATCH}_metrics.applied_batches"
            " where day > '1970-01-01'"
        )
        proof = Proof(started, days, tables, expired, partings)
        _note(connection, proof, lock)
    return proof


def shown(check: Callable[[], None] = lambda: None) -> Proof:
    """A proof for people to see: the newest run's page tells of it."""
    if warehouse.is_embedded():
        warehouse.start()
    proof = prove(check)
    site.write_site(lineage=False)
    return proof


@contextmanager
def _scratch(run: str) -> Iterator[Connection]:
    """A connection under which the scratch schemas are gone before and after, also those of a
    proof that was killed."""
    # Elsewhere as the login itself, as in dbt's target dev: it is its right to make schemas.
    role = warehouse.TRANSFORMER if warehouse.is_embedded() else None
    with warehouse.connect(
        application_name=f"daybook {run}", autocommit=True, role=role
    ) as connection:
        warehouse.check_ready(connection)
        [(may, user, database)] = connection.execute(
            "select has_database_privilege(current_database(), 'create'), current_user,"
            " current_database()"
        )
        if not may:
            raise WarehouseError(
                f"A proof builds in schemas of its own, and {user} may not make them:"
                f" grant create on database {database} to {user}."
            )
        _drop(connection)
        try:
            yield connection
        finally:
            _drop(connection)


def _drop(connection: Connection) -> None:
    connection.execute(
        f"drop schema if exists {', '.join(f'{SCRATCH}_{layer}' for layer in LAYERS)} cascade"
    )


def _take_expired(connection: Connection) -> list[date]:
    """Copy the records whose landed rows have expired, as batches that are applied; their days."""
    statements = connection.execute(
        f"""
        select format(
            'create table {SCRATCH}_intermediate.%1$I (like intermediate.%1$I including all);'
            'insert into {SCRATCH}_intermediate.%1$I select * from intermediate.%1$I'
            ' where _batch_id in (select batch_id from bronze.expired_days);'
            'insert into {SCRATCH}_metrics.applied_batches select * from metrics.applied_batches'
            ' where model = %1$L and batch_id in (select batch_id from bronze.expired_days)',
            model
        )
        from metrics.applied_batches
        inner join bronze.expired_days using (batch_id)
        where model like 'int!_%!_records' escape '!'
        group by model
        """
    ).fetchall()
    for statement in (
        f"create schema {SCRATCH}_intermediate; create schema {SCRATCH}_metrics",
        f"create table {SCRATCH}_metrics.applied_batches"
        " (like metrics.applied_batches including all)",
        *(statement for (statement,) in statements),
    ):
        connection.execute(statement)
    found = connection.execute(
        f"select distinct day from {SCRATCH}_metrics.applied_batches order by day"
    )
    return [day for (day,) in found]


def _refuse_unbuilt(connection: Connection) -> None:
    found = connection.execute(
        f"""
        select distinct day::text from {SCRATCH}_metrics.applied_batches as rebuilt
        where day > '1970-01-01' and not exists (
            select from metrics.applied_batches as built
            where built.table_name = rebuilt.table_name
                and built.day = rebuilt.day
                and built.batch_id = rebuilt.batch_id
        )
        order by 1
        """
    ).fetchall()
    if found:
        raise DaybookError(
            f"Landed and not yet built: {', '.join(day for (day,) in found)}. There is nothing to"
            " hold a proof against: run the day again (or dbt build), then prove."
        )


def _note(connection: Connection, proof: Proof, lock: Lock) -> None:
    from psycopg.types.json import Jsonb

    with connection.transaction():
        connection.execute(
            """
            insert into metrics.proofs
                (started_at, is_equal, tables, days, expired_days, partings)
            values (%s, %s, %s, %s, %s, %s)
            """,
            [
                *(proof.started_at, not proof.partings, proof.tables, proof.days, proof.expired),
                Jsonb([asdict(parting) for parting in proof.partings]),
            ],
        )
        lock.check()


def as_json(proof: Proof) -> str:
    """What a program reads."""
    told: dict[str, Any] = {"equal": not proof.partings, **asdict(proof)}
    return json.dumps(told, default=lambda moment: moment.isoformat())


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
    if proof.expired:
        lines.append(
            "Landed rows have expired of "
            + ", ".join(map(str, proof.expired))
            + ": what was typed from them can't be proved, what follows from it is."
        )
    lines.append(verdict(proof))
    return "\n".join(lines)


def main(arguments: list[str] | None = None, prog: str = "python -m flows.prove") -> int:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Build all landed days anew, in schemas of their own that go again, and hold"
        " silver, quarantine, ledger, group activity and marts against it. Exit code 1 where they"
        " part. It holds the warehouse meanwhile, and takes as long and as much room as all days.",
        epilog="example: %(prog)s --json",
    )
    parser.add_argument("--json", action="store_true", help="for a program to read")
    given = parser.parse_args(arguments)

    signals: list[int] = []

    def interrupt(number: int, _frame: Any) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    def check() -> None:
        if signals:
            raise KeyboardInterrupt

    def command() -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupt)
        proof = shown(check)
        print(as_json(proof) if given.json else as_text(proof))
        return 1 if proof.partings else 0

    return guarded(command)


if __name__ == "__main__":
    sys.exit(main())
