"""The account of a run: what is new, what became of each landed table, which checks failed."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from flows.checks.quarantine import read_reasons
from flows.checks.run import shown
from flows.pages import read
from flows.pages.remarks import read_remarks
from loaders import warehouse
from loaders.days import Day
from loaders.sources import declared_tables

if TYPE_CHECKING:
    from psycopg import Connection

NEW = ("new", "changed", "gone")
FIGURES = ("landed", "rejected", *NEW, "unchanged", "stale", "duplicate", "quarantined")
STATUSES = {
    "skipped": "not in the day's files",
    "unchanged": "the same files as before",
    "failed": "did not land",
}


@dataclass(frozen=True)
class Line:
    """A landed table, or (`table` is empty) another target that was built from it."""

    table: str
    target: str
    status: str
    figures: dict[str, int]


@dataclass(frozen=True)
class Account:
    """A run's lines, what is to be looked at, the ledger's word, and the checks that failed."""

    flow_run_id: str
    day: Day
    lines: list[Line]
    remarks: list[str]
    ledger: str = ""
    checks: tuple[str, ...] = ()


def read_account(connection: Connection, flow_run_id: str, day: Day) -> Account:
    """The account of one run, from load_batches, pipeline_metrics and check_results alone."""
    rows = connection.execute(
        """
        with landed as (
            select distinct on (table_name)
                table_name, status, rows_landed, rows_rejected, batch_id
            from bronze.load_batches
            where flow_run_id = %(run)s and status <> 'unused'
            order by table_name, batch_id desc
        ),
        built as (
            select
                table_name, task_name,
                sum(rows_inserted)::bigint as new, sum(rows_updated)::bigint as changed,
                sum(rows_deleted)::bigint as gone, sum(rows_unchanged)::bigint as unchanged,
                sum(rows_stale)::bigint as stale, sum(rows_duplicate)::bigint as duplicate,
                sum(rows_quarantined)::bigint as quarantined
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
            landed.rows_landed, landed.rows_rejected,
            built.new, built.changed, built.gone,
            built.unchanged, built.stale, built.duplicate, built.quarantined
        from landed
        full join built using (table_name)
        order by
            landed.batch_id is null, array_position(%(declared)s::text[], table_name), table_name,
            'stg_' || built.task_name <> table_name, built.task_name
        """,
        {"run": flow_run_id, "declared": list(declared_tables())},
    ).fetchall()
    lines: list[Line] = []
    seen = set()
    for table, status, target, landed, rejected, *built in rows:
        figures = dict(zip(FIGURES[2:], built, strict=True))
        name = table.removeprefix("stg_")
        if name not in seen:  # what landed is said once
            seen.add(name)
            own = figures if target in (name, table, "match-names") else {}
            first = {"landed": landed, "rejected": rejected, **own}
            lines.append(Line(name, target if own else "", status, _nonzero(first)))
            if own:
                continue
        if target and _nonzero(figures):
            lines.append(Line("", target, "", _nonzero(figures)))
    remarks = [f"{one.name}: {one.said}" for one in read_remarks(connection, flow_run_id)]
    return Account(flow_run_id, day, lines, remarks, *_verdicts(connection, flow_run_id, day))


def _nonzero(figures: dict[str, int | None]) -> dict[str, int]:
    return {name: figure for name, figure in figures.items() if figure}


def _verdicts(connection: Connection, flow_run_id: str, day: Day) -> tuple[str, tuple[str, ...]]:
    """What the ledger and the checks say of the day, in words."""
    ledger, checks = read.ledger(connection, day.date), read.checks(connection, flow_run_id)
    unbalanced = [f"{row['table_name']} → {row['target']}" for row in ledger if not row["balanced"]]
    said = f"does not balance: {', '.join(unbalanced)}" if unbalanced else "balances"
    count = sum(row["success"] for row in checks)
    passed = f"{count} of {len(checks)} checks passed" if checks else ""
    words = [*([f"the ledger {said}"] if ledger else []), *([passed] if passed else [])]
    found = [_of_check(connection, day, row) for row in read.failing(checks)]
    found += [read.accepted(row) for row in checks if row["accepted"]]
    return "; ".join(words), tuple(found)


def _of_check(connection: Connection, day: Day, row: read.Row) -> str:
    """A failed check: how many of how many; an error's commonest reasons, and where to look."""
    said = f"{row['severity']}: {row['name']}: {row['observed']}"
    if row["severity"] != "error":
        return said
    keys = row["sample_keys"]
    tables = sorted({key["table_name"] for key in keys if "reason" in key})
    if tables:
        reasons = read_reasons(connection, day, tables)
        often = [f"{one.rows:,} {one.reason} of {one.table} ({one.keys[0]})" for one in reasons[:3]]
        names = sorted({table.replace("stg_", "quarantine.") for table in tables})
        where = f"select * from {', '.join(names)} where _day = '{day.date}'"
    else:
        often = [shown(key) for key in keys[:5]]
        where = f"select * from {row['table_name']}"
    return f"{said}\n  most often: {'; '.join(often) or 'no rows to show'}\n  look: {where}"


def print_account(account: Account, outcome: str, *, file: IO[str] | None = None) -> None:
    """The account in words, as wide as there is room."""
    out = file or sys.stdout
    print(f"\n{account.day} {outcome} (run {account.flow_run_id[:8]})", file=out)
    if account.lines:
        print("\n" + wrapped(f"what is new: {_new(account.lines)}"), file=out)
        print("\n" + "\n".join(table_lines(account.lines)), file=out)
    for remark in account.remarks:
        print(wrapped(f"  {remark}", 4), file=out)
    if account.ledger:
        print(f"\n{wrapped(account.ledger)}", file=out)
    for check in account.checks:
        print("\n".join(wrapped(f"  {line}", 6) for line in check.split("\n")), file=out)
    page = warehouse.home() / "site" / "run.html"
    if _is_of(page, account.flow_run_id):
        print(f"\nThe run page:  {page}", file=out)


def _new(lines: list[Line]) -> str:
    """What changed in silver, entity by entity, whichever table brought it."""
    entities: dict[str, Counter[str]] = {
        table.removeprefix("stg_"): Counter() for table in declared_tables()
    }
    for line in lines:
        if line.target in entities:
            entities[line.target].update({n: line.figures.get(n, 0) for n in NEW})
    said = [f"{entity} {_words(found)}" for entity, found in entities.items() if found.total()]
    return "; ".join(said) or "nothing"


def table_lines(lines: list[Line]) -> list[str]:
    """A line a table and target; what was not delivered has one line together."""
    names = [line.table or f"  {line.target}" for line in lines]
    width = max(map(len, names)) + 2
    told = []
    for name, line in zip(names, lines, strict=True):
        said = [STATUSES[line.status]] if line.status in STATUSES else []
        words = "; ".join([*said, *([_words(line.figures)] if line.figures else [])])
        told.append(wrapped(f"{name:<{width}}{words or 'nothing new'}", width))
    return told


def _words(figures: dict[str, int] | Counter[str]) -> str:
    return ", ".join(f"{figures[name]:,} {name}" for name in FIGURES if figures.get(name))


def wrapped(text: str, indent: int = 2) -> str:
    """Text in lines that fit, those after the first set in; its own line ends stay, and what would
    move a terminal does not."""
    room = max(shutil.get_terminal_size().columns, 40)
    return "\n".join(
        textwrap.fill(
            "".join(c if c.isprintable() else "\ufffd" for c in line),
            room,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in text.split("\n")
    )


def _is_of(page: Path, flow_run_id: str) -> bool:
    """Whether a run page is this run's: where it can't be written, an earlier one stays."""
    return page.exists() and f"Run {flow_run_id}." in page.read_text(encoding="utf-8")


def where_next(day: Day) -> str:
    """Where to look after a run."""
    daybook = _typed()
    return (
        "Look next:\n"
        f"  {daybook} status                which days are done, missing or failed\n"
        f"  {daybook} explain agents 9001   one record's whole story\n"
        f"  {daybook} psql                  for instance\n"
        f"    select * from metrics.row_ledger where day_name = '{day}';\n"
        "    select * from metrics.group_activity;"
    )


def _typed() -> str:
    """The command as it can be typed here, whether or not its environment is activated."""
    place = Path(sys.executable).with_name("daybook")
    if shutil.which("daybook"):
        return "daybook"
    return str(place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place)


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
