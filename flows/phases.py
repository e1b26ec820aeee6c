"""The phases of a day as plain functions, and their order; flows/tasks.py makes tasks of them.

Each can be called alone: `phases.land_day(Run.of("day1", "tests/sample"))`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import date
from typing import Any

from flows import transform
from flows.checks import run as checks
from flows.reasons import LandError, LedgerError
from flows.record import timed
from flows.run import Run
from loaders import landing, match, rates, retention, warehouse
from loaders.errors import DaybookError, PlanError
from loaders.landing import Landed, Plan

Done = dict[str, dict[str, str]]  # phase → id and state of its run
TABLES_AT_ONCE = 4
BESIDE_EACH_OTHER = ("prepare-day", "land-day", "sweep-orphans")
# Phases that depend on all before them, each with what progress calls it.
IN_ORDER = {
    "match-names": "matching names",
    "transform-day": "building",
    "check-day": "checking",
    "finish-day": "checking the ledger",
    "expire-days": "expiring days",
}


def run_in_order(run: Run, run_phases: Callable[[Run, Iterable[str]], Done]) -> Done:
    """Run a day's phases by `run_phases`, which raises the failure of one: none follows then."""
    run.progress("landing")
    done = run_phases(run, BESIDE_EACH_OTHER)
    for name, doing in IN_ORDER.items():
        run.progress(doing)
        done |= run_phases(run, [name])
    return done


@timed
def prepare_day(run: Run) -> None:
    """Handshake, control tables, rates, dbt's manifest. Raises WarehouseError, or DaybookError when
    the project does not parse. Needs nothing of the day, so it runs beside the landing."""
    with run.connect() as connection:
        warehouse.check_ready(connection)
    rates.refresh_rates(run.day, run.flow_run_id, lock=run.lock)
    transform.manifest()


@timed
def land_day(
    run: Run, land_all: Callable[[Run, list[Plan]], list[Landed]] | None = None
) -> list[Landed]:
    """Check all tables of the day, then land them, several at once.

    A failing optional table is in the result with status `failed`. Raises PlanError before
    any write when the day can't be landed, LandError when a required table failed.
    """
    planned = plans(run)
    landing.note_unused(
        run.options.data, run.day, flow_run_id=run.flow_run_id, sources=run.options.sources
    )
    return (land_all or in_threads)(run, planned)


def plans(run: Run, tables: list[str] | None = None) -> list[Plan]:
    """The plan of each table, or of some, by the day's files. PlanError when they can't land."""
    data, sources, allow_empty = run.options.data, run.options.sources, run.options.allow_empty
    try:
        return landing.plan_day(data, run.day, tables, allow_empty=allow_empty, sources=sources)
    except DaybookError as error:
        if type(error) is not DaybookError:  # a wrong call, a warehouse that is gone
            raise
        raise PlanError(str(error)) from error


def land_table(run: Run, plan: Plan) -> Landed:
    """Land one table of the day in one transaction. Raises DaybookError if a required one fails."""
    run.check()
    return landing.land_table(
        plan,
        flow_run_id=run.flow_run_id,
        force=run.options.force,
        allow_shrink=run.options.allow_shrink,
        progress=run.progress,
        lock=run.lock,
        workers=run.options.workers,
    )


def in_threads(
    run: Run, plans: list[Plan], land: Callable[[Run, Plan], Landed] = land_table
) -> list[Landed]:
    """Land tables in threads of this process, several at once. When all have ended the failures are
    raised: one error as it is, several as LandError."""
    with ThreadPoolExecutor(TABLES_AT_ONCE) as pool:
        futures = [pool.submit(copy_context().run, land, run, plan) for plan in plans]
    run.check()
    failed = [error for future in futures if (error := future.exception())]
    if failed[1:]:
        raise LandError(failed) from failed[0]
    if failed:
        raise failed[0]
    return [future.result() for future in futures]


@timed
def match_names(run: Run) -> None:
    """Names not seen before, matched in one batch. Raises DaybookError when a seed is at fault."""
    match.match_names(run.day, flow_run_id=run.flow_run_id, lock=run.lock)


@timed
def transform_day(run: Run, on_event: Callable[[Any], None] = lambda _event: None) -> Counter[str]:
    """dbt build in this process, with the day and the run in every session. Raises BuildError."""
    try:
        return transform.build(
            run.day, run.flow_run_id, check=run.check, on_event=on_event, progress=run.progress
        )
    finally:
        run.check()


@timed
def check_day(run: Run) -> list[checks.Checked]:
    """Run the checks on what the day built. Raises CheckError when one of severity error fails."""
    docs = warehouse.home() / "site" / "checks"
    results = checks.check_day(run.day, run.flow_run_id, lock=run.lock, docs=docs)
    checks.raise_failed(results)
    return results


@timed
def finish_day(run: Run) -> int:
    """The ledger's verdict: rows of the row ledger for the day. Raises LedgerError naming the
    tables that do not balance, or when silver has taken in nothing of the day."""
    with run.connect() as connection:
        rows = connection.execute(
            "select table_name, target, balanced from metrics.row_ledger"
            " where day = %s order by table_name, target",
            [run.day.date],
        ).fetchall()
    if not rows:
        raise LedgerError(
            f"Silver has taken in nothing of {run.day}: a required table did not land, or dbt has"
            " built elsewhere (look at DBT_TARGET, DBT_PROFILES_DIR and DBT_PROJECT_DIR)."
        )
    unbalanced = [f"{table} → {target}" for table, target, balanced in rows if not balanced]
    if unbalanced:
        raise LedgerError(
            f"The row ledger of {run.day} does not balance: {', '.join(unbalanced)}. "
            f"See metrics.row_ledger where day_name = '{run.day}'."
        )
    return len(rows)


@timed
def sweep_orphans(run: Run) -> list[str]:
    """Drop tables that only a dead run can have left; their names."""
    return retention.sweep_orphans(flow_run_id=run.flow_run_id, day=run.day, lock=run.lock)


@timed
def expire_days(run: Run) -> list[tuple[str, date]]:
    """Drop landed days past DAYBOOK_KEEP_DAYS that were applied; (table, day) of each."""
    keep = retention.keep_days()
    return retention.expire_days(keep, flow_run_id=run.flow_run_id, day=run.day, lock=run.lock)
