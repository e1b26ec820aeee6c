"""Whether this machine and the warehouse are in order: a line for each part, with advice."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from getpass import getuser
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from flows import api, stack
from flows.pages.render import wrapped
from loaders import process, warehouse
from loaders.arguments import JSON, command
from loaders.backup import SCHEMAS
from loaders.errors import DaybookError, plain
from loaders.spark.session import JAVA_FROM, java
from loaders.sql import statement

LEAST_DISK = 2e9  # bytes: a day's partition is written beside the one it replaces
MUCH_DISK = 10e9


class Finding(NamedTuple):
    """`state`: ok, warn or fail; `said`: what was found of `what`, with advice unless it is ok."""

    state: str
    what: str
    said: str


def _found(what: str, said: str, advice: str = "", state: str = "fail") -> Finding:
    """A finding: ok when there is no advice, else `state`."""
    return Finding(state, what, f"{said}: {advice}") if advice else Finding("ok", what, said)


def examine() -> list[Finding]:
    """All findings; an examination that fails itself is a finding too."""
    findings: list[Finding] = []
    for examination in (_machine, _warehouse, _stack, _spark):
        try:
            findings += examination()
        except Exception as error:
            shown = plain(error)
            why = str(shown) if isinstance(shown, DaybookError) else type(shown).__name__
            findings.append(Finding("fail", examination.__name__.lstrip("_"), why))
    return findings


def _machine() -> Iterator[Finding]:
    """The interpreter, DAYBOOK_HOME and its free disk space."""
    yield _found("python", f"{platform.python_version()} at {sys.executable}")
    home = warehouse.home()
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    mode = place.stat().st_mode & 0o777
    if not os.access(place, os.W_OK | os.X_OK):
        advice = f"give it to {getuser()}, or set DAYBOOK_HOME to another folder"
        yield _found("home", f"{place} can't be written", advice)
    elif place != home:
        yield _found("home", f"{home}: not there yet, the first run makes it")
    elif mode & 0o067:  # a server of another user may enter it
        yield _found("home", f"{home} is open to others (mode {mode:03o})", "chmod 700 it", "warn")
    else:
        yield _found("home", f"{home}, its owner's alone")
    free = shutil.disk_usage(place).free
    advice = "free some, or set DAYBOOK_KEEP_DAYS" if free < MUCH_DISK else ""
    state = "fail" if free < LEAST_DISK else "warn"
    yield _found("disk", f"{free / 1e9:,.1f} GB free at {place}", advice, state)


def _warehouse() -> Iterator[Finding]:
    """The server, its version, what it holds, and what this login may."""
    version, problem = warehouse.status()
    is_embedded = warehouse.is_embedded()
    kind = "embedded" if is_embedded else "external"
    if not version and is_embedded and not (warehouse.home() / "pg").exists():
        yield _found("warehouse", f"{kind}: not there yet, the first run makes it")
    elif not version:  # whatever needs the embedded server starts it
        yield Finding("warn" if is_embedded else "fail", "warehouse", f"{kind}: {problem}")
    else:
        advice = "" if re.match(r"1[678]\b", version) else "16 to 18 are supported"
        server = f"{kind}, PostgreSQL {version} at {warehouse.where()}"
        yield _found("warehouse", server, advice)
        yield Finding("fail", "tables", problem) if problem else _rights()


def _rights() -> Finding:
    with warehouse.connect(application_name="daybook doctor", autocommit=True) as connection:
        [(lacking,)] = connection.execute(statement("lacking").encode(), [list(SCHEMAS)])
    if lacking:
        advice = "grant it daybook_loader and daybook_transformer"
        return _found("rights", f"this login can't write {lacking}", advice)
    return _found("rights", "all schemas are writable")


def _stack() -> Iterator[Finding]:
    """Prefect's server and worker, or the port that they would take."""
    if url := api.url():
        worker = stack.worker().pid()
        running = f"Prefect's server at {url}, {'a' if worker else 'no'} worker"
        yield _found("stack", running, "" if worker else "make up", "warn")
    elif address := os.environ.get(api.ADDRESS):
        problem = f"nothing answers at {api.ADDRESS}, {address.rpartition('@')[2]}"
        yield _found("stack", problem, "start what is there, or unset it")
    else:
        yield _found("stack", "not running, and runs here need none (make up starts it)")
        if process.is_free(api.port()):
            yield _found("port", f"{api.port()} is free for make up")
        else:
            advice = "set PREFECT_SERVER_API_PORT to a free one"
            yield _found("port", f"{api.port()} is another program's", advice, "warn")


def _spark() -> Iterator[Finding]:
    """PySpark, which is optional, and the Java that it needs."""
    try:
        spark = f"PySpark {version('pyspark')}"
    except PackageNotFoundError:
        yield _found("spark", "not installed; --engine spark needs it: make setup SPARK=1")
        return
    path, number = java()
    if not path:
        home = os.environ.get("JAVA_HOME")
        no_java = f"{spark}, but no Java{f' at JAVA_HOME, {home}' if home else ''}"
        advice = "set it right" if home else f"install Java {JAVA_FROM}"
        yield _found("spark", no_java, advice, "warn")
        return
    advice = "" if number >= JAVA_FROM else f"{JAVA_FROM} is needed"
    yield _found("spark", f"{spark}, Java {number or 'unknown'} at {path}", advice, "warn")


@command(
    "flows.doctor",
    "Check that this machine and the warehouse are in order; changes nothing. Exit code 1 where"
    " something fails.",
    "example: %(prog)s --json",
    JSON,
)
def main(args: argparse.Namespace) -> int:
    findings = examine()
    if args.json:
        print(json.dumps([each._asdict() for each in findings], indent=2))
    else:
        for each in findings:
            print(wrapped(f"{each.state:4}  {each.what:10} {each.said}", 17))
    return int(any(each.state == "fail" for each in findings))


if __name__ == "__main__":
    sys.exit(main())
