"""Small days dense in edge cases, as hypothesis draws them, and as files a loader can land."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from loaders.sources import declared_tables
from tests.fold_records import COLUMNS, Batch

Rows = list[dict[str, str | None]]
Tables = dict[str, dict[str, Rows]]  # table → file → records

BIG = "9007199254740993"
AGENTS = ["1", "1", "2", "2", "3", "4", BIG, " 2", "007", "u-9"]
GROUPS = ["10", "10", "11", "12", "13", "+11", "eng"]
NO_TIME = ["today", "03/04/2024", "2026-02-30", "infinity"]
# The first three are one moment: winners by day, file and row.
TIMES = ["2026-01-05T08:00:00Z", "2026-01-05 08:00", "2026-01-05T13:30:00.000+0530"]
TIMES += ["2026-01-04", "2026-01-06T08:00:00.1234567z", "2026-01-06 08:00:00.5 UTC"]
LISTS = ["[]", "[1]", "[1, 2]", "[2, 3, 2]", '["3", 1]', f"[4, {BIG}]", "[9]", "[1, 9]", "[1.0]"]
LISTS += ['["u-9", " 2"]']
BAD_LISTS = ["oops", '[1, " "]', '{"a": 1}', "[1, null]", "[true]", '["9.00101E+11"]', "1"]


def _mostly(good: list[Any], *odd: Any) -> st.SearchStrategy:
    """One of `good`; one time in ten one of `odd`."""
    return st.sampled_from([*good * -(-9 * len(odd) // len(good)), *odd])


def _agent(**more: st.SearchStrategy) -> st.SearchStrategy:
    return st.fixed_dictionaries(
        {
            "agent_id": _mostly(AGENTS, " ", "9.00101E+11"),
            "email": _mostly(["a@example.com"], None, " "),
            "name": _mostly(["Ada"], None),
            "job_title": st.sampled_from(["Tester", "Painter", None]),
            "contact_active": _mostly(["true", "True", None], "false", "maybe"),
            "deactivated": _mostly(["false", None], "true", "TRUE", "1"),
            "updated_at": _mostly([*TIMES, None], *NO_TIME),
            **more,
        }
    )


_RECORDS = {
    "stg_agents": _agent(),
    "stg_agent_details": _agent(
        role_ids=_mostly(["[]", "[501]", None], "oops", "{}", "[501, null]"),
        group_ids=st.just("[10]"),
    ),
    "stg_groups": st.fixed_dictionaries(
        {
            "group_id": _mostly(GROUPS, " ", "1E+5"),
            "name": st.sampled_from(["Ops", "Dev", None]),
            "parent_group_id": _mostly([None, "10", "11", "12", "99"], "9.1e+10"),
            "agent_ids": st.sampled_from([*LISTS * 4, *BAD_LISTS, *[None, "null"] * 4]),
            "updated_at": _mostly([*TIMES, None], *NO_TIME),
        }
    ),
    "stg_group_memberships": st.fixed_dictionaries(
        {
            "group_id": _mostly([*GROUPS, "14"], "1e+9", None),
            "agent_id": _mostly([*AGENTS, "9"], "1e-9", " "),
        }
    ),
    "stg_transactions": st.fixed_dictionaries(
        {
            "transaction_id": _mostly(["a", "b", "c", "d"], " ", None),
            "transaction_uuid": _mostly(["u"], None),
            "transaction_type": st.sampled_from(["CLEARING", "REFUND"]),
            "occurred_time": _mostly(TIMES, None, *NO_TIME),
            "updated_time": _mostly([*TIMES, None], *NO_TIME),
            "merchant_name": st.sampled_from(["Pear Cloud", "Widget Works"]),
            "amount_minor": _mostly(["1000", "1", "-1", "9" * 30], "NaN", "1.5", "1e3", None),
            "exponent": _mostly(["2", "0", "8"], "9", "-1", "2.0", None),
            "currency": _mostly(["USD", "EUR", "JPY"], "usd", "XQQ", None),
            "exchange_rate": _mostly(["1.10", "6.5e-3", "0.005"], "0", "-1", None, "Infinity"),
            "child_transaction_ids": _mostly(["[]", '["b"]', None], "b", "null", '[{"id": "b"}]'),
        }
    ),
    "stg_cards": st.fixed_dictionaries(
        {
            "card_id": _mostly(["c1", "c2", " c2", "c3"], " ", None),
            "user_id": st.sampled_from(["1", "+1", None]),
            "status": _mostly(["ACTIVE", "TERMINATED"], None),
            "type": _mostly(["VIRTUAL"], " "),
            "recurring": _mostly(["true", "False", None], "maybe"),
            "current_spent": _mostly(["1.10", "1.1", "5e2", None], "NaN"),
            "created_time": _mostly(TIMES, None, *NO_TIME),
            "updated_time": _mostly([*TIMES, None], *NO_TIME),
        }
    ),
    "stg_fx_rates": st.fixed_dictionaries(
        {
            # the last one is too old for every transaction
            "rate_date": _mostly(["2026-01-05", "2025-12-30", "2025-12-28", "2025-12-20"], "today"),
            "currency": _mostly(["EUR", "JPY"], "XQQ", None),
            "usd_per_unit": _mostly(["1.25", "1.2500", "0.5"], "0", "-1", "NaN"),
        }
    ),
}
_OPTIONAL = {"stg_agent_details", "stg_group_memberships", "stg_cards", "stg_fx_rates"}


@dataclass(frozen=True)
class World:
    """Contents of days, each in one or more versions, and the order in which they are landed:
    (number of the day, version, whether a build follows)."""

    days: dict[int, list[Tables]]
    steps: list[tuple[int, int, bool]]


@st.composite
def _table(draw: st.DrawFn, table: str, most: int) -> dict[str, Rows]:
    """A file, or a folder of two pages."""
    name = table.removeprefix("stg_")
    ending = draw(st.sampled_from(["csv", "json"]))
    rows = draw(st.lists(_RECORDS[table], min_size=most // 2, max_size=most))
    cut = len(rows) // 2
    pages = [rows] if draw(st.booleans()) else [rows[:cut], rows[cut:]]
    key = declared_tables()[table].key
    if any(all(None in map(row.get, key) for row in page) for page in pages if page):
        ending = "csv"  # JSON none of whose records has the key is refused
    if len(pages) == 1:
        return {f"{name}.{ending}": rows}
    return {f"{name}/{number}.{ending}": page for number, page in enumerate(pages, start=1)}


@st.composite
def tables(draw: st.DrawFn, most: int = 8) -> Tables:
    """One version of one day; now and then without an optional table."""
    return {
        table: draw(_table(table, most))
        for table in _RECORDS
        if table not in _OPTIONAL or draw(st.sampled_from([True, True, False]))
    }


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Two to four days, some in two versions, landed in any order and some of them again."""
    count = draw(st.integers(2, 4))
    days = {
        number: [draw(tables()) for _ in range(draw(st.sampled_from([1, 1, 2])))]
        for number in range(1, count + 1)
    }
    steps = [
        (number, version) for number, versions in days.items() for version in range(len(versions))
    ]
    steps += draw(st.lists(st.sampled_from(steps), min_size=1, max_size=2))
    order = draw(st.permutations(steps))
    builds = [
        *draw(st.lists(st.booleans(), min_size=len(order) - 1, max_size=len(order) - 1)),
        True,
    ]
    return World(days, [(*step, build) for step, build in zip(order, builds, strict=True)])


def stored_day(number: int) -> date:
    return date(1970, 1, 1) + timedelta(days=number)


def batches(number: int, content: Tables) -> dict[tuple[str, date], Batch]:
    """A landed day as the oracle takes it."""
    day = stored_day(number)
    return {(table, day): Batch(table, day, files) for table, files in content.items()}


def write_day(folder: Path, content: Tables) -> None:
    """The day's files, in place of what `folder` holds."""
    shutil.rmtree(folder, ignore_errors=True)
    for table, files in content.items():
        for name, rows in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            as_text = _csv if name.endswith(".csv") else _json
            path.write_text(as_text(table, rows), encoding="utf-8")


def _csv(table: str, rows: Rows) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(COLUMNS[table]), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _json(table: str, rows: Rows) -> str:
    return json.dumps([_json_record(table, row) for row in rows])


def _json_record(table: str, row: dict[str, str | None]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for column in declared_tables()[table].columns:
        if column.name in row:
            *parents, last = column.places[0]
            place = record
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = _json_value(column.name, column.data_type, row[column.name])
    return record


def _json_value(name: str, data_type: str, text: str | None) -> Any:
    """Arrays, booleans and ids as an export has them; what is none of them as a string."""
    if text and (data_type in ("jsonb", "boolean") or (text.isdigit() and name.endswith("_id"))):
        try:
            return json.loads(text)
        except ValueError:
            pass
    return text
