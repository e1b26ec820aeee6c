"""What there is to land: every table's files, scanned and hashed before any write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path

from loaders import ledger, prepared, readers, warehouse
from loaders.days import Day
from loaders.errors import DaybookError, UsageError
from loaders.files import day_folder, entity_files, names_in, unused_files
from loaders.raw_file import Place, RawFile
from loaders.readers.formats import has_record, scan
from loaders.readers.mapping import Mapping
from loaders.readers.rows import UnreadableError
from loaders.readers.values import hashed
from loaders.schema import Table
from loaders.sources import declared_tables


@dataclass(frozen=True)
class Plan:
    """One table of a day. `files` is None when it isn't there; `error` is why it can't land;
    `prepared` is the files as Spark read them; `may_be_empty`: it may have no records."""

    table: Table
    day: Day
    files: tuple[RawFile, ...] | None
    error: DaybookError | None = None
    prepared: prepared.Prepared | None = None
    may_be_empty: bool = False

    @property
    def to_read(self) -> tuple[RawFile, ...]:
        """The files that landing reads: the raw ones, or what Spark made of them."""
        return self.prepared.rows if self.prepared else self.files or ()

    @cached_property
    def fingerprint(self) -> str | None:
        """A hash of the table's files and of how they are read; None when it has none."""
        if self.files is None or (self.error and not self.files):
            return None
        content = {
            "files": [(one.path, one.bytes, one.sha256) for one in self.files],
            # all that the declaration says about how they are read
            "table": astuple(self.table),
            "reader": readers.VERSION,
            # another key gives other hashes
            "key": hashed("key") if self.table.hashes else None,
        }
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def plan_day(
    data: str | Path,
    day: Day,
    tables: list[str] | None = None,
    *,
    allow_empty: bool = False,
    sources: str | Path | None = None,
) -> list[Plan]:
    """Scan the files that `day` has for `tables` (by default all declared ones); writes nothing.

    `sources` is an overlay of the declaration (default: DAYBOOK_SOURCES). DaybookError, naming
    every problem, when a required table is missing, its names, paths or headers can't be used, or
    it is an empty snapshot. What is wrong with an optional table, or inside of a file, is the
    plan's `error`: that table fails, in the ledger.
    """
    declared = declared_tables(sources)
    for name in tables or ():
        if name not in declared:
            raise UsageError(f"{name}: no such table; declared are {', '.join(declared)}.")
    chosen = [declared[name] for name in dict.fromkeys(declared if tables is None else tables)]
    folder = day_folder(data, day)
    with ledger.connect(day) as conn:
        warehouse.check_ready(conn)
        ledger.check_calendar(conn, day)
    return plan_tables(folder, chosen, day, allow_empty=allow_empty)


def unused(data: str | Path, day: Day, sources: str | Path | None = None) -> dict[str, str]:
    """The day's files that no table uses, and the nearest table's name for each."""
    folder = day_folder(data, day)
    if prepared.is_prepared(folder):
        return dict(prepared.manifest(folder)["unused"])
    return unused_files(folder, declared_tables(sources).values())


def _scan_all(files: list[RawFile], table: Table) -> list[RawFile]:
    mapping = Mapping(table)
    return [scan(file, mapping) for file in files]


def plan_tables(
    folder: Place,
    tables: list[Table],
    day: Day,
    *,
    allow_empty: bool = False,
    scan_all: Callable[[list[RawFile], Table], list[RawFile]] = _scan_all,
) -> list[Plan]:
    """As plan_day, for a day's folder and without a warehouse; `scan_all` scans a table's files."""
    if prepared.is_prepared(folder):
        return [
            Plan(table, day, files, error, rows, allow_empty)
            for table, files, error, rows in prepared.read(folder, tables)
        ]
    plans, problems = [], []
    if any(table.hashes for table in tables):
        hashed(None)  # a key that is missing is found before anything is looked at
    for table in tables:
        try:
            plans.append(_plan_table(folder, table, day, allow_empty, scan_all))
        except DaybookError as error:
            if table.required and not isinstance(error, UnreadableError):
                problems.append(f"{table.name}: {error}")
            else:
                plans.append(Plan(table, day, (), error))
    if problems:
        raise DaybookError("\n".join([*problems, "Nothing was landed."]))
    return plans


def _plan_table(
    folder: Place,
    table: Table,
    day: Day,
    allow_empty: bool,
    scan_all: Callable[[list[RawFile], Table], list[RawFile]],
) -> Plan:
    files = entity_files(folder, table)
    if files is None:
        names = " or ".join(f"{name}.<ext> or {name}/" for name in table.found_under)
        if table.name in (there := names_in(folder)):
            raise DaybookError(
                f"{folder}/{table.name}: a reading by Spark that was ended leaves such a folder: "
                f"repeat it. If it is raw data, call it {names}."
            )
        if table.required:
            listed = ", ".join(there[:10]) or "nothing"
            raise DaybookError(f"it is required, and {folder} has no {names}; there: {listed}.")
        return Plan(table, day, None)
    scanned = tuple(scan_all(files, table))
    may_be_empty = allow_empty or table.kind == "delta"
    must_have_records = table.required and not may_be_empty
    if must_have_records and not any(has_record(file, Mapping(table)) for file in scanned):
        raise DaybookError(
            f"{folder}: no record in its files. An empty list would switch everything off; "
            "if that is right, land it with --allow-empty."
        )
    return Plan(table, day, scanned, may_be_empty=may_be_empty)
