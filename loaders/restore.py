"""The warehouse from a file that `daybook backup` wrote: `daybook restore FILE`."""

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

# What hangs on the warehouse from elsewhere, such as a reader's view, would be dropped with it.
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
# Without the end, which is sent once the file was read to its own, psql rolls back. The pipe
# outlives a restore that is killed: so the end asks for the session that holds its lock. Owners
# and rights are the server's matter: migrate gives them.
_PIPE = """
{
    printf %s "$1"
    "$2" --file=- --no-owner --no-privileges "$3" && printf %s "$4"
} | "$5" --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --set=VERBOSITY=terse --output=/dev/null
"""


def _end(holder: str) -> str:
    """What ends the transaction, for the restore that holds the run lock by that name."""
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
    """Put the warehouse that `file` holds in place of this one: in one transaction, which also
    compares the hashes, so that a cut file or one that was changed leaves all as it was.

    UsageError for a warehouse that holds something, unless `replace`; LockedError while a run
    holds it; WarehouseError with what PostgreSQL's programs said.
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
    warehouse.migrate()  # rights and owners, and what a newer Daybook adds


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
