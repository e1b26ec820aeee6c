"""docs/tutorial.md, typed from its first line to its last."""

from __future__ import annotations

import os
import re
import sys
from multiprocessing.connection import Client, Listener
from threading import Thread

import pytest

from loaders.sources import PROJECT
from tests.conftest import dbt_settings, new_home, remove_home
from tests.forks import Forks
from tests.watching import run_command

BLOCKS = re.findall(
    r"^```(sh|text)\n(.*?)^```$", (PROJECT / "docs/tutorial.md").read_text(), re.M | re.S
)
MARK = "-- the end of block"
# `daybook` as the reader types it: the test runs it as a fork, in the shell's environment.
DAYBOOK = f"""#!{sys.executable} -IS
import os, sys
from multiprocessing.connection import Client
with Client({{address!r}}) as test:
    test.send((sys.argv[1:], dict(os.environ), os.getcwd()))
    out, err, code = test.recv()
print(out, end="")
print(err, end="", file=sys.stderr)
sys.exit(code)
"""


def serve(typed: Listener, forks: Forks) -> None:
    """Run each command that is typed, until an empty one."""
    while True:
        with typed.accept() as caller:
            words, environment, folder = caller.recv()
            if not words:
                return
            done = forks.start("flows.cli", *words, env=environment, folder=folder)
            done.wait()
            caller.send((done.stdout, done.stderr, done.returncode))


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(dbt_folder, forks, prefect_url):
    folder = new_home()
    command = folder / ".venv/bin/daybook"
    command.parent.mkdir(parents=True)
    command.write_text(DAYBOOK.format(address=str(folder / "typed")))
    command.chmod(0o755)
    script = "set -e\n" + "".join(
        f"{text}echo '{MARK} {number}'\n"
        for number, (kind, text) in enumerate(BLOCKS)
        if kind == "sh"
    )
    environment = {**os.environ, **dbt_settings(dbt_folder), "PREFECT_API_URL": prefect_url}
    try:
        with Listener(str(folder / "typed")) as typed:
            serving = Thread(target=serve, args=(typed, forks))
            serving.start()
            done = run_command("bash", "-c", script, cwd=folder, env=environment)
            with Client(typed.address) as last:
                last.send(((), {}, ""))
            serving.join()
        assert done.returncode == 0, done.stdout + done.stderr
        for number, (kind, text) in enumerate(BLOCKS):
            if kind == "text":
                printed = done.stdout.split(f"{MARK} {number - 1}\n")[0]
                printed = printed.rpartition(MARK)[2]
                for line in text.splitlines():
                    assert line in printed, f"{line}\n--- but was\n{printed}"
        assert (folder / "mine/warehouse/site/index.html").exists()
    finally:
        remove_home(folder / "mine/warehouse")
        remove_home(folder)
