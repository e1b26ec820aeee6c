"""Raw days of any size, as CSV files: made by arithmetic on the record's number, so that every
run gets the same bytes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from loaders.sources import declared_tables

FIRST = date(2025, 6, 2)
CURRENCIES = ("USD", "USD", "USD", "EUR", "GBP", "INR", "JPY", "CHF")
MERCHANTS = ("AMZN Mktp", "Slack T0", "GITHUB.COM", "Zoom.us", "NOTION LABS", "ATLASSIAN")

SHAPES: tuple[dict[str, Any], ...] = (
    {},
    {"childTransactionIds": ["t1", "t2"]},
    {"userName": 'Ada "The" Lovelace'},
    {"memo": "a note\nof two lines"},
    {"tags": {"a": 1.10, "b": [1, 2]}},
    {"memo": "5 € \\ 3 kg", "transactionType": "REFUND"},
    {"merchantName": "Café", "approvals": [{"by": 9007199254740993, "at": None}]},
    {"merchantName": "Caf\u00e9 \U0001f600"},
    {"cardId": None, "isLocked": False},
    {"userId": 9001.0},
)


def day_text(number: int) -> str:
    """The day that is `number` days after the first: ISO."""
    return (FIRST + timedelta(days=number)).isoformat()


def write_day(
    folder: Path,
    number: int,
    *,
    transactions: Iterable[int] = (),
    groups: int = 1,
    agents: int = 1,
    flaws: bool = False,
) -> Path:
    """Write the day's required files below `folder`; the transactions' path.

    `transactions` are record numbers: one that an earlier day had is a newer version of it.
    With `flaws` one in 500 is not valid, one in 200 is there twice, and one in 20 is an
    authorization that names the next as its clearing.
    """
    place = folder / day_text(number)
    place.mkdir(parents=True)
    _write(place, "agents", (_agent(n, number) for n in range(1, agents + 1)))
    _write(place, "groups", (_group(n, number, agents) for n in range(1, groups + 1)))
    return _write(place, "transactions", _transactions(transactions, number, flaws=flaws))


def _write(place: Path, name: str, lines: Iterable[str]) -> Path:
    path = place / f"{name}.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(_columns(f"stg_{name}")) + "\n")
        file.writelines(lines)
    return path


@cache
def _columns(table: str) -> list[str]:
    return list(declared_tables()[table].column_names)


def _scattered(number: int) -> int:
    return number * 2654435761 % (1 << 32)


def _transactions(numbers: Iterable[int], day: int, *, flaws: bool) -> Iterable[str]:
    version = day_text(day)
    for number in numbers:
        line = _transaction(number, version)
        if flaws and number % 20 == 1:
            line = line.replace("CLEARING", "AUTHORIZATION", 1)
            line = line.replace(",[],", f',"[""t{number + 1:09}""]",', 1)
        if flaws and number % 500 == 0:
            line = line.replace(",2,", ",9,", 1)
        yield line
        if flaws and number % 200 == 0:
            yield line


def _transaction(number: int, version: str) -> str:
    mixed = _scattered(number)
    currency = CURRENCIES[mixed % 8]
    minute, hour, back = mixed % 60, mixed // 60 % 24, mixed // 1440 % 28
    occurred = f"2025-05-{back + 1:02}T{hour:02}:{minute:02}:00Z"
    user, card, budget = mixed % 50_000, mixed % 80_000, mixed % 900
    amount = (mixed + len(version) + int(version[-2:])) % 1_000_000
    merchant, rate = MERCHANTS[mixed % 6], "1" if currency == "USD" else "1.0825"
    return (
        f"t{number:09},{mixed:08x}-5b1e-4c7a-9d00-{number:012x},CLEARING,{occurred},"
        f"{version}T{hour:02}:{minute:02}:30.5Z,u{user},,User {user},{merchant}*{mixed % 9999},"
        f"{merchant},c{card},,b{budget},,{amount},[],2,{currency},{rate}\n"
    )


def _agent(number: int, day: int) -> str:
    values = {
        "agent_id": str(number),
        "email": f"agent{number}@example.com",
        "name": f"Agent {number}",
        "job_title": "Support",
        "contact_active": "true",
        "deactivated": "true" if number % 10 == day % 10 else "false",
        "created_at": "2024-01-01T00:00:00Z",
        "updated_at": f"{day_text(day if number % 100 == 0 else 0)}T00:00:00Z",
    }
    return ",".join(values.get(name, "") for name in _columns("stg_agents")) + "\n"


def _group(number: int, day: int, agents: int) -> str:
    place = (number - 1) % 1000
    parent = "" if place == 0 else str(number - 1 - _scattered(number) % min(place, 20))
    listed = {
        (_scattered(number) + step * 7919 + day * (number % 100 == 0)) % agents + 1
        for step in range(number % 7)
    }
    members = "[" + ",".join(map(str, sorted(listed))) + "]"
    updated = f"{day_text(day if number % 100 == 0 else 0)}T00:00:00Z"
    return f'{number},Group {number},,{parent},"{members}",2024-01-01T00:00:00Z,{updated}\n'


def write_json_day(
    folder: Path, number: int, transactions: Iterable[int], *, groups: int = 0, agents: int = 0
) -> Path:
    """Write a day's tables, those of which there are any, as JSON lines; the transactions' path.

    They are mixed, as what is delivered is: nine in ten transactions have a shape of their own
    (fields and objects that nobody declared, lists, quotes and letters as escapes), one in seven
    lacks fields, one in fifty is not valid, and one in thirty was written before the day before.
    """
    place = folder / day_text(number)
    place.mkdir(parents=True, exist_ok=True)
    for name, lines in (
        ("agents", (_agent(n, number) for n in range(1, agents + 1))),
        ("groups", (_group(n, number, agents) for n in range(1, groups + 1))),
    ):
        if records := [_nested(f"stg_{name}", line) for line in lines]:
            _write_json(place / f"{name}.jsonl", records)
    path = place / "transactions.jsonl"
    _write_json(path, (_mixed(row, number) for row in transactions))
    return path


def _mixed(row: int, day: int) -> dict[str, Any]:
    version = day_text(day - 2 if row % 30 == 0 else day)
    record = _nested("stg_transactions", _transaction(row, version)) | SHAPES[row % len(SHAPES)]
    if row % 7 == 0:
        del record["userUuid"], record["merchantName"]
    if row % 50 == 5:
        record["currencyData"] = None
    return record


def _nested(table: str, line: str) -> dict[str, Any]:
    """A CSV line as the JSON object that the declaration expects."""
    record: dict[str, Any] = {}
    (cells,) = csv.reader([line])
    for column, cell in zip(declared_tables()[table].columns, cells, strict=True):
        holder = record
        for step in column.places[0][:-1]:
            holder = holder.setdefault(step, {})
        literal = cell.isdigit() or cell in ("true", "false") or cell.startswith("[")
        holder[column.places[0][-1]] = json.loads(cell) if literal else cell or None
    return record


def _write_json(path: Path, records: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as lines:
        for row, record in enumerate(records):
            lines.write(json.dumps(record, ensure_ascii=row % 2 == 0) + "\n")
