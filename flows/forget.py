"""Erase a person: `daybook forget 9001`."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterable
from uuid import uuid4

from flows import transform
from flows.pages.render import show
from flows.site import write_site
from loaders import warehouse
from loaders.arguments import JSON, command, option
from loaders.errors import DaybookError, UsageError
from loaders.forget import forget
from loaders.lock import Lock, run_lock, transaction
from loaders.match import namesakes
from loaders.sql import statement

# The day is incomplete from now on: silver has lost the person, the figures still count them.
BEGIN = """
update metrics.current_day set is_complete = false
from metrics.current_day as before
returning before.is_complete
"""


def forget_person(agent_id: str, *, dry_run: bool = False) -> tuple[dict[str, int], int]:
    """Erase a person from the warehouse and from DAYBOOK_HOME. Returns the erased rows by relation,
    and how many card users stay because other agents have the person's name too.

    All rows go in one transaction; then the figures that counted the person, and the pages, are
    made anew. `dry_run` rolls back. LockedError while a run holds the warehouse.
    """
    run = f"forget {uuid4()}"
    with run_lock(f"daybook {run}") as lock:
        with warehouse.connect(application_name=f"daybook {run}") as conn:
            warehouse.check_ready(conn)
            shared = namesakes(conn, agent_id)
            rows = forget(conn, agent_id)
            was_complete = conn.execute(BEGIN).fetchone() == (True,)
            figures = [name for (name,) in conn.execute(statement("figures").encode())]
            if dry_run:
                conn.rollback()
                return rows, shared
            lock.check()
            conn.commit()
        try:
            _make_anew(run, lock, rows, figures, was_complete)
        except BaseException as error:
            why = str(error) if isinstance(error, DaybookError) else type(error).__name__
            failed = DaybookError(
                "The person is erased, which can't be undone; but what counted them and the pages"
                f" were not made anew ({why}). Run this again."
            )
            failed.exit_code = getattr(error, "exit_code", 1)
            raise failed from error
    return rows, shared


def _make_anew(
    run: str, lock: Lock, rows: Iterable[str], figures: list[str], was_complete: bool
) -> None:
    with warehouse.connect(application_name=f"daybook {run}", autocommit=True) as conn:
        for relation in rows:  # until then the erased values are on disk and in statistics
            conn.execute(f"vacuum (analyze) {relation}".encode())
    site = warehouse.home() / "site"
    for folder in (site / "checks", site / "runs", site / "days", warehouse.home() / "spark"):
        shutil.rmtree(folder, ignore_errors=True)
    if figures:
        select = ["run", "--select", *figures]
        transform.build(None, run, check=lock.check, arguments=select)
    if was_complete:
        with warehouse.connect(application_name=f"daybook {run}") as conn, transaction(conn, lock):
            conn.execute("update metrics.current_day set is_complete = true")
    if site.exists():
        write_site(lineage=False, everything=True)


@command(
    "flows.forget",
    "Erase a person, by the agent's id: from all that landed and was made of it, as a card's user"
    " too, and from whatever lands later. Sums and counts stay. Raw files and backups are yours to"
    " delete.",
    "example: %(prog)s 9001 --dry-run",
    option("id", help="the agent's id"),
    option("--dry-run", action="store_true", help="only say how many rows"),
    option("--yes", action="store_true", help="don't ask"),
    JSON,
)
def main(args: argparse.Namespace) -> int:
    def answer(done: bool) -> None:
        rows, shared = forget_person(args.id, dry_run=not done)
        found = {"forgotten": done, "rows": rows, "namesakes": shared}
        show("forget", found, as_json=args.json)

    warehouse.wake()
    if not args.dry_run and not args.yes and not sys.stdin.isatty():
        raise UsageError("Nobody can be asked here whether to erase: say --yes, or --dry-run.")
    if args.dry_run or not args.yes:
        answer(done=False)
        if args.dry_run or input("This can't be undone. Type yes: ") != "yes":
            return int(not args.dry_run)
    answer(done=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
