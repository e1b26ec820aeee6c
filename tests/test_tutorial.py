"""docs/tutorial.md as a reader types it, from its first line to its last."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from loaders.sources import PROJECT
from tests.conftest import dbt_settings, new_home, remove_home

BLOCKS = re.findall(
    r"^```(sh|text)\n(.*?)^```$", (PROJECT / "docs/tutorial.md").read_text(), re.M | re.S
)
MARK = "-- the end of block"


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(dbt_folder: Path) -> None:
    folder = new_home()
    command = folder / ".venv/bin/daybook"
    command.parent.mkdir(parents=True)
    words = shlex.join([sys.executable, "-m", "flows.cli"])
    command.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(PROJECT))} exec {words} "$@"\n')
    command.chmod(0o755)
    script = "set -e\n" + "".join(
        f"{text}echo '{MARK} {number}'\n"
        for number, (kind, text) in enumerate(BLOCKS)
        if kind == "sh"
    )
    environment = {**os.environ, **dbt_settings(dbt_folder)}
    try:
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        for number, (kind, text) in enumerate(BLOCKS):
            if kind == "text":
                said = done.stdout.split(f"{MARK} {number - 1}\n")[0]
                said = said.rpartition(MARK)[2]
                for line in text.splitlines():
                    assert line in said, f"{line}\n--- but was\n{said}"
        assert (folder / "mine/warehouse/site/index.html").exists()
    finally:
        remove_home(folder / "mine/warehouse")
        remove_home(folder)
