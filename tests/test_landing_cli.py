"""`python -m loaders`: what it prints, and how it ends."""

from __future__ import annotations

import pytest

from loaders.__main__ import account, main
from loaders.lock import run_lock
from tests.raw_days import statuses, write, write_day


@pytest.mark.usefixtures("warehouse")
def test_a_day_is_landed_and_accounted_for(tmp_path, capsys, monkeypatch):
    write_day(tmp_path, **{"roles.csv": "role_id,name,hue\n1,r,red\n"})
    assert main(["--day", "day1", "--data", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["table", "status", "in", "files", "landed", "rejected", "seconds"]
    assert account([]).split() == lines[0].split()
    assert lines[1].split()[:5] == ["stg_agents", "succeeded", "1", "1", "0"]
    assert "stg_roles: fields missing" in lines[-1]
    assert "unknown hue" in lines[-1]
    monkeypatch.setenv("DATA_BASE_PATH", str(tmp_path))
    assert main(["--day", "day1", "--table", "stg_agents"]) == 0
    assert "unchanged" in capsys.readouterr().out


@pytest.mark.usefixtures("warehouse")
def test_failures_of_data_end_with_1(tmp_path, capsys, db):
    assert main(["--day", "day1", "--data", str(tmp_path)]) == 1
    assert "has no day1/" in capsys.readouterr().err
    folder = write_day(tmp_path)
    write(folder, "agents.json", "[]")
    assert main(["--day", "day1", "--data", str(tmp_path)]) == 1
    assert "--allow-empty" in capsys.readouterr().err
    assert main(["--day", "day1", "--data", str(tmp_path), "--allow-empty"]) == 0
    db.execute("update bronze.load_batches set status = 'running', finished_at = null")
    assert main(["--day", "day1", "--data", str(tmp_path), "--allow-empty", "--force"]) == 0
    assert "running" not in statuses(db)


def test_usage_ends_with_2(capsys):
    assert main(["--day", "day1"]) == 2
    assert "DATA_BASE_PATH" in capsys.readouterr().err
    assert main(["--day", "day1", "--data", "x", "--workers", "0"]) == 2
    assert "--workers is a number of processes from 1" in capsys.readouterr().err
    with pytest.raises(SystemExit) as raised:
        main(["--data", "x"])
    assert raised.value.code == 2


@pytest.mark.usefixtures("warehouse")
def test_a_held_warehouse_ends_with_3(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("loaders.lock.WAIT", 0.1)
    with run_lock("daybook run r1 day1"):
        assert main(["--day", "day1", "--data", str(tmp_path)]) == 3
    assert "daybook run r1 day1" in capsys.readouterr().err
