"""The account of a run: what is new, what became of each landed table, which checks failed."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from flows.checks.quarantine import read_reasons
from flows.checks.run import shown
from flows.pages.read import Row, ask
from flows.pages.render import file_of, render
from flows.pages.verdict import Note, Story, read_story
from loaders import warehouse
from loaders.days import Day
from loaders.sources import declared_tables

if TYPE_CHECKING:
    from psycopg import Connection


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
    seconds: float = 0.0  # of the run under its lock, as status and pages show them


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
        (story.run and story.run["duration_seconds"]) or 0.0,
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
    page = warehouse.home() / "site" / "runs" / file_of(account.flow_run_id)
    more: dict[str, Any] = {"page": page if page.exists() else None, "news": _new(account.lines)}
    text = render("account.txt.j2", outcome=outcome, **more, **vars(account))
    print(f"\n{text.rstrip()}", file=file)


def _new(lines: list[Row]) -> dict[str, Counter[str]]:
    """What changed in silver, by entity; one entity can have several tables."""
    entities = {table.removeprefix("stg_"): Counter[str]() for table in declared_tables()}
    for line in lines:
        if line["target"] in entities:
            changes = {name: line[name] or 0 for name in ("new", "changed", "gone")}
            entities[line["target"]].update(changes)
    return {entity: changes for entity, changes in entities.items() if changes.total()}


def where_next(day: Day) -> str:
    """Where to look after a run, by `daybook` as it can be typed here: the name when it is on PATH,
    else its place."""
    place = Path(sys.executable).with_name("daybook")
    if shutil.which("daybook"):
        place = Path("daybook")
    elif place.is_relative_to(Path.cwd()):
        place = place.relative_to(Path.cwd())
    return render("next.txt.j2", daybook=place, day=day)
