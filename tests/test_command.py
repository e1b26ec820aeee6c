"""The command `daybook`: help, mistakes, completion, from any folder, doctor, width of output."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from flows import backfill, doctor, report
from flows.cli import COMMANDS, completion, main
from flows.day import supervised
from flows.pages.render import render
from flows.prove import Difference
from flows.run import Stop
from loaders import errors
from loaders.days import parse_day
from loaders.errors import UNREAD, DaybookError, guarded
from loaders.session import environment
from loaders.sources import PROJECT
from tests.watching import run_command, run_python

INSTALLED = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); from flows.cli import main; "
HEAVY = ("prefect", "dbt", "great_expectations", "sqlalchemy", "pandas")


def typed(*words: str, folder: Path, also: str = "code = main(); ") -> Any:
    """As the installed script runs it, in a folder that is not the project's."""
    return run_python("-c", f"{INSTALLED}{also}sys.exit(code)", *words, cwd=folder)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_under_its_own_name(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: daybook {command}")
    assert f"daybook {command}" in printed.split("\n", 1)[1], "an example"
    assert "python -m" not in printed
    assert "$(" not in printed, "the address may have a password, and everybody sees arguments"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "completion"),
        (["--help"], 0, "explain"),
        (["rnu"], 2, "Did you mean run?"),
        (["completion"], 2, "bash, or zsh"),
        (["completion", "--help"], 0, "completion bash"),
        (["run"], 2, "one of the arguments DAY --day is required"),
        (["run", "day0", "--data", "x"], 2, "'day0' is not a logical day"),
        (["land", "day0"], 2, "'day0' is not a logical day"),
        (["explain", "agent", "1"], 2, "Did you mean agents?"),
        (["status", "--limit", "0"], 2, "--limit is a number of rows, from 1"),
        (["run", "day1", "--data", "x", "--timeout", "inf"], 2, "--timeout is a number"),
        (["plan", "day1", "--data", "nowhere"], 1, "there is no such data folder"),
        (["run", "day1", "--data", "caf\udce9"], 2, "A path that is not UTF-8"),
        (["run", "day1", "--data", "nowhere"], 1, "there is no such data folder"),
        (["backfill", "--days", "day1", "--data", "nowhere"], 1, "there is no such data folder"),
    ],
)
def test_mistakes_are_found_before_anything_heavy_is_imported(
    words, code, message, warehouse, tmp_path
):
    tell = f"print([m for m in {HEAVY} if m in sys.modules])"
    also = f"import atexit; atexit.register(lambda: {tell}); code = main(); "
    done = typed(*words, folder=tmp_path, also=also)
    assert done.returncode == code, done.stderr
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.endswith("[]\n")


def test_a_fault_of_ours_is_a_sentence_that_names_its_place(capsys):
    def faulty() -> int:
        raise KeyError("day")

    assert guarded(faulty) == 1
    printed = capsys.readouterr().err
    assert "error: KeyError (test_command.py, line" in printed
    assert "'day'" not in printed, "its own words may quote a value of data"
    assert guarded(faulty, verbose=True) == 1
    assert capsys.readouterr().err.startswith("Traceback")


def test_a_failure_on_a_full_disk_says_which(monkeypatch, tmp_path, capsys):
    def faulty() -> int:
        raise DaybookError("its cause is not in it")

    monkeypatch.setenv("DAYBOOK_HOME", str(tmp_path))
    monkeypatch.setattr(errors, "ROOM", 1 << 62)
    assert guarded(faulty) == 1
    said = f"error: its cause is not in it\nThe disk of {tmp_path} is full: make room there.\n"
    assert capsys.readouterr().err == said


def test_an_interrupt_that_a_library_swallowed_ends_the_command_and_is_told_once(
    capsys, monkeypatch
):
    def work() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)

    days: list[str] = []
    monkeypatch.setattr(backfill, "show_day", lambda day, *_, **__: days.append(day))
    monkeypatch.setattr(backfill, "gc", SimpleNamespace(collect=work))
    between_days = ["--days", "day1", "day2", "--data", "tests/sample"]
    for command in (work, lambda: guarded(work), lambda: backfill.main(between_days)):
        assert guarded(command) == 1
        assert capsys.readouterr().err == "error: interrupted\n"
    assert days == ["day1"]
    work()  # outside of any command it is no command's
    assert guarded(lambda: None) == 0


def test_a_signal_that_the_shell_ignores_ends_no_day():
    async def day() -> Any:
        os.kill(os.getpid(), signal.SIGINT)

    before, stop = signal.signal(signal.SIGINT, signal.SIG_IGN), Stop()
    try:
        supervised(stop, day)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    stop.check()


def test_a_reader_that_closes_its_pipe_gets_no_message(warehouse, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "flows.status"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (UNREAD, b"")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("daybook --help | true", UNREAD),
        ("PYTHONIOENCODING=ascii daybook --help", 0),
        ("daybook run day1 --data nowhere 2>&-", 1),
    ],
)
def test_no_terminal_or_pipe_is_answered_with_a_traceback(line, code, warehouse, tmp_path):
    installed = tmp_path / "daybook"
    installed.write_text(f"#!{sys.executable}\n{INSTALLED}sys.exit(main())\n")
    installed.chmod(0o755)
    whole = f"set -o pipefail; PATH={tmp_path}:$PATH; {line}"
    done = run_command("bash", "-c", whole, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (code, "")


def test_a_broken_pipe_of_a_worker_is_an_error(capsys):
    def faulty() -> int:
        raise BrokenPipeError("a worker's")

    assert guarded(faulty) == 1
    assert capsys.readouterr().err == "error: a worker's\n"


def test_a_wrong_prefect_secret_is_answered_with_the_setting(capsys):
    request = httpx.Request("GET", "http://me:hunter2@127.0.0.1:4200/api/flow_runs/")
    assert guarded(lambda: httpx.Response(401, request=request).raise_for_status() and 0) == 1
    printed = capsys.readouterr().err
    assert "'401 Unauthorized' for url 'http://127.0.0.1:4200/" in printed
    assert printed.endswith(": set PREFECT_API_AUTH_STRING to that server's secret.\n")


def test_bash_completes_commands_and_their_options(tmp_path):
    script = tmp_path / "completion"
    script.write_text(completion())

    def completed(*words: str) -> list[str]:
        line = f"COMP_WORDS=(daybook {' '.join(words)}); COMP_CWORD={len(words)}; _daybook"
        shown = run_command("bash", "-c", f'. {script}; {line}; echo "${{COMPREPLY[@]}}"')
        assert not shown.stderr
        return shown.stdout.split()

    assert completed("pl") == ["plan"]
    assert completed("run", "--all") == ["--allow-empty", "--allow-shrink"]
    assert "migrate" in completed("warehouse", "''")


def test_psql_works_from_any_folder_and_shows_no_password(warehouse, tmp_path):
    for words in (["-Atc"], ["--", "-Atc"]):
        done = typed("psql", *words, "select 1 + 1", folder=tmp_path)
        assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", "postgresql://me:secret@db.example.com:5433/wh")
        found = environment()
    expected = {"PGHOST": "db.example.com", "PGPORT": "5433", "PGPASSWORD": "secret"}
    assert found.items() >= expected.items()
    assert int(found["PGCONNECT_TIMEOUT"]) <= 10


def test_doctor_says_what_is_wrong_and_what_to_do(warehouse, db, monkeypatch, capsys, tmp_path):
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
def test_before_the_first_run_nothing_is_at_fault(command, monkeypatch, capsys):
    for name in ("DATABASE_URL", "PGHOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DAYBOOK_HOME", "/tmp/a-home-that-is-not-there")
    assert main([command]) == (command == "status")
    printed = " ".join("".join(capsys.readouterr()).split())
    assert "No connection" not in printed
    assert ("make demo" if command == "status" else "the first run makes it") in printed


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("status", {"lock": f"daybook run {'f' * 36} 2026-01-05 since 2026-01-05 10:00:00 UTC"}),
        ("forget", {"namesakes": 2}),
        ("prove", {"partings": [Difference("silver.agents", 1, 1, [["9001"]] * 5)]}),
        ("prove", {"expired": ["2026-01-05"] * 9}),
    ],
)
def test_what_a_command_says_fits(command, answer, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    nothing: Any = {"last_run": None, "days": {}, "runs": [], "landings": [], "partings": []}
    nothing |= {"expired": [], "rows": {}, "forgotten": False, "verdict": "", "namesakes": 0}
    printed = render(f"{command}.txt.j2", **nothing | answer)
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_the_account_fits_with_all_its_figures(columns, warehouse, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    names = ["landed", "rejected", "new", "changed", "gone", "unchanged", "stale", "duplicate"]
    figures = {name: 1_234_567 + n for n, name in enumerate([*names, "quarantined"])}
    none = dict.fromkeys(figures)

    def line(table: str, target: str | None, status: str | None, **found: int) -> dict[str, Any]:
        name = table.removeprefix("stg_") if status else f"  {target}"
        return {"name": name, "target": target, "status": status, **none, **found}

    lines = [
        line("stg_transactions", "transactions", "succeeded", **figures),
        line("stg_transactions", "application_spend_monthly", None, new=5),
        line("stg_fx_rates", None, "skipped"),
    ]
    remark = f"stg_agents: fields added: {', '.join(f'field_{n}' for n in range(40))}\x1b[2J"
    account = report.Account("abcdefgh-1234", parse_day("day2"), lines, [], [remark])
    out = io.StringIO()
    report.print_account(account, "succeeded in 1.0 s", file=out)
    printed = out.getvalue()
    assert max(map(len, printed.splitlines())) <= columns
    assert "day2 succeeded in 1.0 s (run abcdefgh)" in printed
    words = " ".join(printed.split())
    assert all(f"{figure:,} {name}" in words for name, figure in figures.items())
    assert "what is new: transactions 1,234,569 new" in words
    assert printed.index("what is new") < printed.index("landed")
    assert "not in the day's files" in printed and "field_39" in printed and "\x1b" not in printed
