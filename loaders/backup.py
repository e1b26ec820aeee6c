"""The warehouse as one file: `daybook backup FILE`, by PostgreSQL's own pg_dump.

The file is an archive that pg_restore reads too. It holds a hash of each table's rows, which
`daybook restore` compares.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from loaders import warehouse
from loaders.arguments import command, option
from loaders.cluster import program
from loaders.errors import UsageError, WarehouseError, many
from loaders.lock import run_lock
from loaders.process import whole
from loaders.session import environment
from loaders.sql import statement

SCHEMAS = ("bronze", "intermediate", "silver", "quarantine", "metrics", "marts")
LOCK_TIMEOUT = "60s"
HASHES = "bronze.backup_hashes"
# the number of a table's rows, and a hash of them as text, in any order
HASH = "count(*), coalesce(sum(hashtextextended(held::text, 0)::numeric), 0)"


def backup(file: Path) -> tuple[int, int]:
    """Save the six schemas in `file`, whole or not at all; returns the numbers of tables and rows.

    Only its owner may read it. UsageError unless the file can be there; LockedError while a run
    holds the warehouse; WarehouseError when pg_dump fails.
    """
    if file.is_dir() or not file.parent.is_dir():
        raise UsageError(
            f"{file}: {'a folder is' if file.is_dir() else 'no such folder is'} there."
        )
    hashes = statement("hash_tables").format(schemas=",".join(SCHEMAS), hash=HASH)
    with (
        run_lock(f"daybook backup {os.getpid()}"),
        warehouse.connect(application_name="daybook backup", autocommit=True) as conn,
        whole(file, private=True) as part,
    ):
        warehouse.check_ready(conn)
        try:
            conn.execute("set statement_timeout = 0")
            conn.execute(hashes.encode())
            pg_dump = program("pg_dump", conn.info.server_version)
            chosen = [f"--schema={schema}" for schema in SCHEMAS]
            done = run(pg_dump, "--format=custom", f"--file={part}", *chosen)
            if done.returncode:
                raise WarehouseError(f"Nothing was saved: {first_error(done.stderr)}")
            # who writes without the run lock may have changed rows
            conn.execute(statement("compare_hashes").format(hash=HASH).encode())
            counts = conn.execute(f"select count(*), sum(rows)::bigint from {HASHES}").fetchone()
        finally:
            conn.execute(f"drop table if exists {HASHES}")
        with part.open("rb") as written:
            os.fsync(written.fileno())
    return counts or (0, 0)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run PostgreSQL's programs: no time-outs, one time zone, date style and locale."""
    options = f"{warehouse.pgoptions(timeouts=False)} -c lock_timeout={LOCK_TIMEOUT}"
    ours = {"PGOPTIONS": options, "PGTZ": "UTC", "PGDATESTYLE": "ISO, YMD", "LC_ALL": "C"}
    env = environment() | ours
    return subprocess.run(command, env=env, capture_output=True, text=True, errors="replace")


def first_error(output: str) -> str:
    """The first error of one of PostgreSQL's programs; quoted texts, maybe data, become `…`."""
    lines = [line for line in output.splitlines() if "error" in line.lower()]
    first = " ".join((lines or ["no reason given"])[0].split()).rstrip(".")
    return re.sub("'[^']*'|\"[^\"]*\"", "…", first) + "."


@command(
    "loaders.backup",
    "Save landed days, all that was built from them and the runs' records.",
    "example: %(prog)s warehouse.backup",
    option("file", type=Path, help="where to; only its owner may read it"),
)
def main(args: argparse.Namespace) -> None:
    warehouse.wake()
    tables, rows = backup(args.file)
    print(
        f"{args.file}: {many(rows, 'row')} of {many(tables, 'table')}, a landed day counted as one."
    )


if __name__ == "__main__":
    sys.exit(main())
