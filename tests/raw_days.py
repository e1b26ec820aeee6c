"""Raw days as tests want them: the required entities filled in, the rest as given."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import psycopg

from loaders.days import parse_day
from loaders.landing import Landed, land_day
from loaders.sources import PROJECT
from tests.watching import column, tuples

SAMPLE = PROJECT / "tests" / "sample"
AGENTS = [{"id": 1, "contact": {"email": "a@example.com", "name": "A"}}]
GROUPS = [{"id": 10, "name": "G", "agent_ids": [1]}]

HEADER = "transaction_id,amount_minor,currency,user_name\n"
TENS = "".join(f"t{n},1,EUR,x\n" for n in range(10))


def write(root: Path, path: str, content: Any) -> Path:
    """Writes bytes, text, or anything else as JSON; `.gz` is compressed."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        content = content.encode()
    elif not isinstance(content, bytes):
        content = json.dumps(content).encode()
    target.write_bytes(gzip.compress(content) if path.endswith(".gz") else content)
    return target


def write_day(root: Path, day: str = "day1", **files: Any) -> Path:
    """A day that lands; `files` are contents by path, given as `**{"roles.json": …}`."""
    folder = root / day
    write(folder, "agents.json", AGENTS)
    write(folder, "groups.json", GROUPS)
    write(folder, "transactions.json", [])
    for path, content in files.items():
        write(folder, path, content)
    return folder


def land(root: Path, day: str = "day1", **options: Any) -> dict[str, Landed]:
    return {one.table: one for one in land_day(root, parse_day(day), **options)}


def land_one(root: Path, table: str = "stg_transactions", **options: Any) -> Landed:
    return land(root, tables=[table], **options)[table]


def rows(db: psycopg.Connection, table: str = "stg_transactions") -> list[dict[str, Any]]:
    order = '_day, _source_file collate "C", _source_row'
    return db.execute(f"select * from bronze.{table} order by {order}").fetchall()


def rejects(db: psycopg.Connection) -> list[tuple[str, int, str, str]]:
    """(file, row, reason, raw text) of each."""
    columns = "source_file, source_row, reason, raw_text"
    return tuples(db, f"select {columns} from bronze.load_rejects order by 1, 2")


def batches(db: psycopg.Connection, table: str = "stg_transactions") -> list[dict[str, Any]]:
    query = "select * from bronze.load_batches where table_name = %s order by batch_id"
    return db.execute(query, [table]).fetchall()


def statuses(db: psycopg.Connection) -> list[str]:
    """Of all batches, the first to land first."""
    return column(db, "select status from bronze.load_batches order by batch_id")


def transactions(root: Path, content: str | bytes, name: str = "transactions.csv") -> None:
    write(root, f"day1/{name}", content)
