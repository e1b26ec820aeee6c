"""The flow under roles: they own what it creates, and no session of a run is a superuser's."""

from __future__ import annotations

import threading

import psycopg
import pytest

from loaders import server
from tests.raw_days import SAMPLE
from tests.watching import column


@pytest.fixture
def ben(db, warehouse, monkeypatch):
    """DATABASE_URL names a login that is in both roles and is no superuser."""
    db.execute("create role ben login in role daybook_loader, daybook_transformer")
    monkeypatch.setenv("DATABASE_URL", warehouse.replace("daybook@", "ben@"))
    yield
    db.execute("drop owned by ben; drop role ben")


def test_a_login_of_both_runs_the_whole_flow_and_saves_it(ben, db, flow_cli, tmp_path):
    done = flow_cli("flows.day", "--day", "day1", "--data", SAMPLE)
    assert done.returncode == 0, done.stderr
    owners = (
        "select relowner::regrole::text from pg_class where relkind in ('r', 'p', 'v')"
        " and relnamespace::regnamespace::text in ('intermediate', 'silver', 'marts')"
    )
    assert {*column(db, owners)} == {"daybook_transformer"}
    saved = flow_cli("loaders.backup", tmp_path / "warehouse.backup")
    assert saved.returncode == 0, saved.stderr


def test_on_the_embedded_server_a_run_has_no_superuser_and_its_id_in_each_session(
    after_day1, flow_cli, shared_home, monkeypatch
):
    """But for the session that starts and migrates, and the one that ends a run's others."""
    monkeypatch.delenv("DATABASE_URL")
    sessions = (
        "select regexp_replace(application_name, '[0-9a-f-]{36}.*', 'ID'), usename"
        " from pg_stat_activity"
        " where application_name like 'daybook _%' and pid <> pg_backend_pid()"
        " and usename is not null"
    )
    seen: set[tuple[str, str]] = set()
    over = threading.Event()

    def watch() -> None:
        with psycopg.connect(**server.address(shared_home), autocommit=True) as conn:
            while not over.wait(0.02):
                seen.update(conn.execute(sessions))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        done = flow_cli("flows.day", "--day", "day2", "--data", SAMPLE)
    finally:
        over.set()
        watching.join()
    assert done.returncode == 0, done.stderr
    assert ("daybook dbt ID", "daybook_transformer") in seen
    assert ("daybook run ID", "daybook_loader") in seen
    owner = {("daybook start", "daybook"), ("daybook start ID", "daybook")}
    logins = {login for _, login in seen - owner - {("daybook flow ID", "daybook")}}
    assert logins == {"daybook_loader", "daybook_transformer"}
    named = {name for name, _ in seen}
    assert {n for n in named if "ID" not in n} <= {"daybook start", "daybook flow handshake"}
