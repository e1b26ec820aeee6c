"""What docs/operating.md tells people to type is there to be typed."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from typing import Any

import pytest

from flows.cli import COMMANDS
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
    for line in re.findall(rf"python -m {re.escape(module)}([^`\n]*)", TEXT):
        for word in re.findall(r"--[a-z-]+|(?<=^ )[a-z]+", line):
            assert word in shown.stdout, f"{module} {word}"


def test_each_command_of_daybook_is_there() -> None:
    assert set(re.findall(r"`daybook ([a-z]+)", TEXT)) <= set(COMMANDS)


def test_each_target_of_make_is_there() -> None:
    listed = subprocess.run(["make", "help"], capture_output=True, text=True, cwd=PROJECT).stdout
    wanted = set(re.findall(r"`make ([a-z-]+)", TEXT))
    assert {"up", "down", "restart", "status", "logs", "deploy", "psql"} <= wanted
    assert set(re.findall(r"^  make (compose-[a-z-]+) ", listed, re.M)) <= wanted
    for target in wanted:
        assert f"make {target} " in listed, target


def test_each_prefect_command_is_one_that_prefect_has(forks: Forks) -> None:
    named = re.findall(r"(prefect (?:deployment(?: schedule)?|work-pool|worker) [a-z-]+) ", TEXT)
    for command in sorted(set(named)):
        shown = forks.start(*command.split(), "--help", env=dict(os.environ))
        assert shown.wait() == 0, command
        assert command.split()[-1] in shown.stdout


def test_env_is_read_and_the_environment_wins(tmp_path) -> None:
    rules = (PROJECT / "Makefile").read_text()
    (tmp_path / "Makefile").write_text(rules + "\nshow:\n\t@echo $(HOME_DIR) $$GREETING\n")
    (tmp_path / "deploy").mkdir()
    shutil.copy(PROJECT / "deploy/env.sh", tmp_path / "deploy")
    (tmp_path / ".env").write_text("DAYBOOK_HOME=/from/env\nGREETING='two words $x'\n")

    def shown(*said: str, **more: str) -> str:
        return subprocess.run(
            ["make", "--no-print-directory", "show", *said],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", **more},
            capture_output=True,
            text=True,
        ).stdout.strip()

    assert shown() == "/from/env two words $x"
    assert shown(DAYBOOK_HOME="/mine") == "/mine two words $x"
    assert shown("DAYBOOK_HOME=/said") == "/said two words $x"
    (tmp_path / ".env").unlink()
    assert shown() == ".daybook"


def test_compose_up_makes_passwords_that_their_owner_alone_can_read(tmp_path) -> None:
    """A docker of our own tells what it was asked."""
    (tmp_path / "docker").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "docker").chmod(0o755)
    shutil.copy(PROJECT / "Makefile", tmp_path)
    shutil.copytree(PROJECT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns(".env"))

    def made(*goal: str, **named: Any) -> str:
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        done = subprocess.run(
            ["make", *goal], cwd=tmp_path, env=environment, capture_output=True, text=True, **named
        )
        return done.stdout.strip()

    assert made("compose-up") == "compose -f deploy/compose.yaml up -d"
    settings = tmp_path / "deploy/.env"
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    found = re.findall(r"^(\w+_PASSWORD)=(\w{32})$", settings.read_text(), re.M)
    assert len({name for name, _ in found}) == len({password for _, password in found}) == 4
    before = settings.read_text()
    dev = "-f deploy/compose.yaml -f deploy/compose.dev.yaml"
    assert made("compose-up", "DEV=1") == f"compose {dev} up -d"
    assert settings.read_text() == before
    asked = made("compose-exec", "RUN=python -m flows.status")
    assert asked.endswith("exec prefect-worker python -m flows.status")
    assert "down" not in made("compose-down-volumes", input="no\n")
    assert made("compose-down-volumes", input="yes\n").endswith("down --volumes")


def test_files_and_settings_that_it_names_are_there() -> None:
    for path in re.findall(r"`?((?:deploy|tests)/[\w./]+\w)", TEXT):
        assert (PROJECT / path).exists() or path == "deploy/.env", path
    explained = (PROJECT / "deploy/.env.example").read_text()
    for setting in set(re.findall(r"\b((?:DAYBOOK|DATA|PREFECT)_[A-Z_]+)", TEXT)):
        assert setting in explained, setting
