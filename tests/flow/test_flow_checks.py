"""A day that fails its checks: its exit code, messages, ledger and page."""

from __future__ import annotations

import os
from pathlib import Path

from tests.silver_world import World, transaction
from tests.watching import runs, value


def test_a_day_that_fails_its_checks_says_so_everywhere(flow_cli, db, tmp_path):
    rows = [transaction(f"txn-{n}", currency="USD") for n in range(20)]
    bad = [transaction(f"bad-{n}", currency="ada@example.com") for n in range(5)]
    World(tmp_path, None, db).write("day1", transactions=[*rows, *bad])
    done = flow_cli("flows.day", "--day", "day1", "--data", tmp_path, "--allow-empty")
    assert done.returncode == 1
    shares = "20 %, 19.23 %, 19.23 %, 19.23 %"
    assert f"  ledger.quarantine_share: 4 of 4 tables ({shares})\n" in done.stderr
    assert "quarantined" not in done.stderr, "the account has said what is expected"
    assert "checks passed" in done.stdout
    words = " ".join(done.stdout.partition("error: ledger.quarantine_share")[2].split())
    assert "No more than 10 % of a table's rows are quarantined" in words
    assert f"against it: 4 of 4 tables ({shares})" in words
    assert "(bad-0 · transactions.csv row 21)" in words
    assert "most often: 5 currency_invalid of stg_transactions" in words
    assert "look: select * from quarantine.transactions where _day = '1970-01-02'" in done.stdout
    assert "ada@example.com" not in done.stdout + done.stderr
    (run,) = runs(db)
    assert run["status"] == "failure"
    assert run["error_message"] == "checks failed: ledger.quarantine_share"
    page = (Path(os.environ["DAYBOOK_HOME"]) / "site" / "run.html").read_text(encoding="utf-8")
    assert "day1 failed" in page and "What to do" in page and "bad-0" in page
    asked = "select seconds, finished_at from metrics.phase_runs where phase = 'check-day'"
    failed = db.execute(asked).fetchone()
    assert failed["seconds"] > 0 and failed["finished_at"], "the time chart has it"
    assert "<title>check-day: " in page
    assert value(db, "select count(*) from metrics.node_runs") > 50
    status = flow_cli("flows.status")
    assert status.returncode == 0
    assert "day1 failed: Checks failed: ledger.quarantine_share" in status.stdout
    assert "failed     day1" in status.stdout
