"""The run page of warehouses in many states: its verdict, what it never shows, and its size."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flows import record, site, status
from flows.checks import run as checks
from flows.pages.read import ask
from flows.pages.render import time_line
from flows.pages.verdict import AGAIN
from flows.pages.write import write_pages
from flows.run import Run
from loaders import warehouse
from loaders.days import parse_day
from loaders.lock import run_lock
from tests.silver_world import agent, group, transaction
from tests.watching import insert

EVIL = "<script>alert(1)</script>"
ELSEWHERE = re.compile(r'<a href="https?://[^"]*" rel="noreferrer">')
LOADS = re.compile(r"""(?:src|action)=|href="(?:https?:)?//|url\(|@import|<script|<iframe""", re.I)


def pages(db: Any, tmp_path: Path) -> str:
    """The run page as text; whatever the state, no page loads anything or leads elsewhere but to
    one run in Prefect, all are small, and every link has its page."""
    write_pages(tmp_path)
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        own, elsewhere = ELSEWHERE.subn("", text)
        assert not LOADS.search(own) and elsewhere <= 1, page
        assert len(text.encode()) < 300_000, page
        for target in re.findall(r'href="([^"#:]+\.html)', own):
            assert (page.parent / target).exists(), (page, target)
    return read(tmp_path, "run.html")


def read(site: Path, page: str) -> str:
    return (site / page).read_text(encoding="utf-8")


def a_run(
    db: Any, day: str, status: str = "success", error: str | None = None, done: str = ""
) -> str:
    """A run of a day as the flow keeps it; `done`: the phases that it got through."""
    run_id = f"run-{day}"
    row = {"flow_run_id": run_id, "task_name": "day-pipeline", "pipeline_name": "day"}
    row |= {"day": parse_day(day).date, "status": status, "error_message": error}
    row |= {"started_at": "now", "finished_at": "now", "duration_seconds": 1.5}
    insert(db, "metrics.pipeline_metrics", **row)
    for phase, settings in {"day-pipeline": {"day": day}, **dict.fromkeys(done.split())}.items():
        row = {"flow_run_id": run_id, "phase": phase, "seconds": 0, "settings": settings}
        insert(db, "metrics.phase_runs", **row)
    return run_id


def a_node(
    db: Any, day: str, node: str, seconds: float, run_id: str = "", status: str = "success"
) -> None:
    """A model that a run of that day has built."""
    row = {"flow_run_id": run_id or day, "day": parse_day(day).date, "node": node}
    row |= {"resource_type": "model", "status": status, "seconds": seconds}
    insert(db, "metrics.node_runs", **row, started_at="now", finished_at="now")


def test_an_empty_warehouse_says_how_to_begin(db, tmp_path):
    assert "No day has run yet" in pages(db, tmp_path)


def test_a_year_that_python_lacks_is_quarantined_and_the_pages_are_written(world, tmp_path):
    odd = ("0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00")
    fields = ("occurred_time", "updated_time")
    records = [(field, when) for field in fields for when in odd]
    world.day(
        "day1",
        agents=[agent(n, **{"created_at": when}) for n, when in enumerate(odd)],
        transactions=[transaction(n, **{f: when}) for n, (f, when) in enumerate(records)],
    )
    a_run(world.db, "day1")
    assert world.reasons("transactions") == [(f"{field}_invalid",) for field, _ in records]
    assert world.reasons("agents") == [("created_at_invalid",)] * 2
    assert "4 rows" in pages(world.db, tmp_path)


@pytest.mark.parametrize("again", [False, True])
def test_a_first_day_that_failed_to_land_says_what_to_do_unless_it_landed_in_the_end(
    db, tmp_path, again
):
    run_id = a_run(db, "day1", "failure", "LandError: see bronze.load_batches")
    row = {"flow_run_id": run_id, "table_name": "stg_agents", "day": "1970-01-02"}
    task = {"task_name": "land-table", "pipeline_name": "landing", "status": "failure"}
    task |= {"error_message": "too many rejects", "started_at": "now", "finished_at": "now"}
    insert(db, "metrics.pipeline_metrics", **row, **task)
    insert(db, "bronze.calendar", kind="numbered")
    if again:
        insert(db, "bronze.load_batches", **row, status="succeeded")
    text = pages(db, tmp_path)
    assert "day1 failed" in text and 'class="verdict failure"' in text
    assert ("stg_agents did not land: too many rejects" in text) is not again
    assert ("Nothing of a table that failed was replaced" in text) is not again
    run = {"flow_run_id": run_id, "day": date(1970, 1, 2), "day_name": "day1", "status": "failure"}
    failed = status.last_run(db, run)["failed"]
    assert ("stg_agents did not land: too many rejects" in failed) is not again


@pytest.mark.parametrize(
    ("kind", "day", "wrong"), [("numbered", "2026-01-05", "day20458"), ("dated", "day1", "1970")]
)
def test_a_run_of_the_other_calendar_is_shown_as_it_was_asked_for(db, tmp_path, kind, day, wrong):
    db.execute("insert into bronze.calendar (kind) values (%s)", [kind])
    a_run(db, day, "failure", "refused")
    text = pages(db, tmp_path) + read(tmp_path, "index.html")
    assert f"{day} failed" in text and f">{day}</a></td>" in text
    assert wrong not in text
    assert "No day has landed" in text, "no day of this calendar has"


def test_an_interrupted_run_says_what_has_landed_and_how_to_go_on(db, tmp_path):
    run_id = a_run(db, "day1", "failure", "The run was interrupted by SIGTERM.", "land-day")
    db.execute("insert into bronze.calendar (kind) values ('numbered')")
    for table, state, in_files, landed, rejected in (
        ("stg_agents", "succeeded", 3010, 3003, 7),
        ("stg_groups", "unchanged", 1000, None, 0),
        ("stg_roles", "skipped", None, None, None),
    ):
        row = {"flow_run_id": run_id, "day": "1970-01-02", "table_name": table, "status": state}
        row |= {"rows_in_files": in_files, "rows_landed": landed, "rows_rejected": rejected}
        insert(db, "bronze.load_batches", **row, finished_at="now")
    text = pages(db, tmp_path)
    assert AGAIN in text
    figures = {"rows in files": "4,010", "landed": "4,003", "rejected": "7", "quarantined": "–"}
    for name, figure in figures.items():
        assert f"<dt>{name}</dt><dd>{figure}</dd>" in text


def test_a_run_that_ended_before_its_landing_is_run_again(db, tmp_path):
    a_run(db, "day1", "failure", "The run was interrupted by SIGTERM.")
    text = pages(db, tmp_path)
    assert "day1 failed" in text and AGAIN in text


def test_a_day_shows_its_rows_checks_and_reasons_and_no_personal_value(world, tmp_path):
    people = [
        agent(1, name="Ada Lovelace", email="ada@example.com", phone="+4420555"),
        agent("Grace Hopper", name="Grace Hopper", email="grace@example.com"),
    ]
    groups = [group(n, parent_group_id=up) for n, up in ((11, "10"), (20, "21"), (21, "20"))]
    spent = transaction("txn-1", merchant_name=EVIL, currency="USD", user_name="Ada Lovelace")
    world.day(
        "day1",
        agents=people,
        groups=[group(10, [1], name=EVIL), *groups],
        transactions=[spent, transaction("txn-2", exponent="9")],
    )
    run_id = a_run(world.db, "day1")
    found = checks.check_day(parse_day("day1"), run_id)
    text = pages(world.db, tmp_path)
    assert "day1 is done" in text and 'class="verdict warned"' in text
    assert "<td>stg_transactions</td><td>transactions</td>" in text
    assert "1 inserted, 1 quarantined" in text
    assert "exponent_invalid" in text and "txn-2 · transactions.csv row 2" in text
    text = "".join(page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html"))
    assert EVIL not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    for private in ("Lovelace", "Hopper", "@example.com", "+4420555"):
        assert private not in text
    assert "2 in a cycle" in read(tmp_path, "now.html")
    failed = [one.check_name for one in found if not one.success and one.severity == "error"]
    assert failed == ["quarantine_share"]
    assert ">skipped" not in text


def test_failed_checks_and_nodes_are_named_with_what_to_do(world, tmp_path):
    world.day("day1", transactions=[transaction("txn-1"), transaction("txn-2", exponent="9")])
    checks.check_day(parse_day("day1"), a_run(world.db, "day1", "failure", "checks failed: x"))
    a_node(world.db, "day1", "transactions", 0.2, run_id="run-day1", status="error")
    text = pages(world.db, tmp_path)
    assert "ledger.quarantine_share: No more than 10 %" in text
    assert "flows/checks/ledger.json" in text
    assert "model transactions: error" in text and "dbt build --select" in text


def test_four_hundred_days_and_many_groups_stay_small(world, tmp_path):
    world.day("2026-01-05", groups=[group(1)], transactions=[transaction("txn-1")])
    world.db.execute(
        """
        insert into bronze.load_batches
            (flow_run_id, day, table_name, status, rows_in_files, rows_landed, rows_rejected,
            finished_at)
        select 'old', date '2024-10-01' + n, t, 'succeeded', 10, 10, 0, now()
        from generate_series(1, 450) as n, unnest(array['stg_agents', 'stg_groups']) as t
        where n not in (200, 201)
        """
    )
    world.db.execute(
        """
        insert into metrics.group_activity
            (group_id, name, parent_group_id, inactive, active_members, active_children, depth,
            root_group_id, in_cycle)
        select
            n, 'A group with a rather long name, number ' || n, case when n > 10000 then n / 2 end,
            n % 3 = 0, 0, 0, case when n > 10000 then 1 else 0 end, n, false
        from generate_series(1000, 60000) as n
        """
    )
    a_run(world.db, "2026-01-05", "running")
    text = pages(world.db, tmp_path)
    index = read(tmp_path, "index.html")
    assert len(re.findall(r'<li class="\S+ w\d"', index)) == 400
    assert "2025-04-19: missing" in index and "2025-04-20: missing" in index
    assert '<section aria-label="April 2025">' in index
    months = re.findall(r"<h3>(\w+ \d+)</h3>", index)
    assert (months[0], months[-1], len(months)) == ("January 2026", "December 2024", 14)
    assert "more groups are in metrics.group_activity" in read(tmp_path, "now.html")
    assert "2026-01-05 is running" in text


def test_a_run_whose_lock_nobody_holds_was_killed(world):
    world.day("day1", transactions=[transaction("t1")])
    a_run(world.db, "day1", "running")
    found = status.read_status(1)
    assert "day1 ended without a word" in found["last_run"]["verdict"]
    assert (found["runs"][0]["status"], list(found["days"])) == ("killed", ["killed"])
    held = iter([("daybook run run-day1 day1", 1), None])  # it ends while status asks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(status, "holder", lambda _: next(held, None))
        assert status.read_status(1)["runs"][0]["status"] == "running"
    with run_lock("daybook run run-day1 day1"):
        found = status.read_status(1)
    assert "day1 is running" in found["last_run"]["verdict"]
    assert (found["runs"][0]["status"], list(found["days"])) == ("running", ["running"])


def test_two_that_write_the_pages_wait_for_each_other(tmp_path, monkeypatch):
    writing, at_once = threading.Semaphore(1), []

    def write(_: Path, **__: Any) -> None:
        at_once.append(not writing.acquire(blocking=False))
        time.sleep(0.2)
        writing.release()

    monkeypatch.setenv("DAYBOOK_HOME", str(tmp_path))
    monkeypatch.setattr(site, "write_pages", write)
    with ThreadPoolExecutor() as threads:
        for _ in range(2):
            threads.submit(site.write_site, lineage=False)
    assert at_once == [False, False]


def test_pages_that_cannot_be_written_are_a_warning(warehouse, monkeypatch):
    def refuse(**_: Any) -> None:
        raise OSError("disk full")

    said: list[str] = []
    monkeypatch.setattr(site, "write_site", refuse)
    run = Run.of("day1", "x")
    run.progress = said.append
    record.write_pages(run)
    assert said == ["warning: no pages were written: OSError: disk full"]


def test_the_critical_path_follows_what_was_waited_for():
    def bar(name: str, begins: float, ends: float, *needs: str) -> dict[str, Any]:
        kind = "dbt" if name in "abc aside" else "phase"
        times = {"begins": begins, "ends": ends, "seconds": ends - begins}
        return {"name": name, "kind": kind, "waited_for": list(needs), **times}

    bars = [bar("imports", 0, 3), bar("parse", 3, 4.5), bar("prepare-day", 4.5, 5)]
    bars += [bar("quick", 4.5, 5), bar("slow", 4.5, 6), bar("a", 6, 9), bar("b", 6, 7)]
    bars += [bar("aside", 7, 8, "b"), bar("c", 9, 10, "a", "b", "bronze")]
    bars += [bar("check-day", 10.5, 12)]
    drawn = time_line(bars)
    names = [bar["name"] for bar in drawn["path"]]
    assert names == ["imports", "parse", "slow", "a", "c", "check-day"]
    assert drawn["seconds"] == 12 and drawn["bars"] == bars
    assert time_line([])["bars"] == []
    twins = [bar("a", 0, 5), bar("a", 1, 2), bar("b", 5, 6, "a")]  # a test can be named as a model
    assert time_line(twins)["path"] == [twins[0], twins[2]]


def test_a_runs_bars_are_on_one_clock_without_what_is_drawn_in_parts(db):
    db.execute(
        """
        insert into metrics.phase_runs (flow_run_id, phase, seconds, finished_at) values
            ('r', 'imports', 3, '2026-01-05 00:00:03Z'), ('r', 'land-day', 9, now());
        insert into bronze.load_batches
            (flow_run_id, day, table_name, status, started_at, finished_at)
        values
            ('r', '1970-01-02', 'stg_agents', 'succeeded',
            '2026-01-05 00:00:04Z', '2026-01-05 00:00:06Z'),
            ('r', '1970-01-02', 'stg_roles', 'skipped', now(), now());
        """
    )
    with psycopg.connect(db.info.dsn) as connection:
        bars = ask(connection, "bars", run="r")
    found = [(bar["name"], bar["begins"], bar["ends"], bar["seconds"]) for bar in bars]
    assert found == [("imports", 0, 3, 3), ("stg_agents", 4, 6, 2)]


def test_slow_nodes_are_those_furthest_above_their_median(db):
    def slow(*nodes: tuple[str, str, float]) -> list[Any]:
        db.execute("truncate metrics.node_runs")
        for node in nodes:
            a_node(db, *node)
        with psycopg.connect(db.info.dsn) as connection:
            return [row["node"] for row in ask(connection, "slow", run="day2")]

    before = [("day1", "steady", 9), ("day1", "slower", 0.5), ("day1", "quick", 0.001)]
    now = [("day2", "steady", 9), ("day2", "slower", 2), ("day2", "new", 1)]
    quick = ("day2", "quick", 0.01)
    assert slow(*before, *now, quick) == ["slower", "steady"]
    assert slow(*before[2:], quick) == ["quick"], "when all of them take no time"
    assert slow(("day2", "a", 1), ("day2", "b", 2)) == ["b", "a"]


def spend(db: Any, site: Path, *amounts: tuple[str, int, str]) -> str:
    """The page of what was spent: application, month of 2026, dollars."""
    db.execute(
        "drop table if exists marts.application_spend_monthly;"
        "create table marts.application_spend_monthly (application text, month date, usd numeric);"
        f"grant select on marts.application_spend_monthly to {warehouse.TRANSFORMER}"
    )
    db.cursor().executemany(
        "insert into marts.application_spend_monthly values (%s, %s, %s)",
        [(name, date(2026, month, 1), usd) for name, month, usd in amounts],
    )
    pages(db, site)
    return read(site, "now.html")


def test_spend_keeps_its_colours_and_escapes_names(db, tmp_path):
    page = spend(db, tmp_path, (EVIL, 1, "30"), ("unmatched", 1, "10"))
    assert "Fi\ufffd[2Jgma" in spend(db, tmp_path, ("Fi\x1b[2Jgma", 1, "30"))
    assert EVIL not in page and "25% of it" in page
    colours = re.findall(r'<rect class="(c\d)" width="10" height="10"/></svg> (.*?)</li>', page)
    assert colours == [("c0", "&lt;script&gt;alert(1)&lt;/script&gt;"), ("c8", "unmatched")]
    many = [(f"App {n}", 1 + n % 2, f"{n}") for n in range(1, 10)]
    page = spend(db, tmp_path, *many, ("unmatched", 2, "1"))
    assert '"c6" width="10" height="10"/></svg> App 3<' in page
    others = '<th scope="row">other applications</th><td class="n">2.00</td><td class="n">1.00</td>'
    assert others in page
    assert "No spend yet" in spend(db, tmp_path)


def test_one_absurd_amount_is_cut_in_the_chart_and_short_in_the_table(db, tmp_path):
    amounts = [("Figma", 1, "30"), ("Figma", 2, "4e398"), ("Figma", 3, "40"), ("Acme", 3, "-9")]
    page = spend(db, tmp_path, *amounts)
    tall = [float(height) for height in re.findall(r'<rect [^>]*y=[^>]* height="([\d.]+)"', page)]
    assert tall == [112.5, 150, 150], "the others can be seen, and what is below zero has none"
    assert "4.00e+398" in page and "-9.00" in page and "0" * 20 not in page
    assert "beside them: Feb 2026" in page
