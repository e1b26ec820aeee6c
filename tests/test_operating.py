"""What docs/operating.md tells people to type is there to be typed."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from loaders.sources import PROJECT
from tests.forks import Forks

TEXT = (PROJECT / "docs/operating.md").read_text()
MODULES = sorted(set(re.findall(r"python -m ((?:flows|loaders)[\w.]*)", TEXT)))


@pytest.mark.parametrize("module", MODULES)
def test_each_option_of_a_module_is_one_it_has(module: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=PROJECT
    )
    assert shown.returncode == 0, shown.stderr
    for line in re.findall(rf"python -m {re.escape(module)}(?![.\w])([^`\n]*)", TEXT):
        for word in re.findall(r"--[a-z-]+|(?<=^ )[a-z]+", line):
            assert word in shown.stdout, f"{module} {word}"


def test_each_target_of_make_is_there() -> None:
    listed = subprocess.run(["make", "help"], capture_output=True, text=True, cwd=PROJECT).stdout
    wanted = set(re.findall(r"`make ([a-z]+)", TEXT))
    assert {"up", "down", "restart", "status", "logs", "deploy", "psql"} <= wanted
    for target in wanted:
        assert f"make {target} " in listed, target


def test_each_prefect_command_is_one_that_prefect_has(forks: Forks) -> None:
    for command in sorted(set(re.findall(r"(prefect deployment (?:schedule )?[a-z]+) ", TEXT))):
        shown = forks.start(*command.split(), "--help", env=dict(os.environ))
        assert shown.wait() == 0, command
        assert command.split()[-1] in shown.stdout


def test_env_is_read_and_the_environment_wins(tmp_path) -> None:
    rules, end = (PROJECT / "Makefile").read_text().rsplit("\nendif", 1)
    shows = "\nshow:\n\t@echo $(HOME_DIR) $$GREETING\n\nendif"
    (tmp_path / "Makefile").write_text(rules + shows + end)
    (tmp_path / ".env").write_text("DAYBOOK_HOME=/from/env\nGREETING='two words $x'\n")

    def shown(**more: str) -> str:
        return subprocess.run(
            ["make", "--no-print-directory", "show"],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", **more},
            capture_output=True,
            text=True,
        ).stdout.strip()

    assert shown() == "/from/env two words $x"
    assert shown(DAYBOOK_HOME="/mine") == "/mine two words $x"


def test_files_and_settings_that_it_names_are_there() -> None:
    for path in re.findall(r"`?((?:deploy|tests)/[\w./]+\w)", TEXT):
        assert (PROJECT / path).exists() or path == "deploy/.env", path
    explained = (PROJECT / "deploy/.env.example").read_text()
    for setting in set(re.findall(r"\b((?:DAYBOOK|DATA|PREFECT)_[A-Z_]+)", TEXT)):
        assert setting in explained, setting
