"""`daybook restore FILE`: the warehouse from a file that `daybook backup` wrote."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from loaders import warehouse
from loaders.arguments import command, option
from loaders.backup import COMPARE, HASHES, SCHEMAS, first_error, surroundings
from loaders.cluster import program
from loaders.errors import UsageError, WarehouseError
from loaders.lock import run_lock

# `cascade` would also drop what depends on the warehouse from other schemas, such as a reader's
# view: then the restore is refused.
_BEGIN = f"""
begin;
create temporary table elsewhere on commit drop as
select oid, oid::regclass::text as name from pg_class
where relnamespace::regnamespace::text !~ '^pg_'
    and relnamespace::regnamespace::text <> all('{{{",".join(SCHEMAS)}}}');
drop schema if exists {", ".join(SCHEMAS)} cascade;
do $$
declare
    lost text := (
        select string_agg(name, ', ' order by name) from elsewhere
        where oid not in (select oid from pg_class)
    );
begin
    if lost is not null then
        raise exception '% would be lost with what they read: drop them, and make them again after'
            ' the restore', lost;
    end if;
end
$$;
"""
# psql rolls back unless it gets _end, sent after the whole file was read. A killed restore leaves
# the pipe running, so _end checks that its run lock is held. Owners and rights come from migrate.
_PIPE = """
{
    printf %s "$1"
    "$2" --file=- --no-owner --no-privileges "$3" && printf %s "$4"
} | "$5" --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --set=VERBOSITY=terse --output=/dev/null
"""


def _end(holder: str) -> str:
    """The SQL that checks and commits, while the session `holder` still holds the run lock."""
    return f"""
{COMPARE};
do $$
begin
    if (select max(version_num) from bronze.alembic_version) > '{warehouse.newest_revision()}' then
        raise exception 'it was saved by a newer Daybook: update this one';
    elsif (select max(version_num) from bronze.alembic_version) < '{warehouse.FIRST_REVISION}' then
        raise exception 'it was saved by an older Daybook: restore it with that one, and come over'
            ' as CHANGELOG.md says';
    elsif not exists (select from pg_stat_activity where application_name = '{holder}') then
        raise exception 'the restore that began this was ended';
    end if;
end
$$;
drop table {HASHES};
commit;
\\echo restored
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
        done = subprocess.run(
            ["sh", "-c", _PIPE, "restore", _BEGIN, pg_restore, str(file), _end(holder), psql],
            env=surroundings(),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    if done.stdout != "restored\n":
        why = first_error(done.stderr)
        if "out of shared memory" in why:
            why += " Raise the server's max_locks_per_transaction (to 1024) and start it again."
        raise WarehouseError(f"Nothing was changed: {file} can't be restored: {why}")
    warehouse.migrate()  # owners and rights, and the control tables of a newer Daybook


@command(
    "loaders.restore",
    "Put back what daybook backup saved, also on a newer PostgreSQL.",
    "example: %(prog)s warehouse.backup",
    option("file", type=Path),
    option("--replace", action="store_true", help="also where something has landed: that goes"),
)
def main(given: argparse.Namespace) -> None:
    warehouse.wake()
    restore(given.file, replace=given.replace)
    print(f"The warehouse at {warehouse.where()} is what {given.file} holds: all hashes agree.")


if __name__ == "__main__":
    sys.exit(main())
