"""Small days for the tests of silver: written as CSV files, landed and built."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg.rows import dict_row

from loaders import landing, warehouse
from loaders.days import parse_day
from loaders.sources import declared_tables

Rows = list[dict[str, Any]]

KEY_OF = {
    "agents": "agent_id",
    "groups": "group_id",
    "group_memberships": "group_id, agent_id",
    "transactions": "transaction_id",
    "agent_status_history": "agent_id, sync_date",
    "group_activity": "group_id",
}


def agent(agent_id: Any, **values: Any) -> dict[str, Any]:
    named = {"agent_id": agent_id, "email": f"a{agent_id}@example.com", "name": f"Agent {agent_id}"}
    return named | values


def group(group_id: Any, agent_ids: Any = None, **values: Any) -> dict[str, Any]:
    return {"group_id": group_id, "name": f"Group {group_id}", "agent_ids": agent_ids} | values


def transaction(transaction_id: Any, **values: Any) -> dict[str, Any]:
    return {
        "transaction_id": transaction_id,
        "transaction_uuid": f"uuid-{transaction_id}",
        "transaction_type": "CLEARING",
        "occurred_time": "2026-01-05T10:00:00Z",
        "updated_time": "2026-01-05T11:00:00Z",
        "amount_minor": "1250",
        "exponent": "2",
        "currency": "EUR",
        "exchange_rate": "1.10",
    } | values


class World:
    """Days written as CSV files, landed and built: all pipelines, or those that the test names
    with `pytest.mark.builds`."""

    def __init__(
        self, folder: Path, dbt: Callable[..., Any], db: Any, pipelines: tuple[str, ...] = ()
    ) -> None:
        self.folder, self.dbt, self.db = folder, dbt, db
        # the template has the views and seeds: half of a build's time
        self.chosen = ["--exclude", "config.materialized:view", "resource_type:seed"]
        if pipelines:
            self.chosen += ["--select", *(f"tag:{name}" for name in pipelines)]

    def write(self, day: str, **tables: Rows) -> None:
        place = self.folder / day
        place.mkdir(parents=True, exist_ok=True)
        for old in place.iterdir():
            old.unlink()
        present = {"agents": [agent(1)], "groups": [], "transactions": []} | tables
        for name, rows in present.items():
            columns = declared_tables()[f"stg_{name}"].column_names
            with (place / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns, restval="")
                writer.writeheader()
                for row in rows:
                    shown = {
                        key: json.dumps(value) if isinstance(value, list) else value
                        for key, value in row.items()
                    }
                    writer.writerow(shown)

    def land(self, day: str, **tables: Rows) -> None:
        """Writes and lands a day; a table that isn't given is empty, but for one agent."""
        self.write(day, **tables)
        landing.land_day(self.folder, parse_day(day), allow_empty=True, allow_shrink=True)

    @contextmanager
    def without_session(self) -> Iterator[None]:
        """While the database is copied or made anew, or its server crashes."""
        self.db.close()
        yield
        self.db = warehouse.connect(autocommit=True, row_factory=dict_row)

    def build(self, *arguments: str, **context: Any) -> None:
        chosen = [] if "--select" in arguments else self.chosen
        plain = ["build", "--no-write-json", "--exclude-resource-type", "unit_test"]
        result = self.dbt(*plain, *chosen, *arguments, **context)
        failed = [
            f"{node.node.name}: {node.message}"
            for node in result.result
            if node.status not in ("success", "pass", "no-op")
        ]
        assert not failed, failed
        unbalanced = self.db.execute("select * from metrics.row_ledger where not balanced")
        assert unbalanced.fetchall() == []

    def day(self, day: str, **tables: Rows) -> None:
        self.land(day, **tables)
        self.build(day=day)

    def rows(self, table: str, columns: str = "*", where: str = "true") -> Rows:
        layer = "metrics" if table == "group_activity" else "silver"
        return self.db.execute(
            f"select {columns} from {layer}.{table} where {where} order by {KEY_OF[table]}"
        ).fetchall()

    def one(self, table: str, columns: str = "*", where: str = "true") -> dict[str, Any]:
        (row,) = self.rows(table, columns, where)
        return row

    def state(self) -> dict[str, Rows]:
        """All of silver and group activity, but for columns that begin with an underscore."""
        return {
            table: [
                {name: value for name, value in row.items() if not name.startswith("_")}
                for row in self.rows(table)
            ]
            for table in KEY_OF
        }

    def ledger(self, day: str, target: str, table: str | None = None) -> dict[str, int]:
        """The dispositions of a day's records that are not zero."""
        row = self.db.execute(
            "select * from metrics.row_ledger where day = %s and target = %s and table_name = %s",
            (parse_day(day).date, target, table or f"stg_{target}"),
        ).fetchone()
        ends = ("inserted", "updated", "unchanged", "stale", "duplicate", "quarantined")
        return {end: row[f"rows_{end}"] for end in ends if row[f"rows_{end}"]}

    def reasons(self, table: str) -> list[tuple[str, ...]]:
        rows = self.db.execute(
            f"select _errors from quarantine.{table} order by _day, _source_file, _source_row"
        )
        return [tuple(row["_errors"]) for row in rows]

    def pairs(self) -> list[tuple[str, str]]:
        return [(row["group_id"], row["agent_id"]) for row in self.rows("group_memberships")]
