"""Commands, options, files, links, settings and tests that the documentation names exist."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from flows.checks import accepted
from flows.cli import COMMANDS, main
from flows.pages.render import render
from flows.prove import Difference, Proof, as_answer
from loaders.__main__ import main as loaders_main
from loaders.sources import PROJECT, declared_tables
from tests.silver_world import agent, group
from tests.watching import run_command, run_python

PAGES = {
    page.relative_to(PROJECT).as_posix(): page.read_text()
    for page in [
        *PROJECT.glob("*.md"),
        *(PROJECT / "docs").glob("*.md"),
        PROJECT / "tests/README.md",
    ]
}
TEXT = "\n".join(PAGES.values())
MODULES = sorted(
    set(re.findall(r"python -m ((?:flows|loaders|benchmarks)(?:\.\w+)*)(?![\w.])", TEXT))
)
TYPED = re.findall(r"\bdaybook ([a-z]+)([^`\n#]*)", TEXT)
PROMISES = ("README.md", "SECURITY.md", "docs/guarantees.md")


@pytest.mark.parametrize("module", MODULES)
def test_each_option_of_a_module_is_one_it_has(module):
    for line in re.findall(rf"python -m {re.escape(module)}(?![\w.])([^`\n#]*)", TEXT):
        printed = help_of(module, *re.findall("^ ([a-z]+)", line))
        for option in re.findall(r"--[a-z-]+", line):
            assert option in printed, f"{module} {option}"
        assert f"python -m {module}" in printed


@cache
def help_of(module: str, *subcommand: str) -> str:
    shown = run_python("-m", module, *subcommand, "--help")
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


@pytest.mark.parametrize("command", sorted({command for command, _ in TYPED} - {"completion"}))
def test_each_command_of_daybook_has_its_options(command, capsys):
    assert command in COMMANDS
    with pytest.raises(SystemExit):
        main([command, "--help"])
    printed = capsys.readouterr().out
    for name, line in TYPED:
        for option in re.findall(r"--[a-z-]+", line) if name == command else []:
            assert option in printed, f"{command} {option}"


def test_each_target_of_make_is_there():
    listed = run_command("make", "help").stdout
    assert max(map(len, listed.splitlines())) <= 80
    wanted = set(re.findall(r"(?:`|^)make ([a-z-]+)", TEXT, re.M))
    for target in wanted:
        assert f"make {target} " in listed, target
    operating = set(re.findall(r"`make ([a-z-]+)", PAGES["docs/operating.md"]))
    assert {"up", "down", "restart", "status", "logs", "deploy", "psql"} <= operating
    assert set(re.findall(r"^  make (compose-[a-z-]+) ", listed, re.M)) <= operating


@pytest.mark.parametrize("page", PAGES)
def test_links_and_files_that_a_page_names_are_there(page):
    for path, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", PAGES[page]):
        target = (PROJECT / page).parent / path if path else PROJECT / page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"
    folders = "deploy|docs|examples|flows|loaders|macros|models|seeds|tests"
    for path in re.findall(rf"`((?:{folders})/[\w./-]*)(?:::\w+)?`", PAGES[page]):
        made = path == "deploy/.env" or "licences" in path  # by set-up, and by daybook new
        assert made or (PROJECT / path).exists(), path


@cache
def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PROMISES)
def test_each_promise_names_a_test_that_exists(page):
    rows = re.findall(r"^\| .*\|$", PAGES[page].partition("| test |")[2], re.M)
    promises = rows[:5] if page == "README.md" else rows
    assert len(promises) >= 5
    for promise in promises:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", promise)
        assert named, promise
        for file, test in named:
            assert f"def {test}(" in (PROJECT / file).read_text(), f"{file}::{test}"


def test_each_guarantee_of_the_readme_is_one_of_all():
    rows = re.findall(r"^\| .*::.*\|$", PAGES["README.md"], re.M)
    assert len(rows) == 5
    assert set(rows) <= set(PAGES["docs/guarantees.md"].splitlines())


def test_each_setting_that_is_read_is_explained():
    files = [*(PROJECT / "loaders").rglob("*.py"), *(PROJECT / "flows").rglob("*.py")]
    files += [*(PROJECT / "macros").glob("*.sql"), *(PROJECT / "models").rglob("*.sql")]
    files += [PROJECT / "profiles.example.yml"]
    read = {name for file in files for name in re.findall(r"\bDAYBOOK_[A-Z_]+\b", file.read_text())}
    assert read == set(re.findall(r"\bDAYBOOK_[A-Z_]+\b", PAGES["docs/settings.md"]))


def test_the_story_that_the_readme_tells_is_the_tutorials():
    """Which a test types."""
    (story,) = re.findall(r"^\$ daybook explain transactions T-10\n(.*?)^```", TEXT, re.M | re.S)
    for line in story.splitlines():
        assert line in PAGES["docs/tutorial.md"], line
    for record in re.findall(r"T-10,\S+,Ada Brook.*$", PAGES["README.md"], re.M):
        assert record in PAGES["docs/tutorial.md"]


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGES[page], re.M | re.S)


def test_examples_of_yaml_are_read(tmp_path, monkeypatch):
    overlay, hashing = blocks("docs/your-data.md", "yaml")
    (known,) = blocks("docs/operating.md", "yaml")
    file = tmp_path / "example.yml"
    file.write_text(overlay)
    assert declared_tables(file)["stg_agents"].found_under[0] == "users"
    file = tmp_path / "hashing.yml"
    file.write_text(hashing)
    assert declared_tables(file)["stg_transactions"].hashes
    file.write_text(known)
    monkeypatch.setattr(accepted, "FILE", file)
    found, wrong = accepted.read_accepted()
    assert found and not wrong


def test_the_logins_that_are_shown_can_be_made(db):
    (statements,) = blocks("docs/operating.md", "sql")
    with db.transaction(force_rollback=True):
        db.execute(statements)


def test_what_the_readme_plans_is_planned(db, capsys):
    (typed,) = re.findall(r"^\.venv/bin/daybook (plan .*?) +#", PAGES["README.md"], re.M)
    arguments = shlex.split(typed.replace("path/to/raw", str(PROJECT / "tests/sample")))
    assert main(arguments) == 0
    assert "agents.csv: 17 rows" in capsys.readouterr().out


# Each block of code, by how it begins: the test that runs it, or why none does.
HELD = {
    "raw file          raw/": "test_the_story_that_the_readme_tells_is_the_tutorials",
    "$ daybook explain": "test_the_story_that_the_readme_tells_is_the_tutorials",
    "make demo": ".ci/run runs it: three whole days, and set-up before",
    ".venv/bin/daybook plan": "test_what_the_readme_plans_is_planned",
    ".venv/bin/python -m loaders": "test_what_the_readme_does_by_hand_is_done",
    " raw file    people.csv": "a picture",
    "dbt show": "test_what_the_pages_ask_of_a_built_warehouse_is_answered",
    "select agents.agent_id": "test_what_the_pages_ask_of_a_built_warehouse_is_answered",
    ".venv/tools/bin/datacontract": "tests/test_tools.py runs it",
    "daybook:": "tests/test_tools.py has dbt-ol read it",
    "export PATH": "tests/test_tools.py runs it",
    "transactions.unmatched_share": "test_examples_of_yaml_are_read",
    "stg_agents:": "test_examples_of_yaml_are_read",
    "DAYBOOK_HOME=old": "tests/test_backup.py has it in test_an_upgrade_from_16_to_18",
    "silver.agents: 1 row only": "test_what_a_proof_says_is_what_the_page_shows",
    "create role nightly": "test_the_logins_that_are_shown_can_be_made",
    "python3 -m venv packed": "there is no such cluster",
    "export PYTHONPATH": "there is no such cluster",
    "spark.jars.packages": "there is no such jar",
}


def test_each_block_of_a_page_is_run_or_it_is_said_why_not():
    found = [
        text
        for page in PAGES
        if page != "docs/tutorial.md"  # all of it is typed, in test_tutorial.py
        for text in re.findall(r"^```\w*\n(.*?)^```$", PAGES[page], re.M | re.S)
    ]
    for text in found:
        held = [by for start, by in HELD.items() if text.startswith(start)]
        assert len(held) == 1, text
        assert not held[0].startswith("test_") or held[0] in globals(), held
    assert [start for start in HELD if not any(text.startswith(start) for text in found)] == []


def commands(page: str, start: str) -> list[list[str]]:
    """The commands of the page's block that begins so, each as words, without its remark."""
    (text,) = [text for text in blocks(page, "sh") if text.startswith(start)]
    return [shlex.split(line, comments=True) for line in text.splitlines()]


def test_ci_begins_with_the_commands_of_the_readme_with_nothing_exported():
    typed = [words[1] for words in commands("README.md", "make demo")]
    ran = re.findall(r'^"\$\{bare\[@\]\}" make ([a-z-]+)', (PROJECT / ".ci/run").read_text(), re.M)
    assert ran[:2] == typed == ["demo", "test"]


def test_what_the_readme_does_by_hand_is_done(db, dbt, monkeypatch, tmp_path):
    monkeypatch.setenv("DBT_LOG_PATH", str(tmp_path))
    land, build, generate = commands("README.md", ".venv/bin/python -m loaders")
    data = str(PROJECT / "tests/sample")
    assert loaders_main([data if word == "path/to/raw" else word for word in land[3:]]) == 0
    assert dbt(*build[1:]).success
    assert db.execute("select from metrics.group_activity limit 1").fetchone() is not None
    assert dbt(*generate[1:]).success


def test_what_the_pages_ask_of_a_built_warehouse_is_answered(world):
    (question,) = blocks("docs/concepts.md", "sql")
    world.day("day1", agents=[agent(1), agent(2, deactivated="true")], groups=[group(5, [2])])
    assert [row["agent_id"] for row in world.db.execute(question)] == ["2"]
    (show,) = commands("docs/architecture.md", "dbt show")
    assert world.dbt(*show[1:]).success


def test_what_a_proof_says_is_what_the_page_shows():
    parting = Difference("silver.agents", 1, 1, [["9001"]])
    proof = Proof(datetime.now(UTC), days=3, tables=30, expired=[], partings=[parting])
    printed = render("prove.txt.j2", **as_answer(proof))
    assert printed + "\n" in blocks("docs/operating.md", "")
