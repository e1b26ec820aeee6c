"""`daybook` as it is typed: help, mistakes, completion, any folder, doctor, and what fits."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows import doctor, report
from flows.cli import COMMANDS, completion, main
from loaders.days import parse_day
from loaders.errors import UNREAD, guarded
from loaders.sources import PROJECT

INSTALLED = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); from flows.cli import main; "
HEAVY = ("prefect", "dbt", "great_expectations", "sqlalchemy", "pandas")


def typed(*words: str, folder: Path, also: str = "code = main(); ") -> Any:
    """As the installed script runs it, in a folder that is not the project's."""
    line = [sys.executable, "-c", INSTALLED + also + "sys.exit(code)", *words]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_under_its_own_name(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: daybook {command}")
    assert f"daybook {command}" in said.split("\n", 1)[1], "an example"
    assert "python -m" not in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "completion"),
        (["--help"], 0, "explain"),
        (["rnu"], 2, "Did you mean run?"),
        (["completion"], 2, "bash, or zsh"),
        (["run"], 2, "DAY"),
        (["run", "day0", "--data", "x"], 2, "'day0' is not a logical day"),
        (["land", "day0"], 2, "'day0' is not a logical day"),
        (["explain", "agent", "1"], 2, "Did you mean agents?"),
        (["status", "--limit", "0"], 2, "--limit is a number of rows, from 1"),
        (["run", "day1", "--data", "x", "--timeout", "inf"], 2, "--timeout is a number"),
        (["plan", "day1", "--data", "nowhere"], 1, "there is no such data folder"),
        (["run", "day1", "--data", "nowhere"], 1, "there is no such data folder"),
        (["backfill", "--days", "day1", "--data", "nowhere"], 1, "there is no such data folder"),
    ],
)
def test_mistakes_are_found_before_anything_heavy_is_imported(
    words: list[str], code: int, said: str, warehouse: str, tmp_path: Path
) -> None:
    tell = f"print([m for m in {HEAVY} if m in sys.modules]); "
    also = f"import atexit; atexit.register(lambda: {tell.strip('; ')}); code = main(); "
    done = typed(*words, folder=tmp_path, also=also)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.endswith("[]\n")


def test_a_fault_of_ours_is_a_sentence_that_names_its_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def faulty() -> int:
        raise KeyError("day")

    assert guarded(faulty) == 1
    said = capsys.readouterr().err
    assert "error: KeyError (test_command.py, line" in said
    assert "'day'" not in said, "its own words may quote a value of data"
    assert guarded(faulty, verbose=True) == 1
    assert capsys.readouterr().err.startswith("Traceback")


def test_who_reads_no_further_is_told_nothing(warehouse: str, tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    line = [sys.executable, "-m", "flows.status"]
    done = subprocess.run(line, stdout=theirs, stderr=subprocess.PIPE, timeout=60)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (UNREAD, b"")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("daybook --help | true", UNREAD),
        ("PYTHONIOENCODING=ascii daybook --help", 0),
        ("daybook run day1 --data nowhere 2>&-", 1),
    ],
)
def test_no_terminal_or_pipe_is_answered_with_a_traceback(
    line: str, code: int, warehouse: str, tmp_path: Path
) -> None:
    installed = tmp_path / "daybook"
    installed.write_text(f"#!{sys.executable}\n{INSTALLED}sys.exit(main())\n")
    installed.chmod(0o755)
    whole = f"set -o pipefail; PATH={tmp_path}:$PATH; {line}"
    done = subprocess.run(["bash", "-c", whole], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, "")


def test_another_pipe_that_breaks_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def faulty() -> int:
        raise BrokenPipeError("a worker's")

    assert guarded(faulty) == 1
    assert capsys.readouterr().err == "error: a worker's\n"


def test_who_lacks_prefects_secret_is_told_which_setting(
    capsys: pytest.CaptureFixture[str],
) -> None:
    request = httpx.Request("GET", "http://me:hunter2@127.0.0.1:4200/api/flow_runs/")
    assert guarded(lambda: httpx.Response(401, request=request).raise_for_status() and 0) == 1
    said = capsys.readouterr().err
    assert "'401 Unauthorized' for url 'http://127.0.0.1:4200/" in said
    assert said.endswith(": set PREFECT_API_AUTH_STRING to that server's secret.\n")


def test_bash_completes_commands_and_their_options(tmp_path: Path) -> None:
    script = tmp_path / "completion"
    script.write_text(completion())

    def completed(*words: str) -> list[str]:
        line = f"COMP_WORDS=(daybook {' '.join(words)}); COMP_CWORD={len(words)}; _daybook"
        shown = subprocess.run(
            ["bash", "-c", f'. {script}; {line}; echo "${{COMPREPLY[@]}}"'],
            capture_output=True,
            text=True,
        )
        assert not shown.stderr
        return shown.stdout.split()

    assert completed("pl") == ["plan"]
    assert completed("run", "--all") == ["--allow-empty", "--allow-shrink"]
    assert "migrate" in completed("warehouse", "''")


def test_psql_works_from_any_folder_and_shows_no_password(warehouse: str, tmp_path: Path) -> None:
    done = typed("psql", "-Atc", "select 1 + 1", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
    from loaders.session import environment

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", "postgresql://me:secret@db.example.com:5433/wh")
        found = environment()
    assert (found["PGHOST"], found["PGPORT"], found["PGPASSWORD"]) == (
        *("db.example.com", "5433"),
        "secret",
    )
    assert int(found["PGCONNECT_TIMEOUT"]) <= 10


def test_doctor_says_what_is_wrong_and_what_to_do(
    warehouse: str,
    db: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def findings() -> tuple[int, dict[str, dict[str, str]]]:
        code = main(["doctor", "--json"])
        return code, {each["what"]: each for each in json.loads(capsys.readouterr().out)}

    _, found = findings()
    assert found["warehouse"]["state"] == found["rights"]["state"] == "ok"
    db.execute("update bronze.alembic_version set version_num = '0001'")
    code, found = findings()
    assert code == 1 and "migrate" in found["tables"]["said"]
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:9/none")
    code, found = findings()
    assert code == 1 and found["warehouse"]["state"] == "fail"
    assert "port 9" in found["warehouse"]["said"] and "secret" not in str(found)
    monkeypatch.setenv("PREFECT_API_URL", "http://me:secret@127.0.0.1:9/api")
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    monkeypatch.setattr(doctor, "version", lambda _: "4.3.0")  # of PySpark, installed or not
    monkeypatch.setenv("DAYBOOK_HOME", str(tmp_path))
    tmp_path.chmod(0o755)
    code, found = findings()
    assert found["stack"]["state"] == "fail" and "secret" not in str(found)
    assert "nothing answers at PREFECT_API_URL, 127.0.0.1:9/api" in found["stack"]["said"]
    assert "no Java at JAVA_HOME, /nowhere: set it right" in found["spark"]["said"]
    assert found["home"]["state"] == "warn" and "chmod 700" in found["home"]["said"]
    tmp_path.chmod(0o710)
    assert findings()[1]["home"]["state"] == "ok"


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_before_the_first_run_nothing_is_at_fault(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DATABASE_URL", "PGHOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DAYBOOK_HOME", "/tmp/a-home-that-is-not-there")
    assert main([command]) == (command == "status")
    said = " ".join("".join(capsys.readouterr()).split())
    assert "No connection" not in said
    assert ("make demo" if command == "status" else "the first run makes it") in said


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_the_account_fits_with_all_its_figures(
    columns: int, warehouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    figures = {name: 1_234_567 + n for n, name in enumerate(report.FIGURES)}
    none = dict.fromkeys(figures)

    def line(table: str, target: str | None, status: str | None, **found: int) -> dict[str, Any]:
        return {"table_name": table, "target": target, "status": status, **none, **found}

    lines = [
        line("stg_transactions", "transactions", "succeeded", **figures),
        line("stg_transactions", "application_spend_monthly", None, new=5),
        line("stg_fx_rates", None, "skipped"),
    ]
    remark = f"stg_agents: fields added: {', '.join(f'field_{n}' for n in range(40))}\x1b[2J"
    account = report.Account("abcdefgh-1234", parse_day("day2"), lines, [], [remark])
    out = io.StringIO()
    report.print_account(account, "succeeded in 1.0 s", file=out)
    said = out.getvalue()
    assert max(map(len, said.splitlines())) <= columns
    assert "day2 succeeded in 1.0 s (run abcdefgh)" in said
    words = " ".join(said.split())
    assert all(f"{figure:,} {name}" in words for name, figure in figures.items())
    assert "what is new: transactions 1,234,569 new" in words
    assert said.index("what is new") < said.index("landed")
    assert "not in the day's files" in said and "field_39" in said and "\x1b" not in said
