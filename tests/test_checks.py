"""Checks of built days: which fail the day, which only warn, and that none shows a value."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flows.checks import judge, run
from flows.checks.docs import STYLE, offline
from flows.checks.quarantine import read_reasons
from flows.pages.write import write_pages
from flows.run import end_sessions
from loaders.days import Day, parse_day
from loaders.errors import DaybookError, LockedError, without_values
from loaders.personal import personal
from loaders.workers import Worker
from tests.silver_world import agent, group, transaction
from tests.watching import LostLock, column, run_python, tuples

RESULTS = "select * from metrics.check_results"


def check(day: str, **options: Path) -> dict[str, run.Checked]:
    results = run.check_day(parse_day(day), "run-1", **options)
    return {each.name: each for each in results}


def failed(results: dict[str, run.Checked]) -> list[str]:
    return [name for name, each in results.items() if not each.success]


def test_a_run_that_lost_its_lock_leaves_no_results(world):
    world.day("day1", agents=[agent(1)])
    with pytest.raises(LockedError):
        run.check_day(parse_day("day1"), "run-1", lock=LostLock())
    assert tuples(world.db, RESULTS) == []


CHECKED = """
import sys
from flows.checks.run import check_day
from loaders.days import parse_day
print(len(check_day(parse_day("day1"), "run-1")), "great_expectations" in sys.modules)
"""


def test_great_expectations_is_imported_in_a_process_of_its_own(world):
    world.day("day1", agents=[agent(1)])
    assert run_python("-c", CHECKED).stdout == f"{len(check('day1'))} False\n"


def test_results_are_recorded_where_the_docs_can_not_be_written(world):
    world.day("day1", agents=[agent(1)])
    with pytest.raises(OSError, match="no_such"):
        check("day1", docs=Path("/proc/no_such"))
    assert tuples(world.db, RESULTS)


def test_checks_run_again_only_when_tables_verdicts_or_the_library_changed(
    world, tmp_path, monkeypatch
):
    def runs_again() -> bool:
        with monkeypatch.context() as patched:
            patched.delattr(run, "Worker")
            try:
                assert check("day1", docs=tmp_path) == results
            except NameError:
                return True
        return False

    world.day("day1", agents=[agent(1)])
    results = check("day1", docs=tmp_path)
    assert not runs_again()
    assert "isn't judged anew" in (tmp_path / "index.html").read_text()
    assert len(tuples(world.db, RESULTS)) == len(results)
    verdicts = tmp_path / "verdicts.json"
    verdicts.write_text(verdicts.read_text()[:-9])
    assert runs_again()
    check("day1", docs=tmp_path)
    assert not runs_again()
    with monkeypatch.context() as upgraded:
        upgraded.setattr(judge, "version", lambda _: "another")
        assert runs_again()
    world.day("day1", agents=[agent(1), agent(2)])
    assert runs_again()


class Killed(Worker):
    def ask(self, *order: Any) -> Any:
        self._process.kill()
        return super().ask(*order)


def test_checks_that_are_killed_say_what_to_do(world, monkeypatch):
    world.day("day1", agents=[agent(1)])
    monkeypatch.setattr(run, "Worker", Killed)
    with pytest.raises(DaybookError, match=r"ended early .*: run the day again\.$"):
        check("day1")


def test_a_lost_session_is_no_failed_check(world, monkeypatch):
    world.day("day1", agents=[agent(1)])
    suites = run.suites_of

    def cut(day: Day) -> list[run.Suite]:
        end_sessions(world.db, "run-1")
        return suites(day)

    monkeypatch.setattr(run, "suites_of", cut)
    with pytest.raises(psycopg.OperationalError):
        check("day1")
    assert tuples(world.db, RESULTS) == []


def good(count: int = 12) -> list[dict[str, str]]:
    return [transaction(f"txn-{n}", currency="USD") for n in range(count)]


def test_a_sound_day_fails_no_check_and_leaves_its_results(world):
    world.day("day1", agents=[agent(1), agent(2)], groups=[group(10, [1])], transactions=good())
    results = check("day1")
    assert failed(results) == ["transactions.unmatched_share"]  # no merchant is named
    run.raise_failed(list(results.values()))
    for _ in range(2):
        run_ids = column(world.db, "select flow_run_id from metrics.check_results")
        assert run_ids == ["run-1"] * len(results)
        assert len(results) > 25
        check("day1")  # writes nothing more


@pytest.mark.builds("agents", "transactions")
def test_a_quarantined_tenth_fails_the_day_with_keys_and_no_value(world):
    bad = [
        transaction("txn-90", amount_minor="Ada Lovelace"),
        transaction("ada@example.com", currency="ada@example.com"),
    ]
    world.day("day1", transactions=[*good(), *bad])
    found = check("day1")
    share = found["ledger.quarantine_share"]
    assert (share.success, share.severity) == (False, "error")
    assert share.observed == "2 of 2 tables (13.33 %, 13.33 %)"
    keys = json.dumps(share.sample_keys)
    assert "txn-90" in keys and "transactions.csv row 14" in keys
    with pytest.raises(run.CheckError) as caught:
        run.raise_failed(list(found.values()))
    message = str(caught.value)
    assert message.splitlines() == [
        f"1 of {len(found)} checks failed; what was built stays as it is:",
        f"  ledger.quarantine_share: {share.observed}",
        "  look: select * from metrics.check_results where not success",
    ]
    assert str(run.CheckError([share, share], 9)).count(share.observed) == 2
    assert without_values(caught.value) == "checks failed: ledger.quarantine_share"
    written = column(world.db, "select to_jsonb(r)::text from metrics.check_results as r")
    for text in (message, *written):
        assert "ada@" not in text and "Lovelace" not in text


@pytest.mark.builds("agents")
def test_a_late_day_is_not_judged_by_those_alone_who_left_after_it(world):
    world.day("day1", agents=[agent(1), agent(2), agent(3)])
    world.day("day3", agents=[agent(1), agent(2)])
    world.day("day2", agents=[agent(1), agent(2), agent(3)])
    share = check("day2")["agents.active_share"]
    assert share.success, share.observed


@pytest.mark.builds("transactions")
def test_a_day_is_compared_with_the_days_before(world):
    for number in (1, 2, 3):
        world.land(f"day{number}", transactions=good(40))
    world.land("day4", transactions=good(15))
    world.land("day5", transactions=good(95))
    world.build()
    few, many = check("day4"), check("day5")
    assert few["volumes.not_too_few_rows"].sample_keys == [{"table_name": "stg_transactions"}]
    assert few["volumes.not_too_many_rows"].success
    assert many["volumes.not_too_many_rows"].sample_keys == [{"table_name": "stg_transactions"}]
    assert many["volumes.not_too_many_rows"].severity == "warn"
    assert check("day3")["volumes.not_too_few_rows"].success


@pytest.mark.builds("groups", "transactions")
def test_cycles_and_odd_amounts_are_shown_with_their_keys(world):
    world.day(
        "day1",
        groups=[group(10, parent_group_id="11"), group(11, parent_group_id="10"), group(12)],
        transactions=[*good(), transaction("huge-1", amount_minor="9" * 20)],
    )
    found = check("day1")
    assert sorted(key["group_id"] for key in found["groups.no_cycles"].sample_keys) == ["10", "11"]
    assert found["transactions.amount_is_plausible"].sample_keys == [{"transaction_id": "huge-1"}]
    assert found["groups.no_cycles"].severity == "warn"


@pytest.mark.builds("transactions")
def test_amounts_whose_sign_is_the_other_way_round_are_a_warning(world):
    back = {"amount_minor": "-1"}
    charges = [transaction(f"c{n}", **back) for n in range(12)]
    refund = transaction("refund-1", transaction_type="REFUND")
    world.land("day1", transactions=[*good(12), *charges, refund])
    world.land("day2", transactions=[*good(7), *charges, refund | back])
    world.land("day3", transactions=charges)
    world.build()
    signs = [f"transactions.{which}_are_positive" for which in ("purchases", "refunds")]
    first, second = check("day1"), check("day2")
    assert [first[name].success for name in signs] == [True, True]
    assert [second[name].observed for name in signs] == ["12 of 20 rows", "1 of 20 rows"]
    assert [second[name].success for name in signs] == [False, False]
    assert check("day3")[signs[0]].success, "too few to tell"
    assert second[signs[1]].sample_keys == [{"transaction_id": "refund-1"}]


@pytest.mark.builds("transactions")
def test_numbers_that_no_float_holds_are_checked_and_shown_on_the_page(world, tmp_path):
    rows = [transaction(f"txn-{n}", currency="USD") for n in range(20)]
    huge = transaction("txn-20", currency="USD", amount_minor=f"4{'0' * 400}")
    tiny = transaction("txn-21", currency="XTS", exchange_rate=f"0.{'0' * 380}1")
    world.day("day1", transactions=[*rows, huge, tiny])
    found = check("day1")
    assert not [name for name, each in found.items() if "not be evaluated" in each.observed]
    assert found["transactions.rate_is_positive"].success
    plausible = found["transactions.amount_is_plausible"]
    assert not plausible.success
    assert plausible.sample_keys == [{"transaction_id": "txn-20"}]
    text = write_pages(tmp_path / "site").with_name("now.html").read_text(encoding="utf-8")
    assert "4.00e+398" in text and "0" * 100 not in text


@pytest.mark.builds("transactions")
def test_only_dated_days_are_held_to_the_date(world):
    assert "freshness" not in {suite["name"] for suite in run.suites_of(parse_day("day1"))}
    late = transaction("late", occurred_time="2026-01-05T10:00:00Z")
    world.day("2026-02-05", transactions=[late])
    found = check("2026-02-05")["freshness.transactions_are_fresh"]
    assert (found.success, found.severity) == (False, "warn")
    world.day("2026-02-06", transactions=[late | {"occurred_time": "2026-02-06T10:00:00Z"}])
    assert check("2026-02-06")["freshness.transactions_are_fresh"].success


@pytest.mark.parametrize(("day", "bound"), [("2026-01-05", "2026-01-07"), ("day1", "2099-01-01")])
def test_a_record_dated_after_its_day_is_a_warning_with_its_key(world, day, bound):
    after, before = f"{bound}T00:00:01Z", "2026-01-06T23:59:59Z"
    world.day(
        day,
        agents=[agent(1, updated_at=after), agent(2, updated_at=before)],
        groups=[group(1, updated_at=after), group(2, updated_at=before), group(3)],
        roles=[
            {"role_id": n, "name": "a role", "updated_at": at} for n, at in ((1, after), (2, ""))
        ],
        transactions=[transaction("t1", updated_time=after), transaction("t2")],
    )
    found = check(day)
    for name, key, rows in (
        ("agents", {"agent_id": "1"}, 2),
        ("groups", {"group_id": "1"}, 3),
        ("roles", {"role_id": "1"}, 2),
        ("transactions", {"transaction_id": "t1"}, 2),
    ):
        ahead = found[f"{name}.dated_by_its_day"]
        assert (ahead.severity, ahead.success, ahead.sample_keys) == ("warn", False, [key])
        assert ahead.observed == f"1 of {rows} rows"
    assert found["cards.dated_by_its_day"].success


@pytest.mark.builds("transactions")
def test_a_suite_whose_table_is_gone_fails_alone_and_says_why(world):
    world.day("day1", transactions=good())
    world.db.execute("alter table silver.roles rename to roles_before")
    found = check("day1")
    without_table = found.pop("roles.dated_by_its_day")
    assert not without_table.success
    assert without_table.observed == "it could not be evaluated (UndefinedTable)"
    assert failed(found) == ["transactions.unmatched_share"]


@pytest.mark.builds("transactions")
def test_a_share_may_be_as_large_as_it_says_and_no_larger(world):
    by_payload = [transaction(f"p{n}", currency="AED", exchange_rate="2") for n in range(4)]
    bad = transaction("txn-90", exponent="9")
    world.land("day1", transactions=[*good(12), *by_payload[:3]])
    world.land("day2", transactions=[*good(12), *by_payload])
    world.land("day3", transactions=[*good(9), bad])
    world.build()
    assert check("day1")["transactions.payload_rate_share"].observed == "3 of 15 rows"
    assert check("day1")["transactions.payload_rate_share"].success
    share = check("day2")["transactions.payload_rate_share"]
    assert (share.success, share.observed, len(share.sample_keys)) == (False, "4 of 16 rows", 4)
    assert check("day3")["ledger.quarantine_share"].success, "one in ten"
    more = [transaction(f"txn-{n}", exponent="9") for n in range(9008, 10009)]
    world.day("day4", transactions=[*good(9008), *more])
    assert not check("day4")["ledger.quarantine_share"].success, "1,001 of 10,009"


def test_a_day_without_rows_passes(world):
    world.day("day1")
    assert failed(check("day1")) == []


@pytest.mark.builds("agents", "transactions")
def test_the_reasons_of_quarantine_are_counted(world):
    world.day(
        "day1",
        agents=[agent(1), agent(None, email="nokey@example.com"), agent("Ada Lovelace")],
        transactions=[
            transaction("txn-1", exponent="9"),
            transaction("txn-2", exponent="12"),
            transaction("txn-3", currency="Ada Lovelace"),
            transaction("txn-4", currency="ada@example.com"),
        ],
    )
    world.db.execute("create view quarantine.of_nobody_declared as select 1")
    with psycopg.connect(world.db.info.dsn) as connection:
        found = {one.reason: one for one in read_reasons(connection, parse_day("day1"))}
    exponent = found["exponent_invalid"]
    assert (exponent.table, exponent.rows) == ("stg_transactions", 2)
    assert exponent.keys == ["txn-1 · transactions.csv row 1", "txn-2 · transactions.csv row 2"]
    assert exponent.values == ["12", "9"]
    assert found["currency_invalid"].values == ["(not shown)"], "it may be in the wrong column"
    assert not re.search("Ada|@", str(found))


@pytest.mark.builds("agents", "transactions")
def test_data_docs_name_no_other_machine_and_no_value(world, tmp_path):
    agents = [agent(n, email="shared@example.com", name="Ada Lovelace") for n in range(1, 5)]
    world.day("day1", agents=agents, transactions=good())
    found = check("day1", docs=tmp_path / "docs")
    assert not found["agents.address_is_unique"].success
    pages = list((tmp_path / "docs").rglob("*.html"))
    assert tmp_path / "docs" / "index.html" in pages and len(pages) > 8
    icons = set(re.findall(r"fas (fa-[a-z-]+)", "".join(page.read_text() for page in pages)))
    assert "fa-check-circle" in icons
    for icon in icons:  # their font is on another machine
        assert f".{icon}::before" in STYLE.read_text(), icon
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//""", text)
        assert "<script" not in text and "@example.com" not in text and "Lovelace" not in text
        for target in re.findall(r'href="([^"#]+\.html)', text):
            assert target == "../run.html" or (page.parent / target).exists(), target


def test_an_offline_page_keeps_its_text_and_its_own_links():
    page = (
        "<head><link href='https://a.example/x.css'><style>@import url(//b.example/y);</style>"
        '</head><script src="//c.example/z.js"></script><a href="https://d.example/">kept</a>'
        '<a href="index.html">index</a><img src="https://e.example/p.png">'
    )
    assert "example" not in offline(page)
    assert ">kept</a>" in offline(page) and 'href="index.html"' in offline(page)


@pytest.mark.parametrize("suite", run.declared_suites(), ids=lambda suite: suite["name"])
def test_a_suite_shows_no_personal_value(suite, db):
    shown = {*suite["meta"]["keys"]}
    for expectation in suite["expectations"]:
        kwargs = expectation["kwargs"]
        shown |= {kwargs[name] for name in ("column", "column_A", "column_B") if name in kwargs}
        assert expectation["severity"] in run.SEVERITIES
        assert expectation["description"] and expectation["meta"]["check"]
    assert personal(suite["meta"]["table"].rpartition(".")[2], shown) == []
    assert all(len(line) <= 140 for line in suite["meta"]["query"])


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("txn-1", True),
        ("VHJhbnNhY3Rpb246ZDRh+Q==", True),
        (69010000001, True),
        ("Ada", False),
        ("Ada Lovelace 1", False),
        ("ada1@example.com", False),
        ("+442071838750", False),
        ("1" * 201, False),
    ],
)
def test_only_what_looks_like_a_key_is_shown_as_one(key, shown):
    assert (run._key("agent_id", key) == key) == shown


def test_keys_are_shown_by_name_where_there_are_several():
    assert run.shown({"transaction_id": "txn-1"}) == "txn-1"
    assert run.shown({"group_id": 10, "agent_id": 1}) == "group_id 10 agent_id 1"


def test_no_two_checks_have_one_name():
    names = [
        (suite["name"], expectation["meta"]["check"])
        for suite in run.declared_suites()
        for expectation in suite["expectations"]
    ]
    assert len(names) == len(set(names))
