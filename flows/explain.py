"""A record's whole story: `daybook explain agents 9001`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

from flows.command import guarded
from flows.pages.read import Row, ask, kind_of_days
from flows.report import wrapped
from loaders import warehouse
from loaders.days import Day
from loaders.errors import DaybookError, UsageError, guess
from loaders.sources import declared_tables

if TYPE_CHECKING:
    from psycopg import Connection

READERS = ("silver", "metrics", "marts")
PRESENCE = ("status", "is_present", "first_seen_day", "last_seen_day")


def read_story(connection: Connection, table: str, key: list[str], values: bool) -> dict[str, Any]:
    """Each day's record of a key with what it came to, what silver says, and what reads it.

    Values of fields, which may be a person's, are in it only with `values`. UsageError for a table
    or a key that can't be, DaybookError where no record has the key.
    """
    entity = _entity(table)
    names = declared_tables()[f"stg_{entity}"].key
    if len(key) != len(names):
        wanted = " ".join(name.upper() for name in names)
        raise UsageError(f"{entity} has the key {', '.join(names)}: explain {entity} {wanted}.")
    records = _where(connection, f"intermediate.int_{entity}_records", names, key)
    if not records:
        raise DaybookError(
            f"No record of {entity} with the key {' '.join(key)} has been landed and built. "
            "bronze.load_rejects has what could not be landed."
        )
    held = next(iter(_where(connection, f"silver.{entity}", names, key)), None)
    kind = kind_of_days(connection)

    def text(day: date) -> str:
        return Day(day, kind).text

    days = [_told(record, held, text(record["_day"])) for record in records]
    _add_changes(days, records, values)
    days += [{"day": text(day), **gone} for day, gone in _absences(connection, entity, records)]
    return {
        "table": entity,
        "key": dict(zip(names, key, strict=True)),
        "silver": held and {name: _shown(held[name], text) for name in PRESENCE if name in held},
        "days": sorted(days, key=lambda told: told.pop("at")),
        "read_by": _readers(connection, entity, names, key),
    }


def _shown(value: Any, text: Callable[[date], str]) -> str:
    return text(value) if isinstance(value, date) else str(value)


def _entity(table: str) -> str:
    """What keeps the table's records; UsageError for one that is not there."""
    name = table.rpartition(".")[2].removeprefix("stg_")
    entities = [declared.removeprefix("stg_") for declared in declared_tables()]
    if name not in entities:
        there = f"there are {', '.join(entities)}.{guess(name, entities)}"
        raise UsageError(f"{table}: no such table; {there}")
    return declared_tables()[f"stg_{name}"].entity


def _where(
    connection: Connection, relation: str, names: tuple[str, ...], key: list[str]
) -> list[Row]:
    import psycopg
    from psycopg import sql

    same = sql.SQL(" and ").join(sql.SQL("{} = %s").format(sql.Identifier(n)) for n in names)
    query = sql.SQL("select * from {} where {} order by _day, _source_file, _source_row").format(
        sql.Identifier(*relation.split(".")), same
    )
    try:
        return ask(connection, query.as_string(connection), key)
    except psycopg.DataError:
        raise UsageError(f"{' '.join(key)}: that is no {', '.join(names)}.") from None


def _told(record: Row, held: Row | None, day: str) -> dict[str, Any]:
    place = ("_day", "_batch_id", "_source_file", "_source_row")
    return {
        "at": (record["_day"], 0),
        "day": day,
        "table": record["_source_table"],
        "file": record["_source_file"],
        "row": record["_source_row"],
        "outcome": record["_outcome"] or "quarantined",
        "reasons": record["_errors"],
        "in_silver": bool(held) and all(record[name] == held[name] for name in place if held),
    }


def _add_changes(days: list[dict[str, Any]], records: list[Row], values: bool) -> None:
    """What each record says otherwise than the one before it in the same table."""
    before: dict[str, Row] = {}
    for told, record in zip(days, records, strict=True):
        last = before.get(record["_source_table"])
        before[record["_source_table"]] = record
        fields = [name for name in record if not name.startswith("_")]
        changed = [name for name in fields if last is not None and record[name] != last[name]]
        told["changed"] = changed
        if values:
            shown = changed if last else [name for name in fields if record[name] is not None]
            told["values"] = {name: str(record[name]) for name in shown}


def _absences(
    connection: Connection, entity: str, records: list[Row]
) -> list[tuple[Any, dict[str, Any]]]:
    """Applied days whose complete list lacks the key, once the list has had it."""
    on = {(record["_source_table"], record["_day"]) for record in records}
    since = {table: min(day for of, day in on if of == table) for table, _ in on}
    applied = connection.execute(
        "select day, table_name from metrics.applied_batches"
        " where model = %s and table_name = any(%s) order by table_name, day",
        [entity, [table for table in since if declared_tables()[table].kind == "snapshot"]],
    ).fetchall()
    return [
        (day, {"at": (day, 1), "table": table, "outcome": "not listed"})
        for day, table in applied
        if day > since[table] and (table, day) not in on
    ]


def _readers(
    connection: Connection, entity: str, names: tuple[str, ...], key: list[str]
) -> dict[str, int]:
    """Rows about the key in what is built from silver: relation → how many."""
    from psycopg import sql

    relations = connection.execute(
        """
        select relnamespace::regnamespace::text, relname from pg_class
        where relnamespace::regnamespace::text = any(%(layers)s) and relkind in ('r', 'v', 'm')
            and (relnamespace::regnamespace::text, relname) <> ('silver', %(entity)s)
            and %(key)s::text[] <@ array(
                select attname::text from pg_attribute where attrelid = pg_class.oid and attnum > 0
            )
        order by array_position(%(layers)s, relnamespace::regnamespace::text), relname
        """,
        {"layers": list(READERS), "entity": entity, "key": list(names)},
    ).fetchall()
    same = sql.SQL(" and ").join(sql.SQL("{}::text = %s").format(sql.Identifier(n)) for n in names)
    count = sql.SQL("select count(*) from {} where {}")
    found = {}
    for schema, name in relations:
        query = count.format(sql.Identifier(schema, name), same)
        [(rows,)] = connection.execute(query, key).fetchall()
        found[f"{schema}.{name}"] = rows
    return {relation: rows for relation, rows in found.items() if rows}


def print_story(story: dict[str, Any]) -> None:
    """The story for people, a day after the other."""
    key = " ".join(story["key"].values())
    held = story["silver"]
    said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in (held or {}).items())
    state = f"in silver{': ' if said else ''}{said}" if held is not None else "not in silver"
    print(wrapped(f"{story['table']} {key} is {state}"))
    print()
    for day in story["days"]:
        if day["outcome"] == "not listed":
            print(wrapped(f"{day['day']:<12}not listed   in {day['table']}", 12))
            continue
        won = "  ← what silver holds" if day["in_silver"] else ""
        where = f"{day['file']} row {day['row']}{won}"
        print(wrapped(f"{day['day']:<12}{day['outcome']:<13}{where}", 25))
        for name in ("reasons", "changed"):
            if day[name] and not (name == "changed" and "values" in day):
                print(" " * 25 + wrapped(f"{name}: {', '.join(day[name])}", 27))
        for name, value in day.get("values", {}).items():
            print(" " * 25 + wrapped(f"{name}: {value}", 27))
    if story["read_by"]:
        print("\nread by")
    for relation, rows in story["read_by"].items():
        print(f"  {relation:<35} {rows:,} row{'s' if rows != 1 else ''}")


def main(argv: list[str] | None = None, prog: str = "python -m flows.explain") -> int:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Each day's record of a key, what it came to and why, who won, what reads it.",
        epilog="examples: %(prog)s agents 9001; %(prog)s group_memberships GROUP AGENT",
    )
    parser.add_argument("table", help="agents, groups, group_memberships, transactions, cards …")
    parser.add_argument("key", nargs="+", help="its key, each part a word")
    parser.add_argument("--values", action="store_true", help="show what the fields say, too")
    parser.add_argument("--json", action="store_true", help="for a program")
    given = parser.parse_args(argv)

    def command() -> int:
        _entity(given.table)  # before the warehouse is looked for
        if warehouse.is_embedded():
            warehouse.start()
        with warehouse.connect(application_name="daybook explain", autocommit=True) as connection:
            warehouse.check_ready(connection)
            story = read_story(connection, given.table, given.key, given.values)
        print(json.dumps(story, indent=2)) if given.json else print_story(story)
        return 0

    return guarded(command)


if __name__ == "__main__":
    sys.exit(main())
