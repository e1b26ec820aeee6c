"""What there is to land: every table's files, looked at and hashed before any write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loaders import ledger, prepared, warehouse
from loaders.days import Day
from loaders.errors import DaybookError, UsageError
from loaders.files import Place, RawFile, UnreadableError, day_folder, entity_files, opened, sha256
from loaders.read_csv import csv_has_record, csv_header
from loaders.read_json import has_record
from loaders.read_parquet import scan_parquet
from loaders.sources import Table, declared_tables

# Part of every fingerprint: raise it when the same bytes land otherwise than before.
READER_VERSION = 2


@dataclass(frozen=True)
class Scanned:
    """A raw file and what was read of it: `records` is None where reading it is what counts them.

    `plain`: its bytes can go to COPY as they are. `header`: the names of a CSV or Parquet file.
    """

    file: RawFile
    sha256: str
    header: tuple[str, ...] | None = None
    records: int | None = None
    plain: bool = False


@dataclass(frozen=True)
class Plan:
    """One table of a day. `files` is None when it isn't there; `error` is why it can't land;
    `prepared` is what Spark has read of them."""

    table: Table
    day: Day
    files: tuple[Scanned, ...] | None
    fingerprint: str | None
    error: str | None = None
    prepared: prepared.Prepared | None = None

    @property
    def to_read(self) -> tuple[RawFile, ...]:
        """The files that landing reads: the raw ones, or what Spark made of them."""
        if self.prepared:
            return self.prepared.parts
        return tuple(scanned.file for scanned in self.files or ())


def plan_day(
    data: str | Path,
    day: Day,
    tables: list[str] | None = None,
    *,
    allow_empty: bool = False,
) -> list[Plan]:
    """Look at all that `day` has for `tables` (all declared ones by default); writes nothing.

    DaybookError, naming every problem, when a required table is missing, its names, paths or
    headers can't be used, or it is an empty snapshot. What is wrong with an optional table, or
    inside of a file, is the plan's `error`: that table fails, in the ledger.
    """
    chosen = _chosen(tables)
    folder = day_folder(data, day)
    with warehouse.connect(application_name="daybook plan", day=day, autocommit=True) as conn:
        warehouse.check_ready(conn)
        ledger.check_calendar(conn, day)
    if prepared.is_prepared(folder):
        return [_plan_prepared(found, day) for found in prepared.read(folder, chosen)]
    return plan_tables(folder, chosen, day, allow_empty=allow_empty)


def plan_tables(
    folder: Place,
    tables: list[Table],
    day: Day,
    *,
    allow_empty: bool = False,
    scan: Callable[[list[RawFile], Table], list[Scanned]] | None = None,
) -> list[Plan]:
    """As plan_day, for a day's folder and without a warehouse; `scan` looks at a table's files."""
    plans, problems = [], []
    for table in tables:
        try:
            plans.append(_plan_table(folder, table, day, allow_empty, scan or _scan_all))
        except UnreadableError as error:
            plans.append(Plan(table, day, (), None, str(error)))
        except DaybookError as error:
            if table.required:
                problems.append(f"{table.name}: {error}")
            else:
                plans.append(Plan(table, day, (), None, str(error)))
    if problems:
        raise DaybookError("\n".join([*problems, "Nothing was landed."]))
    return plans


def _chosen(names: list[str] | None) -> list[Table]:
    declared = declared_tables()
    if names is None:
        return list(declared.values())
    for name in names:
        if name not in declared:
            raise UsageError(f"{name}: no such table; declared are {', '.join(declared)}.")
    return [declared[name] for name in dict.fromkeys(names)]


def _plan_prepared(found: prepared.Prepared, day: Day) -> Plan:
    """Files that Spark has read already: their fingerprint is the one they have by themselves."""
    if found.files is None:
        return Plan(found.table, day, None, None)
    if found.error and not found.files:
        return Plan(found.table, day, (), None, found.error)
    files = tuple(Scanned(file, digest) for file, digest in found.files)
    return Plan(found.table, day, files, _fingerprint(found.table, files), found.error, found)


def _scan_all(files: list[RawFile], table: Table) -> list[Scanned]:
    return [scan(file, table) for file in files]


def _plan_table(
    folder: Place,
    table: Table,
    day: Day,
    allow_empty: bool,
    scan: Callable[[list[RawFile], Table], list[Scanned]],
) -> Plan:
    files = entity_files(folder, table)
    if files is None:
        if table.required:
            names = " or ".join(f"{name}.<ext> or {name}/" for name in table.found_under)
            raise DaybookError(f"it is required, and {folder} has no {names}.")
        return Plan(table, day, None, None)
    scanned = tuple(scan(files, table))
    must_have_records = table.required and table.kind == "snapshot" and not allow_empty
    if must_have_records and not any(_has_record(found) for found in scanned):
        raise DaybookError(
            f"{folder}: no record in its files. An empty list would switch everything off; "
            "if that is right, land it with --allow-empty."
        )
    return Plan(table, day, scanned, _fingerprint(table, scanned))


def scan(file: RawFile, table: Table) -> Scanned:
    """Hash a file and read its header; DaybookError when that can't be used."""
    if file.format == "json":
        return Scanned(file, sha256(file))
    if file.format == "parquet":
        digest = sha256(file)
        names, records = scan_parquet(file)
        _check_key(file, names, table)
        return Scanned(file, digest, names, records)
    header = csv_header(file)
    if header is None:
        return Scanned(file, sha256(file), None, 0)
    _check_key(file, header, table)
    # Of a single column, COPY takes a blank line for a record.
    plain = len(header) > 1 and set(header) <= set(table.column_names)
    return Scanned(file, sha256(file), header, plain=plain)


def _check_key(file: RawFile, header: tuple[str, ...], table: Table) -> None:
    if missing := [name for name in table.key if name not in header]:
        raise DaybookError(f"{file.path}: the key column {', '.join(missing)} is missing.")


def _has_record(scanned: Scanned) -> bool:
    if scanned.records is not None:
        return scanned.records > 0
    try:
        if scanned.file.format == "csv":
            return csv_has_record(scanned.file)
        with opened(scanned.file) as stream:
            return has_record(scanned.file, stream)
    except UnreadableError:
        return True  # not empty; landing says what is wrong with it


def _fingerprint(table: Table, files: tuple[Scanned, ...]) -> str:
    content = {
        "files": [(found.file.path, found.file.bytes, found.sha256) for found in files],
        "columns": [(column.name, *column.json_path) for column in table.columns],
        "reader": READER_VERSION,
        "max_reject_share": table.max_reject_share,
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
