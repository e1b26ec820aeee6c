"""accepted.yml: a warning is accepted with a reason and an end date; errors never are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows import record, status
from flows.checks import accepted
from flows.checks import run as checks
from flows.report import read_account
from flows.run import Run
from loaders import warehouse
from loaders.days import parse_day
from tests.silver_world import transaction
from tests.test_pages import a_run, pages

WARNS, FAILS = "transactions.unmatched_share", "ledger.quarantine_share"
RULE = "No more than 30 % name a merchant that matches no application"
FOUND = f"{WARNS}: {RULE}; against it: 30 of 30 rows"
REASON = "The catalogue is extended <b>in March</b>"


@pytest.fixture
def write_accepted(tmp_path, monkeypatch) -> Any:
    """`write_accepted(text)` writes accepted.yml."""
    file = tmp_path / "accepted.yml"
    monkeypatch.setattr(accepted, "FILE", file)
    return lambda text: file.write_text(text, encoding="utf-8")


def entry(name: str, until: object = None, reason: str = REASON) -> str:
    return f"{name}: {{until: {until or datetime.now(UTC).date()}, reason: {reason}}}\n"


def test_a_known_warning_is_shown_and_does_not_turn_the_verdict(world, write_accepted, tmp_path):
    world.day("day1", transactions=[transaction(n, currency="USD") for n in range(30)])
    run_id = a_run(world.db, "day1")
    for days, holds in ((0, True), (-1, False)):  # on its last day, and the day after
        until = datetime.now(UTC).date() + timedelta(days)
        write_accepted(entry(WARNS, until))
        checks.check_day(parse_day("day1"), run_id)
        text = pages(world.db, tmp_path / "site")
        assert ('class="verdict success"' in text) == holds
        assert ('class="verdict warned"' in text) != holds
        assert REASON not in text and ("&lt;b&gt;in March" in text) == holds
        with warehouse.connect() as connection:
            account = read_account(connection, run_id, parse_day("day1"))
        known = f"accepted until {until}: {FOUND} ({REASON})"
        assert (known in account.checks) == holds
        assert (f"warn: {FOUND}" in account.checks) != holds
        last_run = status.read_status(1)["last_run"]
        shown, warnings = ([known], []) if holds else ([], [FOUND])
        assert (last_run["accepted"], last_run["warnings"]) == (shown, warnings)
        run = Run("run-day1", parse_day("day1"), Run.of("day1", "x").options)
        found = {"failed": [], "warnings": warnings, "known": shown}
        assert record.findings(run) == found


def test_what_fails_a_day_cannot_be_accepted(world, write_accepted, tmp_path):
    write_accepted(entry(FAILS) + entry(WARNS))
    world.day("day1", transactions=[transaction("t1"), transaction("t2", exponent="9")])
    found = checks.check_day(parse_day("day1"), a_run(world.db, "day1"))
    with pytest.raises(checks.CheckError, match=FAILS):
        checks.raise_failed(found)
    with warehouse.connect() as connection:
        account = read_account(connection, "run-day1", parse_day("day1"))
    where = account.checks[0].rpartition("  look: ")[2]
    assert [row["transaction_id"] for row in world.db.execute(where)] == ["t2"]
    text = pages(world.db, tmp_path / "site")
    assert f"{FAILS}: accepted.yml names it; it fails a day, which can&#39;t be accepted" in text
    assert "entries of accepted.yml that accept nothing: 1" in text


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (entry("transactions.unmatched_shar"), f"Did you mean {WARNS}?"),
        (entry(FAILS), "can't be accepted"),
        (entry(WARNS, "soon"), "date `until`"),
        (entry(WARNS, "2026-03-31T10:00:00Z"), "date `until`"),
        (entry(WARNS, reason="' '"), "`reason`"),
        (f"{WARNS}: known\n", "`reason`"),
        ("- a\n- list\n", "no YAML of checks"),
        ("a: [\n", "no YAML of checks"),
        ("\x00", "no YAML of checks"),
    ],
)
def test_a_mistake_accepts_nothing_and_is_named(write_accepted, text, mistake):
    write_accepted(text)
    found, wrong = accepted.read_accepted()
    assert found == {} and len(wrong) == 1
    assert mistake in next(iter(wrong.values()))


def test_the_projects_own_file_is_in_order():
    assert accepted.read_accepted()[1] == {}
