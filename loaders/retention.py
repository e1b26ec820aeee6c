"""Drops landed days older than DAYBOOK_KEEP_DAYS, and what dead runs left behind."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from datetime import date
from typing import TYPE_CHECKING

from loaders import ledger, warehouse
from loaders.days import Day
from loaders.errors import UsageError
from loaders.lock import Lock, transaction
from loaders.sources import declared_tables
from loaders.sql import statement

if TYPE_CHECKING:
    from psycopg import Connection

SETTING = "DAYBOOK_KEEP_DAYS"
PATIENCE = "5s"  # of waiting for a reader of the table; the next day tries again
SCHEMAS = ("intermediate", "silver", "quarantine", "metrics", "marts")


def keep_days() -> int | None:
    """DAYBOOK_KEEP_DAYS; None, which keeps all, when unset. UsageError for any other text."""
    text = os.environ.get(SETTING, "").strip()
    if not text:
        return None
    if not re.fullmatch("0*[1-9][0-9]{0,5}", text):  # PostgreSQL's dates go no further back
        raise UsageError(f"{SETTING} is a number of days from 1 to 999999, or empty to keep all.")
    return int(text)


def expire_days(
    keep: int | None, *, flow_run_id: str, day: Day | None = None, lock: Lock | None = None
) -> list[tuple[str, date]]:
    """Drop the landed partitions older than `keep` days before the newest applied day, with their
    rejects, and note each in bronze.expired_days. Returns the dropped (table, day)s, oldest first.

    A partition stays while one of its models has not applied its batch. The newest of a snapshot
    table always stays, since presence rests on it. The caller holds the run lock.
    """
    from psycopg import errors, sql

    if keep is None:
        return []
    expired, query = [], statement("expirable_days").encode()
    with _session(day, flow_run_id, warehouse.LOADER) as conn:
        snapshots = [t.name for t in declared_tables().values() if t.kind == "snapshot"]
        expirable = conn.execute(query, {"keep": keep, "snapshots": snapshots}).fetchall()
        for table, expired_day, batch_id, partition in expirable:
            with suppress(errors.LockNotAvailable):
                with transaction(conn, lock):
                    drop = sql.SQL("drop table {}").format(sql.Identifier("bronze", partition))
                    conn.execute(drop)
                    conn.execute(
                        "delete from bronze.load_rejects where table_name = %s and _day = %s",
                        [table, expired_day],
                    )
                    conn.execute(
                        "insert into bronze.expired_days (table_name, day, batch_id, flow_run_id)"
                        " values (%s, %s, %s, %s)",
                        [table, expired_day, batch_id, flow_run_id],
                    )
                expired.append((table, expired_day))
    return expired


def _session(day: Day | None, flow_run_id: str, role: str) -> Connection:
    """A session that raises LockNotAvailable when a reader holds what it drops for PATIENCE."""
    conn = ledger.connect(day, flow_run_id, "daybook", role)
    conn.execute(f"set lock_timeout to '{PATIENCE}'")
    return conn


def sweep_orphans(
    *, flow_run_id: str, day: Day | None = None, lock: Lock | None = None
) -> list[str]:
    """Drop what only a dead run can have left; returns the names of what was dropped. That is:
    tables named like a partition of a landed table but attached to none, and dbt's temporary and
    backup relations. The caller holds the run lock and has closed dead batches, so a table that
    workers have committed belongs to a running batch; a live run commits nothing else unfinished.
    """
    from psycopg import errors, sql

    landed = f"^({'|'.join(declared_tables())})_p[0-9]{{8}}(_[0-9]+)*$"
    temporary = "__dbt_(tmp|backup)[0-9]*$"
    swept, query = [], statement("orphans").encode()
    for role, schemas, pattern in (
        (warehouse.LOADER, ["bronze"], landed),
        (warehouse.TRANSFORMER, list(SCHEMAS), temporary),
    ):
        # as the role that owns such relations
        with _session(day, flow_run_id, role) as conn:
            orphans = conn.execute(query, {"named": pattern, "schemas": schemas}).fetchall()
            for schema, relation, kind in orphans:
                with suppress(errors.LockNotAvailable, errors.DependentObjectsStillExist):
                    with transaction(conn, lock):
                        drop = sql.SQL("drop view {}" if kind == "v" else "drop table {}")
                        conn.execute(drop.format(sql.Identifier(schema, relation)))
                    swept.append(f"{schema}.{relation}")
    return swept
