"""What can go wrong, and the exit code each kind ends a command with."""

from __future__ import annotations

import io
import os
import re
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

ROOM = 16 << 20  # bytes, by which PostgreSQL's log grows: with less it stops
UNREAD = 141  # what a shell says of a tool that SIGPIPE ended


class DaybookError(Exception):
    """The data or the run failed; the message says what to do about it.

    `public`: the message without values of data, where it differs; it may be stored and sent.
    `quoting`: the message as a command prints it, where `unquoted` took from it what it quotes.
    `can_retry`: whether another try may help, where the error's cause doesn't tell.
    """

    exit_code = 1
    public = ""
    quoting = ""
    can_retry: bool | None = None


class UsageError(DaybookError):
    """The command was called wrongly: nothing was read or written."""

    exit_code = 2


class PlanError(DaybookError):
    """The day can't be landed as it lies there; the message has names of files and columns, and no
    value of data."""


class LockedError(DaybookError):
    """Another run holds the warehouse."""

    exit_code = 3
    can_retry = False


class WarehouseError(DaybookError):
    """The warehouse could not be reached, started or trusted."""


class SettingError(UsageError, WarehouseError):
    """A setting can't be used."""


class DriverError(WarehouseError):
    """A driver's error without values of data; `sqlstate` is None for a lost connection."""

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


def plain(error: BaseException) -> BaseException:
    """`error` itself; for a driver's error (psycopg's, or SQLAlchemy's around it) a DriverError.

    The driver's text carries DETAIL and CONTEXT, which hold whole rows, and errors of data
    (SQLSTATE 22…) quote the value in their first line too.
    """
    original: Any = getattr(error, "orig", error)
    if not hasattr(original, "diag"):
        return error
    state = original.sqlstate
    message = original.diag.message_primary or str(original).strip().partition("\n")[0]
    if state and state.startswith("22"):
        message = re.sub('".*"', "a value", message, flags=re.DOTALL)
    return DriverError(f"PostgreSQL: {message} ({type(original).__name__})", state)


def ended_with(error: BaseException, *, verbose: bool = False) -> int:
    """Print the error that ended a command, with `verbose` its traceback too; the exit code.
    Of an unforeseen error only the place is printed: its message may quote a value of data."""
    if isinstance(error, KeyboardInterrupt):
        error = DaybookError("interrupted")
    elif verbose:
        traceback.print_exception(error)
    shown: BaseException | str = plain(error)
    quoting = getattr(shown, "quoting", "")
    code = getattr(shown, "exit_code", 1)
    if not isinstance(shown, (DaybookError, OSError)):
        place = traceback.extract_tb(error.__traceback__)[-1:]
        where = "".join(f" ({Path(at.filename).name}, line {at.lineno})" for at in place)
        message = "not foreseen, a fault of Daybook's or its libraries'."
        if place and {"httpx", "httpcore", "prefect"} & {*Path(place[0].filename).parts}:
            message = re.sub("//[^/@ ]*@", "//", str(shown).partition("\n")[0])  # of an address
            if "401 Unauthorized" in message:
                message = message.partition(" - ")[0]
                message += ": set PREFECT_API_AUTH_STRING to that server's secret."
        shown = f"{type(shown).__name__}{where}: {message}"
    said = (quoting or str(shown)) + (_no_room() if code != UsageError.exit_code else "")
    print(f"error: {readable(said)}", file=sys.stderr)
    return code


def _no_room() -> str:
    """Which of the folders that all commands write to has no room left: few of the libraries that
    fail then say so. Empty when all have."""
    home = Path(__file__).parents[1] / (os.environ.get("DAYBOOK_HOME") or ".daybook")
    for folder in (home / "pg", home, Path(os.environ.get("TMPDIR") or "/tmp")):
        with suppress(OSError):
            disk = os.statvfs(folder)
            if disk.f_bavail * disk.f_frsize < ROOM or (disk.f_files and not disk.f_favail):
                return f"\nThe disk of {folder} is full: make room there."
    return ""


_interrupts: list[int] = []  # signals that this command got


def _interrupt(number: int, _frame: object) -> None:
    _interrupts.append(number)
    raise KeyboardInterrupt


def check_interrupted() -> None:
    """Raise the KeyboardInterrupt that a library may have swallowed."""
    if _interrupts:
        raise KeyboardInterrupt


def guarded(command: Callable[[], int | None], *, verbose: bool = False) -> int:
    """Run a command; returns its exit code (None is 0), or that of its error, which is printed.
    When nobody reads the output (`| head`) it ends without a word, as other tools do. SIGTERM is
    as Ctrl-C: what the command has begun is taken back, and recorded as ended."""
    _interrupts.clear()
    if threading.current_thread() is threading.main_thread():  # only it gets signals
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _interrupt)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123 - closed by a shell
    for stream in filter(None, (sys.stdout, sys.stderr)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8
    try:
        code = command() or 0
        check_interrupted()
        if sys.stdout and not code:
            sys.stdout.flush()
        return code
    except (Exception, KeyboardInterrupt) as failure:
        # dbt makes an error of its own of an interrupt
        error = KeyboardInterrupt() if _interrupts else failure
        is_unread = isinstance(error, BrokenPipeError) and _is_unread()
        return UNREAD if is_unread else ended_with(error, verbose=verbose)
    finally:
        _interrupts.clear()  # it is told; a command that ran this one does not tell it again


def _is_unread() -> bool:
    """Whether the pipe that broke is the output, and not another one."""
    output = select.poll()
    output.register(1, 0)
    is_unread = any(event & (select.POLLERR | select.POLLHUP) for _, event in output.poll(0))
    if is_unread:  # what is left goes nowhere: the interpreter, too, writes it at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return is_unread


def without_values(error: BaseException) -> str:
    """An error's message for the ledgers: kinds and names, never a value of data.

    Our own messages have none, but for what a file begins with and what a driver says.
    """
    if not isinstance(error, Exception):
        return "The run was ended from outside: by hand, cancelled in Prefect, or with its worker."
    if not isinstance(error, DaybookError):
        state = getattr(error, "sqlstate", None)
        number = error.errno if isinstance(error, OSError) else None
        why = f" (SQLSTATE {state})" if state else f": {os.strerror(number)}" if number else ""
        return type(error).__name__ + why
    text, cause = error.public or str(error), str(error.__cause__ or "").strip()
    if error.__cause__ and cause and text != cause and text.endswith(cause):
        text = text.removesuffix(cause) + without_values(error.__cause__)
    # a folder's name may have bytes that can't be stored
    text = text.replace("\0", "").encode("utf-8", "backslashreplace").decode()
    return " ".join(_without_quotes(text).splitlines())


def _without_quotes(text: str) -> str:
    """A message without a file's first line: its header too may be a first record."""
    text = re.sub(r"(is missing\.) .* (\([\d,]+ names?\))", r"\1 \2", text)
    return re.sub(r"(stands above it[^.]*\.) .*| It begins with .*", r"\1", text)


@contextmanager
def unquoted() -> Iterator[None]:
    """Where Prefect keeps all that an error says: its message, and those of its causes, lose what
    they quote of a file. A command prints it still."""
    try:
        yield
    except DaybookError as error:
        each: BaseException | None = error
        while isinstance(each, DaybookError):
            each.quoting = each.quoting or str(each)
            each.args = (_without_quotes(str(each)),)
            each = each.__cause__ or each.__context__
        raise


def readable(text: str) -> str:
    """`text` with U+FFFD for each character that is not printable; line ends stay."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def many(count: int, what: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{count:,} {what}{'s' if count != 1 else ''}"


def guess(word: str, known: Iterable[str], least: float = 0.6) -> str:
    """` Did you mean …?` with the nearest of the known words; empty when none is near."""
    near = get_close_matches(word, list(known), 1, least)
    return f" Did you mean {near[0]}?" if near else ""
