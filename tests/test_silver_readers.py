"""A reader during a build sees the state before or the state after, nothing between."""

from __future__ import annotations

import threading
from typing import Any

from loaders import warehouse
from loaders.sources import PROJECT
from tests.silver_world import agent, group, transaction
from tests.watching import column, value

QUESTIONS = {
    "transactions": "select count(*) from silver.transactions",
    "agents": "select count(*) from silver.agents",
    "memberships": "select count(*) from silver.group_memberships",
    "activity": "select count(*) from metrics.group_activity",
    "ledger": "select count(distinct day) from metrics.row_ledger",
    "spend": "select coalesce(sum(transactions), 0) from marts.application_spend_monthly",
    "history": "select count(distinct sync_date) from silver.agent_status_history",
}


class Reader(threading.Thread):
    """Asks all questions again and again until it is told to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()
        self.seen: dict[str, set[int]] = {name: set() for name in QUESTIONS}
        self.failures: list[str] = []
        self.rounds = 0

    def run(self) -> None:
        with warehouse.connect(autocommit=True) as conn:
            while not self.over.is_set():
                for name, question in QUESTIONS.items():
                    try:
                        self.seen[name].add(int(value(conn, question)))
                    except Exception as error:
                        self.failures.append(f"{name}: {error}")
                self.rounds += 1


def tables(count: int) -> dict[str, Any]:
    people = [agent(number) for number in range(1, count + 1)]
    return {
        "agents": people,
        "groups": [group(number, [number]) for number in range(1, count + 1)],
        "transactions": [transaction(f"t{number}", currency="USD") for number in range(count)],
    }


def test_each_quarantine_is_found_by_its_day(world):
    world.day("day1")
    indexed = (
        "select tablename from pg_indexes where schemaname = 'intermediate'"
        " and indexdef like '%(_day, _outcome, _source_table, _batch_id)'"
    )
    records = [path.stem for path in (PROJECT / "models").rglob("int_*_records.sql")]
    assert sorted(column(world.db, indexed)) == sorted(records)


def test_a_build_waits_for_no_vacuum(world):
    world.day("day1", **tables(2))
    built = column(
        world.db,
        "select format('%I.%I', schemaname, tablename) from pg_tables"
        " where schemaname in ('intermediate', 'silver', 'metrics', 'marts')",
    )
    with warehouse.connect() as vacuuming:
        vacuuming.execute(f"lock table {', '.join(built)} in share update exclusive mode")
        world.day("day2", **tables(3))
    assert len(world.rows("agents")) == 3


def test_a_build_waits_for_no_reader(world, monkeypatch):
    world.day("day1", **tables(2))
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=3s")
    with warehouse.connect() as reading:
        for name in ("metrics.row_ledger", "silver.agents_history", "quarantine.agents"):
            reading.execute(f"select from {name}".encode())
        assert world.dbt("run", "--select", "+row_ledger", "agents_history", "quarantine").success


def test_a_build_shows_the_day_before_or_the_day_after(world):
    world.day("day1", **tables(400))
    reader = Reader()
    reader.start()
    try:
        world.day("day2", **tables(900))
        world.build("--full-refresh")
        world.build()
    finally:
        reader.over.set()
        reader.join()
    assert reader.failures == []
    assert reader.rounds > 20
    for name in ("transactions", "agents", "memberships", "activity", "spend"):
        assert reader.seen[name] == {400, 900}, name
    for name in ("ledger", "history"):
        assert reader.seen[name] == {1, 2}, name
