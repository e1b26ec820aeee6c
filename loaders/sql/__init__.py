"""SQL that is long enough for a file of its own."""

from __future__ import annotations

from pathlib import Path


def statement(name: str) -> str:
    """The text of `loaders/sql/<name>.sql`; braces are psycopg.sql's."""
    return Path(__file__).with_name(f"{name}.sql").read_text(encoding="utf-8")
