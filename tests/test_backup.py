"""A restore brings back the whole backup, on a newer PostgreSQL too, or changes nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from loaders import backup, landing, lock, restore, warehouse
from loaders.days import parse_day
from loaders.errors import DaybookError, LockedError, UsageError, WarehouseError
from loaders.sources import PROJECT
from loaders.sql import statement
from tests.conftest import new_home, remove_home
from tests.raw_days import SAMPLE
from tests.watching import column, until, value


def contents(db: Any) -> dict[str, Any]:
    """A hash of the rows of each table of the warehouse."""
    tables = (
        "select oid::regclass::text from pg_class where relkind = 'r'"
        " and relnamespace::regnamespace::text = any(%s)"
    )
    rows = "select md5(string_agg(held::text, '|' order by held::text)) from {} as held"
    return {name: value(db, rows.format(name)) for name in column(db, tables, [[*backup.SCHEMAS]])}


@pytest.fixture
def saved(db, tmp_path) -> Path:
    """The backup of a warehouse in which a day has landed."""
    landing.land_day(SAMPLE, parse_day("day1"))
    file = tmp_path / "warehouse.backup"
    assert backup.main([str(file)]) == 0
    return file


def test_what_was_saved_takes_the_place_of_what_is_there(db, saved):
    assert saved.stat().st_mode & 0o777 == 0o600
    before = contents(db)
    assert "bronze.backup_hashes" not in before
    landing.land_day(SAMPLE, parse_day("day2"))
    with pytest.raises(UsageError, match="landings: with --replace they give way"):
        restore.restore(saved)
    assert contents(db) != before
    assert restore.main([str(saved), "--replace"]) == 0
    assert contents(db) == before
    # owners and rights are there again: a loader lands, a transformer reads
    landing.land_day(SAMPLE, parse_day("day2"))
    with warehouse.connect(role=warehouse.TRANSFORMER) as conn:
        conn.execute("select from bronze.stg_agents")
    assert list(saved.parent.iterdir()) == [saved]


def test_whatever_search_path_a_database_has_what_was_saved_comes_back(db, tmp_path):
    db.execute("alter database daybook set search_path = bronze, metrics")
    assert backup.main([str(tmp_path / "b")]) == 0
    assert restore.main([str(tmp_path / "b")]) == 0


def test_a_restore_that_is_killed_changes_nothing(db, saved):
    landing.land_day(SAMPLE, parse_day("day2"))
    before = contents(db)
    command = [sys.executable, "-m", "flows.cli", "restore", str(saved), "--replace"]
    with warehouse.connect() as reader:
        reader.execute("select from bronze.load_batches")  # what is there can't be dropped yet
        running = subprocess.Popen(command, cwd=PROJECT)
        psql = (
            "select from pg_stat_activity where application_name = 'psql'"
            " and datname = current_database()"
        )
        until(lambda: db.execute(f"{psql} and wait_event_type = 'Lock'").fetchone() is not None)
        running.kill()
        running.wait()
    until(lambda: db.execute(psql).fetchone() is None)
    assert contents(db) == before


def test_a_restore_that_is_killed_at_its_end_leaves_a_warehouse_to_migrate(db, saved, monkeypatch):
    def killed() -> None:
        with pytest.raises(LockedError), lock.run_lock("a run", wait=0):
            pass
        raise KeyboardInterrupt

    before = contents(db)
    with monkeypatch.context() as patch:
        patch.setattr(warehouse, "migrate", killed)
        with pytest.raises(KeyboardInterrupt):
            restore.restore(saved, replace=True)
    assert "rights are older than this code: run daybook warehouse migrate" in warehouse.status()[1]
    warehouse.start()
    landing.land_day(SAMPLE, parse_day("day1"))
    assert contents(db).keys() == before.keys()


def test_a_restore_names_the_reader_that_it_waited_for(db, saved, monkeypatch):
    monkeypatch.setattr(backup, "LOCK_TIMEOUT", "200ms")
    with warehouse.connect(application_name="somebody's notebook") as reader:
        reader.execute("select from bronze.load_batches")
        who = rf"somebody's notebook \(pid {reader.info.backend_pid}, user daybook\)"
        with pytest.raises(WarehouseError, match=f"lock timeout.* Held by {who}: "):
            restore.restore(saved, replace=True)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.97])
def test_a_cut_file_is_refused_in_one_sentence_and_nothing_changes(db, saved, share, capsys):
    before = contents(db)
    saved.write_bytes(saved.read_bytes()[: int(saved.stat().st_size * share)])
    assert restore.main([str(saved), "--replace"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: Nothing was changed: {saved} can't be restored: ")
    assert contents(db) == before


def test_rows_that_are_not_those_that_were_saved_are_refused(db, tmp_path, monkeypatch):
    landing.land_day(SAMPLE, parse_day("day1"))
    before, file = contents(db), tmp_path / "warehouse.backup"
    wrong = "; update bronze.backup_hashes set hash = 1 where relation = 'bronze.load_batches'"
    sql = {"hash_tables": statement("hash_tables") + wrong, "compare_hashes": "select 1"}
    monkeypatch.setattr(backup, "statement", sql.__getitem__)
    backup.backup(file)
    with pytest.raises(DaybookError, match="load_batches is not as it was saved"):
        restore.restore(file, replace=True)
    assert contents(db) == before


def test_a_write_during_a_backup_fails_it_and_the_older_file_stays(db, saved, monkeypatch):
    older, program = saved.read_bytes(), backup.program

    def late(*arguments: Any) -> str:
        db.execute("update bronze.load_batches set error = 'by hand'")
        return program(*arguments)

    monkeypatch.setattr(backup, "program", late)
    with pytest.raises(psycopg.errors.RaiseException, match="load_batches is not as it was saved"):
        backup.backup(saved)
    assert saved.read_bytes() == older
    assert list(saved.parent.iterdir()) == [saved]
    assert "bronze.backup_hashes" not in contents(db)


def test_a_run_that_holds_the_warehouse_is_waited_for_and_named(saved, monkeypatch):
    monkeypatch.setattr(lock, "WAIT", 0.1)
    calls: list[Callable[[], Any]] = [
        lambda: backup.backup(saved),
        lambda: restore.restore(saved, replace=True),
    ]
    with lock.run_lock("daybook run r1 day2"):
        for call in calls:
            with pytest.raises(LockedError, match="daybook run r1 day2"):
                call()


def test_a_view_of_a_reader_elsewhere_is_named_before_it_would_be_lost(db, saved):
    db.execute("create view public.mine as select day from bronze.load_batches")
    before = contents(db)
    with pytest.raises(DaybookError, match=r"(public\.)?mine would be lost with what they read"):
        restore.restore(saved, replace=True)
    assert contents(db) == before


def test_a_file_that_is_not_there_or_no_place_to_write_is_one_sentence(db, tmp_path, capsys):
    assert restore.main([str(tmp_path / "none")]) == 2
    assert backup.main([str(tmp_path / "no" / "folder")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_backup_that_is_ended_leaves_nothing(db, tmp_path):
    landing.land_day(SAMPLE, parse_day("day1"))
    script = (
        "import sys; from loaders import backup; backup.program = lambda *_: sys.argv[2];"
        "sys.exit(backup.main(sys.argv[1:2]))"
    )
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    place = tmp_path / "to"
    place.mkdir()
    line = [sys.executable, "-c", script, str(place / "b"), str(slow)]
    with subprocess.Popen(line, cwd=PROJECT) as saving:
        assert until(lambda: [*place.iterdir()] != [])
        saving.terminate()
    assert saving.returncode == 1
    assert [*place.iterdir()] == []
    (place / ".b.99999999.new").write_text("what a killed one left")
    backup.backup(place / "b")
    assert [*place.iterdir()] == [place / "b"]


@pytest.fixture
def home(monkeypatch) -> Iterator[Callable[[str], None]]:
    """`home("16")`: what follows works in a new home whose server is of that version."""
    made: list[tuple[str, Path]] = []

    def become(major: str) -> None:
        made.append((major, new_home()))
        monkeypatch.delenv("DATABASE_URL", raising=False)
        monkeypatch.setenv("DAYBOOK_PG_MAJOR", major)
        monkeypatch.setenv("DAYBOOK_HOME", str(made[-1][1]))
        warehouse.start()

    yield become
    for major, place in made:
        monkeypatch.setenv("DAYBOOK_PG_MAJOR", major)
        remove_home(place)


def test_an_upgrade_from_16_to_18(home, tmp_path, capsys):
    file = tmp_path / "warehouse.backup"
    home("16")
    landing.land_day(SAMPLE, parse_day("day1"))
    assert backup.main([str(file)]) == 0
    with warehouse.connect(row_factory=dict_row) as conn:
        before = contents(conn)
    home("18")
    assert restore.main([str(file)]) == 0
    with warehouse.connect(row_factory=dict_row) as conn:
        assert conn.info.server_version >= 180000
        assert contents(conn) == before
    landed = landing.land_day(SAMPLE, parse_day("day2"))
    assert {one.status for one in landed} <= {"succeeded", "skipped"}
    assert backup.main([str(file)]) == 0
    home("16")
    assert restore.main([str(file)]) == 1
    assert "A newer PostgreSQL wrote it" in capsys.readouterr().err
