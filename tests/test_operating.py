"""What docs/operating.md says of Prefect, settings and containers; the rest is in test_docs.py."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from typing import Any

from loaders.sources import PROJECT
from tests.watching import run_command

TEXT = (PROJECT / "docs/operating.md").read_text()


def test_each_prefect_command_is_one_that_prefect_has(forks):
    named = re.findall(r"(prefect (?:deployment(?: schedule)?|work-pool|worker) [a-z-]+) ", TEXT)
    for command in sorted(set(named)):
        shown = forks.start(*command.split(), "--help", env=dict(os.environ))
        assert shown.wait() == 0, command
        assert command.split()[-1] in shown.stdout


def test_env_is_read_and_the_environment_wins(tmp_path):
    rules = (PROJECT / "Makefile").read_text()
    (tmp_path / "Makefile").write_text(rules + "\nshow:\n\t@echo $(HOME_DIR) $$GREETING\n")
    (tmp_path / "deploy").mkdir()
    shutil.copy(PROJECT / "deploy/env.sh", tmp_path / "deploy")
    (tmp_path / ".env").write_text("DAYBOOK_HOME=/from/env\nGREETING='two words $x'\n")

    def shown(*assignments: str, **environment: str) -> str:
        command = ("make", "--no-print-directory", "show", *assignments)
        done = run_command(*command, cwd=tmp_path, env={"PATH": "/usr/bin:/bin", **environment})
        return done.stdout.strip()

    assert shown() == "/from/env two words $x"
    assert shown(DAYBOOK_HOME="/mine") == "/mine two words $x"
    assert shown("DAYBOOK_HOME=/said") == "/said two words $x"
    (tmp_path / ".env").unlink()
    assert shown() == ".daybook"


def test_compose_up_makes_passwords_that_their_owner_alone_can_read(tmp_path):
    """In the place of docker stands a program that prints its arguments."""
    (tmp_path / "docker").write_text('#!/bin/sh\necho "$@" $DAYBOOK_SOURCES\n')
    (tmp_path / "docker").chmod(0o755)
    shutil.copy(PROJECT / "Makefile", tmp_path)
    shutil.copytree(PROJECT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns(".env"))

    def make(*words: str, **answer: Any) -> str:
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        return run_command("make", *words, cwd=tmp_path, env=environment, **answer).stdout.strip()

    assert make("compose-up") == "compose -f deploy/compose.yaml up -d"
    settings = tmp_path / "deploy/.env"
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    passwords = dict(re.findall(r"^(\w+_PASSWORD)=(\w{32})$", settings.read_text(), re.M))
    assert len(passwords) == len({*passwords.values()}) == 4
    (tmp_path / ".env").write_text("DAYBOOK_SOURCES=a/path/of/this/machine\n")
    before = settings.read_text()
    dev = "-f deploy/compose.yaml -f deploy/compose.dev.yaml"
    assert make("compose-up", "DEV=1") == f"compose {dev} up -d"
    assert settings.read_text() == before
    command = make("compose-exec", "RUN=python -m flows.status")
    assert command.endswith("exec prefect-worker python -m flows.status")
    assert "down" not in make("compose-down-volumes", input="no\n")
    assert make("compose-down-volumes", input="yes\n").endswith("down --volumes")


def test_the_command_works_where_the_projects_folder_has_a_blank(tmp_path):
    folder = tmp_path / "a b"
    for file in ("requirements-setup.lock", ".venv/.uv", ".venv/bin/none", "flows/cli.py"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    (folder / "flows/cli.py").write_text("import sys\ndef main():\n    print(sys.argv[1:])\n")
    (folder / ".venv/bin/python").symlink_to(sys.executable)
    shutil.copy(PROJECT / "Makefile", folder)
    shutil.copytree(PROJECT / "deploy", folder / "deploy")
    assert run_command("make", ".venv/bin/daybook", cwd=folder).returncode == 0
    done = run_command(folder / ".venv/bin/daybook", "x y", "'", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, """['x y', "'"]\n"""), done.stderr


def test_a_lock_that_is_not_as_it_was_committed_is_noticed(tmp_path):
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        named = ["-c", "user.name=a", "-c", "user.email=a@example.com"] if words[0] == "git" else []
        return run_command(words[0], *named, *words[1:], cwd=tmp_path)

    (tmp_path / "Makefile").write_text((PROJECT / "Makefile").read_text())
    (tmp_path / "requirements.lock").write_text("uv==1 --hash=sha256:00\n")
    assert run("make", "locks").returncode == 0  # no repository: there is nothing to hold it to
    for words in (("init",), ("add", "."), ("commit", "-m", "all")):
        assert run("git", *words).returncode == 0
    assert run("make", "locks").returncode == 0
    (tmp_path / "requirements.lock").write_text("uv==1 --hash=sha256:11\n")
    found = run("make", "locks")
    assert found.returncode == 2
    assert "not as it was committed" in found.stdout
    assert "requirements.lock" in found.stdout


def test_files_and_settings_that_it_names_are_there():
    for path in re.findall(r"`?((?:deploy|tests)/[\w./]+\w)", TEXT):
        assert (PROJECT / path).exists() or path == "deploy/.env", path
    explained = (PROJECT / "deploy/.env.example").read_text()
    for setting in set(re.findall(r"\b((?:DAYBOOK|DATA|PREFECT)_[A-Z_]+)", TEXT)):
        assert setting in explained, setting
