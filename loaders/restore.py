"""The warehouse from a file that `daybook backup` wrote: `daybook restore FILE`."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from loaders import warehouse
from loaders.backup import COMPARE, HASHES, SCHEMAS, answer, said, surroundings
from loaders.cluster import program
from loaders.errors import UsageError, WarehouseError
from loaders.lock import run_lock

if TYPE_CHECKING:
    from psycopg import Connection

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
_END = f"""
{COMPARE};
do $$
begin
    if (select max(version_num) from bronze.alembic_version) > '{warehouse.newest_revision()}' then
        raise exception 'it was saved by a newer Daybook: update this one';
    end if;
end
$$;
drop table {HASHES};
commit;
"""


def restore(file: Path, *, replace: bool = False) -> None:
    """Put the warehouse that `file` holds in place of this one: in one transaction, which also
    compares the hashes, so that a cut file or one that was changed leaves all as it was.

    UsageError for a warehouse that holds something, unless `replace`; LockedError while a run
    holds it.
    """
    if not file.is_file():
        raise UsageError(f"{file}: no such file.")
    with (
        run_lock(f"daybook restore {os.getpid()}"),
        warehouse.connect(application_name="daybook restore", autocommit=True) as conn,
    ):
        _refuse(conn, replace)
        version = conn.info.server_version
        _put(file, program("pg_restore", version), program("psql", version))
    warehouse.migrate()  # rights and owners, and what a newer Daybook adds


def _refuse(conn: Connection, replace: bool) -> None:
    warehouse.check_ready(conn)
    [(landed,)] = conn.execute("select count(*) from bronze.load_batches")
    if landed and not replace:
        raise UsageError(
            f"The warehouse at {warehouse.where()} holds {landed:,} landings: with --replace they"
            " give way to what the file holds."
        )


def _put(file: Path, pg_restore: str, psql: str) -> None:
    """pg_restore's script goes through psql; the end of its transaction only once all was read."""
    options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=terse"]
    # roles are this server's own matter: migrate gives owners and rights
    script = [pg_restore, "--file=-", "--no-owner", "--no-privileges", str(file)]
    with tempfile.TemporaryFile("w+") as wrong, tempfile.TemporaryFile("w+") as unread:
        reading = subprocess.Popen(script, stdout=subprocess.PIPE, stderr=unread)
        writing = subprocess.Popen(
            [psql, *options, "--output=/dev/null"],
            stdin=subprocess.PIPE,
            stderr=wrong,
            env=surroundings(),
        )
        assert reading.stdout and writing.stdin
        try:
            writing.stdin.write(_BEGIN.encode())
            shutil.copyfileobj(reading.stdout, writing.stdin, 1 << 20)
            if reading.wait() == 0:
                writing.stdin.write(_END.encode())
        except BrokenPipeError:
            pass  # psql has said why
        finally:
            reading.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                writing.stdin.close()  # without the end of its transaction psql rolls back
            reading.wait()
            writing.wait()
        if writing.returncode or reading.returncode:
            why = said(_text(wrong)) if writing.returncode else said(_text(unread))
            if "out of shared memory" in why:
                why += " Raise the server's max_locks_per_transaction (to 1024) and start it again."
            raise WarehouseError(f"Nothing was changed: {file} can't be restored: {why}")


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read(10_000)


def main(arguments: list[str] | None = None, prog: str = "python -m loaders.restore") -> int:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Put back what daybook backup saved, also on a newer PostgreSQL.",
        epilog="example: %(prog)s warehouse.backup",
    )
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--replace", action="store_true", help="also where something has landed: that goes"
    )
    given = parser.parse_args(arguments)

    def command() -> str:
        restore(given.file, replace=given.replace)
        return f"The warehouse at {warehouse.where()} is what {given.file} holds: all hashes agree."

    return answer(command)


if __name__ == "__main__":
    sys.exit(main())
