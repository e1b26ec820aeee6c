"""The account of a run: what became of each landed table, on one screen."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from flows.pages import read
from loaders import warehouse
from loaders.days import Day
from loaders.sources import declared_tables

FIGURES = (
    *("landed", "rejected", "inserted", "updated", "unchanged", "stale", "duplicate"),
    *("deleted", "quarantined"),
)

if TYPE_CHECKING:
    from psycopg import Connection
WIDE = 150  # characters: room for every column


@dataclass(frozen=True)
class Line:
    """One landed table and one target (empty where no model took rows from it in this run)."""

    table: str
    status: str
    target: str
    figures: tuple[int | None, ...]
    seconds: float | None


@dataclass(frozen=True)
class Account:
    """A run's lines, the landings that failed, the ledger's word, and the checks that failed."""

    flow_run_id: str
    day: Day
    lines: list[Line]
    failures: list[str]
    ledger: str = ""
    checks: list[str] = field(default_factory=list)


def read_account(connection: Connection, flow_run_id: str, day: Day) -> Account:
    """The account of one run, from load_batches and pipeline_metrics alone."""
    rows = connection.execute(
        """
        with landed as (
            select distinct on (table_name)
                table_name, status, rows_landed, rows_rejected, batch_id,
                extract(epoch from finished_at - started_at)::float8 as seconds
            from bronze.load_batches
            where flow_run_id = %(run)s
            order by table_name, batch_id desc
        ),
        built as (
            select
                table_name, task_name,
                sum(rows_inserted)::bigint as inserted, sum(rows_updated)::bigint as updated,
                sum(rows_unchanged)::bigint as unchanged, sum(rows_stale)::bigint as stale,
                sum(rows_duplicate)::bigint as duplicate, sum(rows_deleted)::bigint as deleted,
                sum(rows_quarantined)::bigint as quarantined,
                max(duration_seconds) as seconds
            from metrics.pipeline_metrics
            where flow_run_id = %(run)s
                and status = 'success'
                and task_name not in ('land-table', 'day-pipeline')
                and task_name not like 'int!_%%' escape '!'
                and table_name is not null
            group by table_name, task_name
        )
        select
            table_name, coalesce(landed.status, ''), coalesce(built.task_name, ''),
            landed.rows_landed, landed.rows_rejected, built.inserted, built.updated,
            built.unchanged, built.stale, built.duplicate, built.deleted, built.quarantined,
            landed.seconds, built.seconds
        from landed
        full join built using (table_name)
        order by
            landed.batch_id is null, array_position(%(declared)s::text[], table_name),
            table_name, built.task_name
        """,
        {"run": flow_run_id, "declared": list(declared_tables())},
    ).fetchall()
    failures = connection.execute(
        """
        select coalesce(table_name, task_name) || coalesce(': ' || error_message, '')
        from metrics.pipeline_metrics
        where flow_run_id = %s and status = 'failure' and pipeline_name = 'landing'
        order by id
        """,
        [flow_run_id],
    ).fetchall()
    lines, seen = [], set()
    for table, status, target, landed, rejected, *figures, landing, building in rows:
        if table == target:  # built from silver alone
            table = ""
        # What landed is said once, on the table's first line.
        first = bool(table) and table not in seen
        seen.add(table)
        spent = [s for s in (landing if first else None, building) if s is not None]
        shown = (landed, rejected) if first else (None, None)
        lines.append(
            Line(
                table if first else "",
                status if first else "",
                target,
                (*shown, *figures),
                sum(spent) if spent else None,
            )
        )
    failed = [text for (text,) in failures]
    return Account(flow_run_id, day, lines, failed, *_verdicts(connection, flow_run_id, day))


def _verdicts(connection: Connection, flow_run_id: str, day: Day) -> tuple[str, list[str]]:
    """What the ledger and the checks say of the day, in words."""
    ledger, checks = read.ledger(connection, day.date), read.checks(connection, flow_run_id)
    unbalanced = [f"{row['table_name']} → {row['target']}" for row in ledger if not row["balanced"]]
    said = f"does not balance: {', '.join(unbalanced)}" if unbalanced else "balances"
    found = [
        f"{row['severity']:5}  {row['suite']}.{row['check_name']}: {row['description']}; "
        f"found {row['observed']}"
        for row in checks
        if not row["success"]
    ]
    passed = f"{len(checks) - len(found)} of {len(checks)} checks passed" if checks else ""
    words = [*([f"the ledger {said}"] if ledger else []), *([passed] if passed else [])]
    return "; ".join(words), found


def print_account(account: Account, outcome: str, *, file: IO[str] | None = None) -> None:
    """The account as a table on a terminal, as aligned text elsewhere."""
    out = file or sys.stdout
    header = ["table", "landing", "model", *FIGURES, "seconds"]
    rows = [
        [line.table, line.status, line.target, *map(_figure, line.figures), _seconds(line.seconds)]
        for line in account.lines
    ]
    print(f"\n{account.day} {outcome} (run {account.flow_run_id})", file=out)
    if rows and out.isatty():
        _rich_table(header, rows, out)
    elif rows:
        print(aligned(header, rows, left=3), file=out)
    for failure in account.failures:
        print(f"  not landed: {failure}", file=out)
    if account.ledger:
        print(f"\n{account.ledger}", file=out)
    for check in account.checks:
        print(f"  {check}", file=out)
    page = warehouse.home() / "site" / "run.html"
    if _is_of(page, account.flow_run_id):
        print(f"\nThe run page:  {page}", file=out)


def _is_of(page: Path, flow_run_id: str) -> bool:
    """Whether a run page is this run's: where it can't be written, an earlier one stays."""
    return page.exists() and f"Run {flow_run_id}." in page.read_text(encoding="utf-8")


def where_next(day: Day) -> str:
    """Where to look after a run."""
    return (
        "Look next:  make psql   then\n"
        f"  select * from metrics.row_ledger where day = '{day.date}';\n"
        "  select * from metrics.group_activity;\n"
        "  select * from quarantine.agents;\n"
        "and `make status` for the days that are done, missing or failed."
    )


def aligned(header: list[str], rows: list[list[str]], *, left: int) -> str:
    """Plain text columns, the first `left` of them to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    )


def _rich_table(header: list[str], rows: list[list[str]], out: IO[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(file=out)
    shown = list(range(len(header)))
    if console.width < WIDE:  # leave out what is nothing everywhere
        shown = [i for i in shown if i < 3 or any(row[i] not in ("", "0") for row in rows)]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for i in shown:
        table.add_column(header[i], justify="left" if i < 3 else "right", no_wrap=i < 3)
    for row in rows:
        table.add_row(*(row[i] for i in shown))
    console.print(table)


def _figure(figure: int | None) -> str:
    return "" if figure is None else f"{figure:,}"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f}"
