"""`daybook restore FILE`: the warehouse from a file that `daybook backup` wrote."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from loaders import warehouse
from loaders.arguments import command, option
from loaders.backup import HASH, SCHEMAS, first_error, run
from loaders.cluster import program
from loaders.errors import UsageError, WarehouseError
from loaders.lock import run_lock
from loaders.sql import statement

TABLES = [f"{schema}.%" for schema in SCHEMAS]
# psql rolls back unless it gets the end, sent after the whole file was read. A killed restore
# leaves the pipe running, so the end checks that its run lock is held. Owners and rights come from
# migrate.
_PIPE = """
{
    printf %s "$1"
    "$2" --file=- --no-owner --no-privileges "$3" && printf %s "$4"
} | "$5" --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --set=VERBOSITY=terse --output=/dev/null
"""


def restore(file: Path, *, replace: bool = False) -> None:
    """Replace the warehouse by the one in `file`, in one transaction. It also compares the hashes,
    so that a file that was cut or changed leaves all as it was.

    UsageError when something has landed in the warehouse, unless `replace`; LockedError while a
    run holds it; WarehouseError with the first error of PostgreSQL's programs.
    """
    if not file.is_file():
        raise UsageError(f"{file}: no such file.")
    holder = f"daybook restore {os.getpid()}"
    with (
        run_lock(holder),
        warehouse.connect(application_name="daybook restore", autocommit=True) as conn,
    ):
        warehouse.check_ready(conn)
        [(landed,)] = conn.execute("select count(*) from bronze.load_batches")
        if landed and not replace:
            raise UsageError(
                f"The warehouse at {warehouse.where()} holds {landed:,} landings: with --replace"
                " they give way to what the file holds."
            )
        pg_restore, psql = (program(p, conn.info.server_version) for p in ("pg_restore", "psql"))
        begin = statement("restore_begin").format(schemas=",".join(SCHEMAS))
        end = statement("restore_end").format(
            compare=statement("compare_hashes").format(hash=HASH),
            newest=warehouse.newest_revision(),
            first=warehouse.FIRST_REVISION,
            holder=holder,
        )
        done = run("sh", "-c", _PIPE, "restore", begin, pg_restore, str(file), end, psql)
        if done.stdout != "restored\n":
            why = first_error(done.stderr)
            if "lock timeout" in done.stderr:
                [(readers,)] = conn.execute(statement("readers").encode(), [TABLES])
                if readers:
                    why += f" Held by {readers}: wait, or end it: select pg_terminate_backend(…);"
            if "out of shared memory" in why:
                why += " Raise the server's max_locks_per_transaction (to 1024) and start it again."
            if "must be owner" in why or "permission denied" in why:
                why += " Restore it as the login that ran daybook warehouse migrate."
            if "unsupported version" in why:
                why += " A newer PostgreSQL wrote it: restore it on one that is not older."
            raise WarehouseError(f"Nothing was changed: {file} can't be restored: {why}")
        warehouse.migrate()  # owners and rights, and the control tables of a newer Daybook


@command(
    "loaders.restore",
    "Put back what daybook backup saved, also on a newer PostgreSQL.",
    "example: %(prog)s warehouse.backup",
    option("file", type=Path, help="what daybook backup wrote"),
    option("--replace", action="store_true", help="in place of what the warehouse holds"),
)
def main(args: argparse.Namespace) -> None:
    warehouse.wake()
    restore(args.file, replace=args.replace)
    print(f"The warehouse at {warehouse.where()} is what {args.file} holds: all hashes agree.")


if __name__ == "__main__":
    sys.exit(main())
