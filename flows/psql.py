"""A prompt in the warehouse: `daybook psql`, or `daybook psql -c 'select 1'`."""

from __future__ import annotations

import argparse
import os
import sys

from loaders import warehouse
from loaders.cluster import program
from loaders.errors import WarehouseError, guarded
from loaders.session import environment


def main(argv: list[str] | None = None, prog: str = "python -m flows.psql") -> int:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Open psql on the warehouse, as its owner; all arguments go to psql.",
        epilog="example: %(prog)s -c 'select * from metrics.row_ledger'",
    )
    _, rest = parser.parse_known_args(argv)
    rest = rest[1:] if rest[:1] == ["--"] else rest  # which for psql would end the options

    def command() -> int:
        try:
            warehouse.wake()
        except WarehouseError as error:  # a prompt may be needed to mend it
            print(error, file=sys.stderr)
        psql = program("psql")
        os.execve(psql, [psql, *rest], environment())

    return guarded(command)


if __name__ == "__main__":
    sys.exit(main())
