"""Alembic as it is called by hand."""

from __future__ import annotations

import shutil

from loaders import warehouse
from loaders.sources import PROJECT
from tests.watching import run_python, value


def test_alembic_works_by_hand(db, monkeypatch, tmp_path):
    """In a copy of the project: the warehouse is the one that loaders find."""
    shutil.copytree(warehouse.MIGRATIONS.parent, tmp_path / "loaders")
    shutil.copy(PROJECT / "alembic.ini", tmp_path)

    def alembic(*arguments: str) -> str:
        done = run_python("-m", "alembic", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "0103 (head)" in alembic("current")
    alembic("revision", "-m", "next", "--rev-id", "0104")
    written = tmp_path / "loaders" / "migrations" / "versions" / "0104_next.py"
    written.write_text(written.read_text().replace('op.execute("")', 'op.execute("select 1")'))
    alembic("upgrade", "head")
    assert "0104 (head)" in alembic("current")
    db.execute("create database empty")
    monkeypatch.setenv("DATABASE_URL", warehouse.uri().replace("/daybook?", "/empty?"))
    try:
        alembic("upgrade", "head")
        with warehouse.connect() as conn:
            assert value(conn, "select count(*) from metrics.node_runs") == 0
    finally:
        db.execute("drop database empty with (force)")
