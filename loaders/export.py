"""Writes a table of silver, quarantine, marts or metrics to a file: xlsx, CSV or Parquet."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from loaders import warehouse
from loaders.arguments import command, option
from loaders.errors import UsageError, guess, many
from loaders.personal import personal
from loaders.process import whole

FORMATS = (".xlsx", ".csv", ".parquet")
SCHEMAS = ("marts", "silver", "quarantine", "metrics")
SHEET_ROWS = 1_048_575  # Excel's limit, without the header
CELL = 32_767  # characters, Excel's limit
_CONTROL = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f]")  # not allowed in XML
# A spreadsheet runs text that begins so as a formula, and others have written these texts.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def export_table(table: str, to: Path, with_personal: bool = False) -> tuple[int, list[str]]:
    """Write `table` (`marts.unused_access`, or `unused_access` for the first schema that has it)
    in the format of the file's ending, whole or not at all. Returns the number of rows, and the
    columns that were left out because the declaration calls them personal.

    In a sheet or a CSV, text that would be a formula gets an apostrophe. UsageError for a table
    that is not there, another ending, and more rows or longer cells than a sheet holds.
    """
    import pandas
    from psycopg import sql

    form = to.suffix.lower()
    if not to.parent.is_dir():
        raise UsageError(f"{to}: no such folder is there.")
    if form not in FORMATS:
        raise UsageError(f"{to.name}: the ending says the format: {', '.join(FORMATS)}.")
    with warehouse.connect(application_name="daybook export", autocommit=True) as conn:
        schema, name = _relation(conn, table)
        cursor = conn.execute(sql.SQL("select * from {}").format(sql.Identifier(schema, name)))
        rows = cursor.fetchall()
        names = [column.name for column in cursor.description or ()]
    if form == ".xlsx" and len(rows) > SHEET_ROWS:
        raise UsageError(f"{schema}.{name} has {len(rows):,} rows, more than a sheet holds: .csv.")
    dtype = None if form == ".parquet" else object
    left_out = [] if with_personal else personal(name, names)
    cells = [[_cell(form, value) for value in row] for row in rows]
    frame = pandas.DataFrame(cells, columns=names, dtype=dtype).drop(columns=left_out)
    with whole(to) as new, new.open("wb") as file:
        if form == ".xlsx":
            lengths = {column: frame[column].astype(str).str.len().max() for column in frame}
            if too_long := [column for column in lengths if lengths[column] > CELL]:
                raise UsageError(
                    f"A cell holds {CELL:,} characters, a value of {too_long[0]} more: .csv."
                )
            frame.to_excel(file, index=False, sheet_name=name[:31])
        elif form == ".csv":
            frame.to_csv(file, index=False)
        else:
            frame.to_parquet(file, index=False)
    return len(rows), left_out


def _relation(conn: Any, table: str) -> tuple[str, str]:
    relations = conn.execute(
        "select relnamespace::regnamespace::text, relname from pg_class where relkind in ('r', 'v')"
    ).fetchall()
    by_name = {}
    for wanted in reversed(SCHEMAS):
        for schema, name in relations:
            if schema == wanted:
                by_name[name] = by_name[f"{schema}.{name}"] = (schema, name)
    if table not in by_name:
        raise UsageError(f"{table}: no such table in {', '.join(SCHEMAS)}.{guess(table, by_name)}")
    return by_name[table]


def _cell(form: str, value: Any) -> Any:
    """The value with JSON as text; but for Parquet without formulas, and times with a zone as text,
    since a sheet's have none."""
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False, default=str)
    if form != ".parquet" and isinstance(value, str):
        text = _CONTROL.sub("\ufffd", value) if form == ".xlsx" else value
        return "'" + text if text.startswith(_FORMULA) else text
    return value.isoformat() if form != ".parquet" and getattr(value, "tzinfo", None) else value


@command(
    "loaders.export",
    "Write a table of silver, quarantine, marts or metrics to a file for people.",
    "example: %(prog)s marts.unused_access --to unused.xlsx",
    option("table", help="marts.unused_access, silver.agents, quarantine.cards …"),
    option("--to", required=True, metavar="FILE", help="what to write: .xlsx, .csv or .parquet"),
    option("--personal", action="store_true", help="with what is declared personal (pii)"),
)
def main(args: argparse.Namespace) -> None:
    warehouse.wake()
    rows, left_out = export_table(args.table, Path(args.to), args.personal)
    without = f", without {', '.join(left_out)} (--personal has them)" if left_out else ""
    print(f"{args.to}: {many(rows, 'row')}{without}")


if __name__ == "__main__":
    sys.exit(main())
