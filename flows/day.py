"""Run one day: `python -m flows.day --day day1 --data tests/sample`."""

from __future__ import annotations

import argparse
import contextlib
import contextvars
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import took
from flows.stopping import Stop
from loaders import retention
from loaders.days import Day, parse_day
from loaders.errors import DaybookError, UsageError
from loaders.sources import SETTING, declared_tables

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

EXAMPLE = "example: python -m flows.day --day day1 --data tests/sample"


@dataclass
class DayRun:
    """What a run of a day came to. `phases`: phase → run id and state; `error`: why it failed."""

    day: Day
    flow_run_id: str | None = None
    phases: dict[str, dict[str, str]] = field(default_factory=dict)
    error: BaseException | None = None
    seconds: float = 0.0


def run_day(
    day: str,
    data: str | None = None,
    *,
    mode: str = "local",
    engine: str = "python",
    force: bool = False,
    allow_empty: bool = False,
    allow_shrink: bool = False,
    sources: str | None = None,
    timeout: float | None = None,
    verbose: bool = False,
    progress: Callable[..., None] | None = None,
) -> DayRun:
    """Run day-pipeline in this process, and start the embedded warehouse if that is the one.

    `data` defaults to DATA_BASE_PATH; `timeout` is in seconds for the whole day. Raises
    UsageError before disk or database is touched, LockedError when another run holds the
    warehouse for 10 s, DaybookError (or what the phase raised) when the day fails.
    """
    done = attempt_day(
        day,
        data,
        mode=mode,
        engine=engine,
        force=force,
        allow_empty=allow_empty,
        allow_shrink=allow_shrink,
        sources=sources,
        timeout=timeout,
        verbose=verbose,
        progress=progress,
    )
    if done.error is not None:
        raise done.error
    return done


def attempt_day(
    day: str,
    data: str | None,
    *,
    mode: str = "local",
    engine: str = "python",
    verbose: bool = False,
    progress: Callable[..., None] | None = None,
    timeout: float | None = None,
    resume: str | None = None,
    sources: str | None = None,
    **options: bool,
) -> DayRun:
    """As run_day, with the failure of the day in the result instead of raised."""
    logical_day = check_usage(day, data, mode=mode, engine=engine, timeout=timeout)
    sources = sources_path(sources)
    started = time.monotonic()
    get_ready(verbose=verbose)
    with took.part("prefect-import"):
        from flows import phases, pipeline

    stop = Stop()
    pipeline.watched.set((stop, progress or phases.silent))
    flow = pipeline.day_pipeline
    state = supervised(
        stop,
        lambda: flow(
            day=logical_day.text,
            data=data_path(data),
            mode=mode,
            engine=engine,
            timeout=timeout,
            resume=resume,
            sources=sources,
            return_state=True,
            **options,
        ),
    )
    outcome = state.result(raise_on_failure=False)
    return came_to(logical_day, state, outcome, time.monotonic() - started)


def came_to(day: Day, state: State[Any], outcome: Any, seconds: float) -> DayRun:
    """What a day came to, by the state and result of its flow in this process."""
    failed = isinstance(outcome, BaseException)
    run_id = state.state_details.flow_run_id
    return DayRun(
        day=day,
        flow_run_id=str(run_id) if run_id else None,
        phases={} if failed else outcome,
        error=outcome if failed else None,
        seconds=seconds,
    )


def sources_path(sources: str | None) -> str | None:
    """The overlay as every process of the run finds it. UsageError when it can't be used."""
    given = sources or os.environ.get(SETTING)
    declared_tables(given)
    return str(Path(given).absolute()) if given else None


def check_usage(
    day: str,
    data: str | None,
    *,
    mode: str = "local",
    engine: str = "python",
    timeout: float | None = None,
) -> Day:
    """The day that was meant. Raises UsageError; touches neither disk nor database."""
    logical_day = parse_day(day)
    if not data_path(data):
        raise UsageError("Say where the raw files are: --data PATH, or DATA_BASE_PATH.")
    if mode not in ("local", "distributed"):
        raise UsageError("--mode is local or distributed.")
    if mode == "distributed" and not _has_server():
        raise UsageError("--mode distributed needs a Prefect server and a worker: make up.")
    if engine not in ("python", "spark"):
        raise UsageError("--engine is python or spark.")
    retention.keep_days()
    if timeout is not None and not timeout > 0:
        raise UsageError("--timeout is a number of seconds above zero.")
    return logical_day


def _has_server() -> bool:
    from flows import stack

    return bool(os.environ.get("PREFECT_API_URL") or stack.api_url())


def data_path(data: str | None) -> str:
    """Where the raw files are, absolute when on disk: dbt changes the working directory."""
    path = data or os.environ.get("DATA_BASE_PATH", "")
    return path if not path or "://" in path else str(Path(path).absolute())


def get_ready(*, verbose: bool = False) -> None:
    """Start what a run by hand needs: the embedded warehouse, and Prefect's temporary server
    (dbt is imported and parses the project while that one comes up)."""
    from flows import server, transform
    from loaders import warehouse

    with took.part("warehouse"):
        if warehouse.is_embedded():
            warehouse.start()
        with warehouse.connect(application_name="daybook flow handshake") as connection:
            warehouse.check_ready(connection)
    server.start_server(verbose=verbose, meanwhile=transform.manifest)


def supervised(stop: Stop, flow: Callable[[], Any]) -> Any:
    """Run the flow in a thread of its own, so that Ctrl-C and SIGTERM end it in good order:
    in the main thread Prefect would turn SIGTERM into an exception in the middle of a phase."""
    import asyncio

    outcome: list[Any] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(asyncio.run(flow()))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(
        target=contextvars.copy_context().run, args=[work], name="daybook-day"
    )
    with _signals(stop):
        thread.start()
        while thread.is_alive():
            thread.join(0.5)
    if failure:
        raise failure[0]
    return outcome[0]


@contextlib.contextmanager
def _signals(stop: Stop) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, _frame: Any) -> None:
        stop.request(f"The run was interrupted by {signal.Signals(number).name}.")
        for each, handler in before.items():  # a second one ends the process at once
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that flows.day and flows.backfill share."""
    parser.add_argument("--data", metavar="PATH", help="folder of days (default: DATA_BASE_PATH)")
    # No default here: a run that is resumed has its own mode and engine.
    parser.add_argument("--mode", choices=["local", "distributed"], help="default: local")
    parser.add_argument("--engine", choices=["python", "spark"], help="default: python")
    parser.add_argument(
        "--sources", metavar="FILE", help="how files differ from the declared (DAYBOOK_SOURCES)"
    )
    parser.add_argument("--force", action="store_true", help="land unchanged files again")
    parser.add_argument("--allow-empty", action="store_true", help="accept an empty snapshot")
    parser.add_argument("--allow-shrink", action="store_true", help="accept a halved snapshot")
    parser.add_argument("--timeout", type=float, metavar="S", help="seconds a day may take")
    parser.add_argument("--verbose", action="store_true", help="Prefect's log, and tracebacks")


def attempt_and_tell(day: str, given: argparse.Namespace) -> DayRun:
    """Run a day as the command line asked, with progress, and print its account."""
    with told(day, verbose=given.verbose) as watch:
        watch.done = attempt_day(
            day,
            given.data,
            mode=given.mode or "local",
            engine=given.engine or "python",
            force=given.force,
            allow_empty=given.allow_empty,
            allow_shrink=given.allow_shrink,
            sources=given.sources,
            timeout=given.timeout,
            resume=getattr(given, "resume", None),
            verbose=given.verbose,
            progress=watch.progress,
        )
    return watch.done


@dataclass
class Watch:
    """Who watches a day: told of its steps, and given what it came to when it has ended."""

    progress: Callable[..., None]
    done: DayRun | None = None


@contextlib.contextmanager
def told(day: str, *, verbose: bool = False) -> Iterator[Watch]:
    """A day's progress while it runs; once it has ended its account, and its error."""
    from flows.progress import Progress

    with Progress(day, sys.stderr) as progress:
        watch = Watch(progress)
        yield watch
    if watch.done is not None:
        _tell(watch.done)
        if watch.done.error is not None:
            print_error(watch.done.error, verbose=verbose)


def _tell(done: DayRun) -> None:
    from flows import report
    from loaders import warehouse

    outcome = "failed" if done.error else "succeeded"
    # A warehouse that is gone has no account to give; the error says so.
    with (
        contextlib.suppress(Exception) if done.error else contextlib.nullcontext(),
        warehouse.connect() as connection,
    ):
        account = report.read_account(connection, done.flow_run_id or "", done.day)
        if account.lines or not done.error:
            report.print_account(account, f"{outcome} in {done.seconds:.1f} s")


def _tell_way_on(done: DayRun) -> None:
    from flows import resume

    # A warehouse that is gone has been told of already.
    with contextlib.suppress(Exception):
        if way := resume.way_on(done.flow_run_id or ""):
            print(way, file=sys.stderr)


def print_error(error: BaseException, *, verbose: bool = False) -> None:
    """One clear message on standard error; with `verbose` the traceback before it."""
    if verbose:
        traceback.print_exception(error)
    kind = "" if isinstance(error, DaybookError) else f"{type(error).__name__}: "
    print(f"error: {kind}{error}", file=sys.stderr)


def guarded(command: Callable[[], int], *, verbose: bool = False) -> int:
    """A command's exit code: 0 done, 1 failed, 2 usage, 3 locked."""
    try:
        return command()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 1
    except Exception as error:
        print_error(error, verbose=verbose)
        return exit_code(error)


def exit_code(error: BaseException | None) -> int:
    """The exit code that an error ends a command with."""
    return 0 if error is None else getattr(error, "exit_code", 1)


def _take_up(given: argparse.Namespace) -> None:
    """Fill in what the run to resume was asked for; what is said now wins."""
    from flows.resume import failed_run
    from loaders import warehouse

    if warehouse.is_embedded():
        warehouse.start()
    for name, value in failed_run(given.resume).items():
        setattr(given, name, getattr(given, name) or value)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flows.day",
        description="Land a day of raw files and build the warehouse from it.",
        epilog=EXAMPLE,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--day", help="2026-01-05, or day1 to day9999")
    which.add_argument("--resume", metavar="RUN", help="go on from the phase a run failed in")
    add_options(parser)
    given = parser.parse_args(argv)

    def command() -> int:
        from flows.report import where_next

        if given.resume:
            _take_up(given)
        done = attempt_and_tell(given.day, given)
        if done.error is None:
            print(f"\n{where_next(done.day)}")
        else:
            _tell_way_on(done)
        return exit_code(done.error)

    return guarded(command, verbose=given.verbose)


if __name__ == "__main__":
    sys.exit(main())
