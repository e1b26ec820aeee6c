"""The account of a run: what is new, what became of each landed table, which checks failed."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from flows.checks.quarantine import read_reasons
from flows.checks.run import shown
from flows.pages.read import Row, ask
from flows.pages.render import file_of, wrapped
from flows.pages.verdict import Note, Story, read_story
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
class Account:
    """The account of one run. `lines`: the rows of pages/sql/account.sql; `ledger`: those of
    ledger.sql; `remarks`: notes that need a look; `checks`: the failed ones, as text."""

    flow_run_id: str
    day: Day
    lines: list[Row]
    ledger: list[Row]
    remarks: list[str]
    verdict: str = ""
    checks: tuple[str, ...] = ()


def read_account(connection: Connection, flow_run_id: str, day: Day) -> Account:
    """The account of one run, from the ledgers alone."""
    story = read_story(connection, flow_run_id, day.date)
    ledger = ask(connection, "ledger", day=day.date)
    unbalanced = [f"{row['table_name']} → {row['target']}" for row in ledger if not row["balanced"]]
    balance = f"does not balance: {', '.join(unbalanced)}" if unbalanced else "balances"
    passed = sum(row["success"] for row in story.checks)
    words = [f"the ledger {balance}"] if ledger else []
    words += [f"{passed} of {len(story.checks)} checks passed"] if story.checks else []
    failed_checks = [note for note in story.notes if note.kind in ("error", "warn")]
    # a failed dbt node is in the run's error
    remarks = [note for note in story.notes if note.kind not in ("error", "warn", "node")]
    return Account(
        flow_run_id,
        day,
        ask(connection, "account", run=flow_run_id, day=day.date, declared=[*declared_tables()]),
        ledger,
        [str(note) for note in remarks],
        "; ".join(words),
        (*(_check_text(connection, day, note, story) for note in failed_checks), *story.accepted),
    )


def _check_text(connection: Connection, day: Day, note: Note, story: Story) -> str:
    """A failed check with its counts; an error also with its commonest reasons, where to look."""
    text = f"{note.kind}: {note}"
    if note.kind != "error":
        return text
    row = next(row for row in story.checks if row["name"] == note.name)
    keys, where = row["sample_keys"], f"select * from {row['table_name']}"
    often = [shown(key) for key in keys[:5]]
    if tables := sorted({key["table_name"] for key in keys if "reason" in key}):
        reasons = read_reasons(connection, day, tables)
        often = [f"{one.rows:,} {one.reason} of {one.table} ({one.keys[0]})" for one in reasons[:3]]
        entities = sorted({declared_tables()[table].entity for table in tables})
        where = "; ".join(
            f"select * from quarantine.{n} where _day = '{day.date}'" for n in entities
        )
    return f"{text}\n  most often: {'; '.join(often) or 'no rows to show'}\n  look: {where}"


def print_account(account: Account, outcome: str, *, file: IO[str] | None = None) -> None:
    """Print the account for people, as wide as the terminal."""
    print(f"\n{account.day} {outcome} (run {account.flow_run_id[:8]})", file=file)
    if account.lines:
        print("\n" + wrapped(f"what is new: {_new(account.lines)}"), file=file)
        print("\n" + "\n".join(table_lines(account.lines)), file=file)
    for remark in account.remarks:
        print(wrapped(f"  {remark}", 4), file=file)
    if account.verdict:
        print(f"\n{wrapped(account.verdict)}", file=file)
    for check in account.checks:
        print("\n".join(wrapped(f"  {line}", 6) for line in check.split("\n")), file=file)
    page = warehouse.home() / "site" / "runs" / file_of(account.flow_run_id)
    if page.exists():  # it may have failed to be written
        print(f"\nThe run page:  {page}", file=file)


def _new(lines: list[Row]) -> str:
    """What changed in silver, by entity; one entity can have several tables."""
    entities = {table.removeprefix("stg_"): Counter[str]() for table in declared_tables()}
    for line in lines:
        if line["target"] in entities:
            entities[line["target"]].update({name: line[name] or 0 for name in NEW})
    news = [f"{entity} {_counts(counts)}" for entity, counts in entities.items() if counts.total()]
    return "; ".join(news) or "nothing"


def table_lines(lines: list[Row]) -> list[str]:
    """The account's rows as text: one item for each table and target."""
    names = [
        f"  {line['target']}" if line["status"] is None else line["table_name"].removeprefix("stg_")
        for line in lines
    ]
    width = max(map(len, names), default=0) + 2
    texts = []
    for name, line in zip(names, lines, strict=True):
        parts = [part for part in (STATUSES.get(line["status"]), _counts(line)) if part]
        texts.append(wrapped(f"{name:<{width}}{'; '.join(parts) or 'nothing new'}", width))
    return texts


def _counts(figures: Row | Counter[str]) -> str:
    return ", ".join(f"{figures[name]:,} {name}" for name in FIGURES if figures.get(name))


def where_next(day: Day) -> str:
    """Where to look after a run."""
    daybook = _command()
    return (
        "Look next:\n"
        f"  {daybook} status                which days are done, or not\n"
        f"  {daybook} explain agents ID     one record's whole story\n"
        f"  {daybook} psql                  for instance\n"
        f"    select * from metrics.row_ledger where day_name = '{day}';\n"
        "    select * from metrics.group_activity;"
    )


def _command() -> str:
    """`daybook` as it can be typed here: the name when it is on PATH, else its place."""
    place = Path(sys.executable).with_name("daybook")
    if shutil.which("daybook"):
        return "daybook"
    return str(place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place)
