"""Alembic as it is called by hand."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from loaders import warehouse
from loaders.sources import PROJECT


def test_alembic_works_by_hand(
    db: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a copy of the project: the warehouse is the one that loaders find."""
    shutil.copytree(warehouse.MIGRATIONS.parent, tmp_path / "loaders")
    shutil.copy(PROJECT / "alembic.ini", tmp_path)

    def alembic(*arguments: str) -> str:
        called = [sys.executable, "-m", "alembic", *arguments]
        done = subprocess.run(called, cwd=tmp_path, capture_output=True, text=True)
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
            assert conn.execute("select count(*) from metrics.node_runs").fetchone() == (0,)
    finally:
        db.execute("drop database empty with (force)")
