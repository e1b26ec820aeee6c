"""A record's whole story: `daybook explain agents 9001`."""

from __future__ import annotations

import argparse
import re
import sys
from datetime import date
from typing import TYPE_CHECKING, Any

from flows.pages.read import Row, ask, kind_of_days, question, rows
from flows.pages.render import show
from loaders import warehouse
from loaders.arguments import JSON, command, option
from loaders.days import Day
from loaders.errors import DaybookError, UsageError, guess
from loaders.personal import A_WORD, personal
from loaders.sources import declared_tables

if TYPE_CHECKING:
    from psycopg import Connection

PRESENCE = ("status", "is_present", "first_seen_day", "last_seen_day")
PLACE = ("_day", "_batch_id", "_source_file", "_source_row")
MASK = "(personal: --personal shows it)"


def read_story(
    connection: Connection, table: str, key: list[str], values: bool, with_personal: bool = False
) -> dict[str, Any]:
    """A key's records with their outcomes, day by day; its row in silver; and what reads that row.

    Values of fields are included only with `values`, and personal ones, as the declaration names
    them, only with `with_personal`. UsageError when there is no such table or the key has another
    number of columns, DaybookError when no record has the key.
    """
    from psycopg import sql

    entity = _entity(table)
    names = declared_tables()[f"stg_{entity}"].key
    if len(key) != len(names):
        wanted = " ".join(name.upper() for name in names)
        raise UsageError(f"{entity} has the key {', '.join(names)}: explain {entity} {wanted}.")
    values_by_name = dict(zip(names, key, strict=True))
    snapshots = [each.name for each in declared_tables().values() if each.kind == "snapshot"]
    equal = [sql.SQL("{}::text = {}").format(sql.Identifier(n), sql.Placeholder(n)) for n in names]
    is_it = sql.SQL(" and ").join(equal)

    def rows_of_key(query: str, *relation: str) -> list[Row]:
        whole = sql.SQL(query).format(relation=sql.Identifier(*relation), is_it=is_it)
        return rows(connection, whole, {**values_by_name, "entity": entity, "snapshots": snapshots})

    records = rows_of_key(question("records"), "intermediate", f"int_{entity}_records")
    if not records:
        raise DaybookError(
            f"No record of {entity} with the key {' '.join(key)} has been landed and built. "
            "bronze.load_rejects has what could not be landed."
        )
    held = next(iter(rows_of_key("select * from {relation} where {is_it}", "silver", entity)), None)
    kind = kind_of_days(connection)

    def shown(value: Any) -> str:
        return Day(value, kind).text if isinstance(value, date) else str(value)

    read_by = {}
    for each in ask(connection, "readers", entity=entity, key=[*names]):
        count = "select count(*) from {relation} where {is_it}"
        [row] = rows_of_key(count, each["layer"], each["name"])
        read_by[f"{each['layer']}.{each['name']}"] = row["count"]
    days = []
    for record in records:
        day = {"day": shown(record["_day"]), "table": record["_source_table"]}
        day["outcome"] = record["outcome"]
        days.append(day)
        if record["fields"] is None:  # no record: the day's snapshot lacks the key
            continue
        day |= {
            "file": record["_source_file"],
            "row": record["_source_row"],
            "reasons": record["reasons"],
            "in_silver": bool(held) and all(record[name] == held[name] for name in PLACE if held),
            "changed": record["changed"],
        }
        if values or with_personal:
            fields = record["fields"]
            first = [name for name in fields if fields[name] is not None and record["is_first"]]
            wrong = [name for name in fields if f"{name}_invalid" in (record["reasons"] or ())]
            hidden = {name for name in wrong if not re.match(A_WORD, str(fields[name]))}
            hidden = set() if with_personal else hidden.union(personal(entity, fields))
            day["values"] = {
                name: MASK if name in hidden and fields[name] else fields[name]
                for name in first or record["changed"]
            }
    return {
        "table": entity,
        "key": values_by_name,
        "silver": held and {name: shown(held[name]) for name in PRESENCE if name in held},
        "days": days,
        "read_by": {relation: count for relation, count in read_by.items() if count},
    }


def _entity(table: str) -> str:
    """The entity that has the table's records; UsageError when there is no such table."""
    name = table.rpartition(".")[2].removeprefix("stg_")
    entities = [declared.removeprefix("stg_") for declared in declared_tables()]
    if name not in entities:
        there = f"there are {', '.join(entities)}.{guess(name, entities)}"
        raise UsageError(f"{table}: no such table; {there}")
    return declared_tables()[f"stg_{name}"].entity


@command(
    "flows.explain",
    "Each day's record of a key: its outcome, why, which one won, what reads it.",
    "example: %(prog)s agents 9001 --values",
    option("table", help="agents, groups, group_memberships, transactions, cards …"),
    option("key", nargs="+", help="its key; of several columns (GROUP AGENT) a word each"),
    option("--values", action="store_true", help="show the fields' values"),
    option("--personal", action="store_true", help="with --values: personal ones too"),
    JSON,
)
def main(args: argparse.Namespace) -> None:
    _entity(args.table)  # before the warehouse is looked for
    warehouse.wake()
    with warehouse.connect(application_name="daybook explain", autocommit=True) as connection:
        warehouse.check_ready(connection)
        story = read_story(connection, args.table, args.key, args.values, args.personal)
    show("explain", story, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
