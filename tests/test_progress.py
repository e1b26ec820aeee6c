"""The progress of a day, in a terminal and in a log."""

from __future__ import annotations

import io

from loaders import progress as watched
from loaders.progress import Progress


def test_progress_is_a_line_a_step_and_a_line_a_quarter_where_nobody_draws(monkeypatch):
    out, seconds = io.StringIO(), iter(range(100))
    monkeypatch.setattr(watched.time, "monotonic", lambda: float(next(seconds)))
    with Progress("day1", out) as progress:
        progress("landing")
        for done in range(0, 101, 10):
            progress("stg_agents", done * 10**6, 10**8, done * 1000)
        progress("stg_groups", 5, 5, 5)
        for done in (10, 30):
            progress("stg_cards", done * 10**6, 10**8, 0)
        for node in range(1, 67):
            progress("building · agents", node, 66)
    assert out.getvalue().splitlines() == [
        "day1: landing",
        "day1: stg_agents 30%, 30,000 rows, 10,000 a second",
        "day1: stg_agents 50%, 50,000 rows, 10,000 a second",
        "day1: stg_agents 80%, 80,000 rows, 10,000 a second",
        "day1: stg_cards 30%, 20 MB a second",
        "day1: building 26%",
        "day1: building 50%",
        "day1: building 76%",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_rows_and_rate(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    out, seconds = Terminal(), iter(range(100))
    with Progress("day1", out) as progress:
        monkeypatch.setattr(watched.time, "monotonic", lambda: float(next(seconds)))
        progress("landing")
        progress("stg_agents", 10**7, 10**8, 1000)
        progress("stg_agents", 5 * 10**7, 10**8, 5000)
        progress("warning: [red] is a word")
    shown = out.getvalue()
    assert "day1: landing" in shown
    assert "  stg_agents 50 of 100 MB, 5,000 rows, 4,000 a second" in shown
    assert "day1: warning: [red] is a word" in shown


def test_a_long_name_keeps_to_its_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with Progress("day1", out) as progress:
        progress(f"building · {'test_' * 20}", 23, 59)
    assert "day1: building 23 of 59 · test_test_" in out.getvalue()
    assert "…" in out.getvalue()
