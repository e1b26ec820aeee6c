"""Run one day: `python -m flows.day --day day1 --data tests/sample`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import asdict, dataclass, field
from typing import Any

from flows import report, server, timing, transform
from flows.options import Mode, Options, add_options
from flows.pages.verdict import AGAIN
from flows.run import Stop, silent, unless_away
from loaders import warehouse
from loaders.arguments import add_day, command
from loaders.days import Day, parse_day
from loaders.errors import check_interrupted, ended_with
from loaders.files import day_folder
from loaders.progress import Progress


@dataclass
class DayRun:
    """How a run of a day ended. `phases`: phase → run id and state; `error`: why the day failed."""

    day: Day
    flow_run_id: str
    phases: dict[str, dict[str, str]] = field(default_factory=dict)
    error: BaseException | None = None


def run_day(
    day: str, options: Options, *, verbose: bool = False, progress: Callable[..., None] = silent
) -> DayRun:
    """Run day-pipeline in this process; starts the embedded warehouse when it is the one in use.

    The failure of the day, LockedError too, is in the result. Raises UsageError before disk or
    database is touched, WarehouseError when there is no warehouse.
    """
    logical_day, options = parse_day(day), options.checked()
    day_folder(options.data, logical_day)  # a day that isn't there leaves nothing behind
    progress("starting")
    get_ready(options.mode, verbose=verbose)
    check_interrupted()
    with timing.part("prefect-import"):
        from flows import pipeline

    stop = Stop()
    pipeline.watched.set((stop, progress))
    flow = pipeline.day_pipeline
    state = supervised(
        stop, lambda: flow(day=logical_day.text, **asdict(options), return_state=True)
    )
    outcome = state.result(raise_on_failure=False)
    flow_run_id = str(state.state_details.flow_run_id or "")
    if isinstance(outcome, BaseException):
        return DayRun(logical_day, flow_run_id, error=outcome)
    return DayRun(logical_day, flow_run_id, phases=outcome)


def get_ready(mode: Mode = "local", *, verbose: bool = False) -> None:
    """Start what a run by hand needs: the embedded warehouse and Prefect's temporary server.
    While the server comes up, dbt is imported and parses the project, if it builds here."""
    with timing.part("warehouse"):
        warehouse.wake()
        for role in (warehouse.LOADER, warehouse.TRANSFORMER):
            with warehouse.connect(application_name="daybook flow handshake", role=role) as conn:
                warehouse.check_ready(conn)
    meanwhile = transform.manifest if mode == "local" else (lambda: None)
    server.start_server(verbose=verbose, meanwhile=meanwhile)


def supervised(stop: Stop, flow: Callable[[], Any]) -> Any:
    """Run the flow in a thread of its own, so that Ctrl-C and SIGTERM end it in good order.
    In the main thread Prefect would turn SIGTERM into an exception in the middle of a phase."""
    before: dict[int, Any] = {}

    def handle(number: int, _frame: Any) -> None:
        stop.request(f"The run was interrupted by {signal.Signals(number).name}.")
        for each in before:  # a second one ends the process at once
            signal.signal(each, signal.SIG_DFL)

    if threading.current_thread() is threading.main_thread():  # only it gets signals
        before = {
            number: signal.signal(number, handle)
            for number in (signal.SIGINT, signal.SIGTERM)
            if signal.getsignal(number) != signal.SIG_IGN  # as of nohup, or `&` in a script
        }
    try:
        with ThreadPoolExecutor(1, "daybook-day") as thread:
            return thread.submit(copy_context().run, lambda: asyncio.run(flow())).result()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def show_day(day: str, options: Options, *, verbose: bool = False) -> int:
    """Run a day and print its progress, its account and its error; returns the exit code."""
    with Progress(day, sys.stderr) as progress:
        done = run_day(day, options, verbose=verbose, progress=progress)
    try:
        _print_account(done)
    finally:
        code = 0 if done.error is None else ended_with(done.error, verbose=verbose)
    return code


def _print_account(done: DayRun) -> None:
    outcome = "failed" if done.error else "succeeded"
    with (
        unless_away() if done.error else contextlib.nullcontext(),
        warehouse.connect(
            application_name=f"daybook {done.flow_run_id}", role=warehouse.TRANSFORMER
        ) as connection,
    ):
        account = report.read_account(connection, done.flow_run_id, done.day)
        if account.lines or not done.error:
            took = f" in {account.seconds:.1f} s" if account.seconds else ""
            report.print_account(account, outcome + took)


@command(
    "flows.day",
    "Land a day of raw files and build the warehouse from it.",
    "example: %(prog)s day1 --data tests/sample",
    add_day,
    add_options,
)
def main(args: argparse.Namespace) -> int:
    code = show_day(args.day, Options.of(vars(args)), verbose=args.verbose)
    if code == 0:
        print(f"\n{report.where_next(parse_day(args.day))}")
    elif code == 1:
        print(AGAIN, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
