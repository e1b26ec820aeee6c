"""A prompt in the warehouse: `daybook psql`, or `daybook psql -c 'select 1'`."""

from __future__ import annotations

import argparse
import os
import sys

from flows.command import guarded
from loaders import warehouse
from loaders.backup import surroundings, tool


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
        with warehouse.connect(application_name="daybook psql") as conn:
            psql = tool("psql", conn)
        # the terminal's own language and letters, which comparing hashes must not depend on
        os.execve(psql, [psql, *rest], surroundings() | {"LC_ALL": os.environ.get("LC_ALL", "")})

    return guarded(command)


if __name__ == "__main__":
    sys.exit(main())
