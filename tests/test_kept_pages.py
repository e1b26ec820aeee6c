"""Pages of runs and days stay, the calendar links to them, and they show what is new apart."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import psycopg
import pytest

from flows import server
from flows.checks import run as checks
from flows.cli import main
from flows.pages.verdict import read_story
from flows.pages.write import write_pages
from loaders.days import parse_day
from tests.silver_world import group, transaction
from tests.test_pages import a_run, pages, read
from tests.watching import column, insert


def landed(db: Any, run_id: str, *days: str, at: str = "now") -> None:
    row = {"flow_run_id": run_id, "table_name": "stg_agents", "status": "succeeded"}
    row |= {"rows_in_files": 1, "rows_landed": 1, "rows_rejected": 0, "finished_at": at}
    for day in days:
        drift = {"added": ["shoe_size"]}
        insert(db, "bronze.load_batches", **row, day=parse_day(day).date, drift=drift)


@pytest.mark.parametrize(
    ("first", "gap", "third", "late"),
    [("2026-01-05", "2026-01-06", "2026-01-07", "2026-01-04"), ("day2", "day3", "day4", "day1")],
)
def test_runs_and_days_keep_their_pages_and_are_found_from_the_calendar(
    world, tmp_path, first, gap, third, late
):
    kind = "numbered" if first == "day2" else "dated"
    world.db.execute("insert into bronze.calendar (kind) values (%s)", [kind])
    for state, clock in (("done", "tomorrow"), ("re-run", "now")):  # by hand; it was set back
        landed(world.db, "by-hand", first, at=clock)
        pages(world.db, tmp_path)
        assert f"{first}: {state}" in read(tmp_path, f"days/{first}.html")
    for day in (third, late, first):
        landed(world.db, a_run(world.db, day), day)
        pages(world.db, tmp_path)
    index = read(tmp_path, "index.html")
    assert f"{gap}: missing" in index and f"<strong>missing:</strong> {gap}" in index
    assert f'<strong>late:</strong> <a href="days/{late}.html">' in index
    assert index.count(", late") == 2, "as a title and as a name"
    assert f"{late}: done, late" in read(tmp_path, f"days/{late}.html")
    for day in (first, third, late):
        assert f'href="runs/run-{day}.html"' in index
        assert f"{day} is done" in read(tmp_path, f"runs/run-{day}.html")
        assert f'href="../runs/run-{day}.html"' in read(tmp_path, f"days/{day}.html")
    assert not (tmp_path / "days" / f"{gap}.html").exists()


def test_a_day_whose_run_went_on_without_a_table_is_incomplete_and_says_why(
    world, tmp_path, capsys
):
    world.day("day1", groups=[group(1)])
    refused = "stg_roles: roles.json ends in the middle."
    batch = {"status": "failed", "error": refused}
    task = {"task_name": "land-table", "pipeline_name": "landing", "status": "failure"}
    task["error_message"] = refused
    for day, ended in (("day1", "success"), ("day2", "failure")):
        row = {"flow_run_id": f"run-{day}", "day": parse_day(day).date, "table_name": "stg_roles"}
        row |= {"started_at": "now", "finished_at": "now"}
        insert(world.db, "bronze.load_batches", **row, **batch)
        insert(world.db, "metrics.pipeline_metrics", **row, **task)
        a_run(world.db, day, ended, None if ended == "success" else f"{refused} Nothing landed.")
    pages(world.db, tmp_path)
    assert "day1: incomplete" in (index := read(tmp_path, "index.html"))
    assert "day2: failed" in index and "<strong>day2 failed</strong></a>: stg_roles: roles" in index
    page = read(tmp_path, "days/day1.html")
    assert refused in page
    text = read(tmp_path, "run.html")
    assert "Nothing of a table that failed was replaced" in text and "--verbose" not in text
    assert "is new since" not in text, "nobody has looked"
    assert main(["status"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "failed day2 incomplete day1" in printed and f"{refused} Nothing landed." in printed


def test_what_landed_by_hand_is_told_without_a_run_and_no_longer_what_is_gone(world, tmp_path):
    world.day("day1", groups=[group(1)])
    tables = column(world.db, "select distinct table_name from bronze.load_batches")
    for run_id, told in (("land-1", True), ("land-one-table", True), ("land-2", False)):
        row = {"flow_run_id": run_id, "day": "1970-01-02", "finished_at": "now"}
        if run_id == "land-1":
            batch = {"table_name": "card/", "status": "unused", "error": "card/: no table"}
            insert(world.db, "bronze.load_batches", **row, **batch)
        for table in tables if run_id != "land-one-table" else ():
            insert(world.db, "bronze.load_batches", **row, table_name=table, status="unchanged")
        batch = {"table_name": "stg_roles", "status": "failed" if told else "skipped"}
        why = {"error": "roles.json ends in the middle"} if told else {}
        insert(world.db, "bronze.load_batches", **row, **batch, **why)
        for text in (pages(world.db, tmp_path), read(tmp_path, "days/day1.html")):
            assert ("card/" in text) is told
            assert ("roles.json ends in the middle" in text) is told


def test_only_what_changed_is_written_again_and_all_of_it_can_be(db, tmp_path):
    db.execute("insert into bronze.calendar (kind) values ('numbered')")
    for day in ("day1", "day2"):
        a_run(db, day, "running" if day == "day2" else "success")
    pages(db, tmp_path)
    page = tmp_path / "runs" / "run-day1.html"
    times = (page.stat().st_atime_ns, page.stat().st_mtime_ns)
    page.write_text("as it was")
    os.utime(page, ns=times)
    db.execute(
        "update metrics.pipeline_metrics set status = 'failure', error_message = 'the run ended',"
        " finished_at = now() + interval '1 second' where flow_run_id = 'run-day2'"
    )
    pages(db, tmp_path)
    assert page.read_text() == "as it was"
    assert "day2 failed" in read(tmp_path, "runs/run-day2.html")
    write_pages(tmp_path, everything=True)
    assert "day1 is done" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("address", "link"),
    [
        ("http://127.0.0.1:4200/runs/flow-run/run", "http://127.0.0.1:4200/runs/flow-run/run"),
        ('https://host/"><script>', "https://host/&#34;&gt;&lt;script&gt;"),
        ("javascript:alert(1)", None),
        (None, None),
    ],
)
def test_a_run_on_a_server_that_stays_leads_to_it_in_prefect(db, tmp_path, address, link):
    a_run(db, "day1")
    db.execute("update metrics.phase_runs set settings = %s", [json.dumps({"prefect": address})])
    text = pages(db, tmp_path)
    assert (f'<a href="{link}" rel="noreferrer">' in text) is bool(link)
    assert ("<code>/runs/flow-run/run-day1</code>" in text) is not bool(link)
    assert "javascript" not in text
    advice = read_story(db, "run-day1", parse_day("day1").date).advice
    more = f"Its log says more: {address}" if link else "With --verbose a run says more."
    assert advice[0] == more


@pytest.mark.parametrize(
    ("api", "ui", "page"),
    [
        ("http://127.0.0.1:4201/api", None, "http://127.0.0.1:4201"),
        ("https://me:secret@host/in/api", None, "https://host/in"),
        ("http://server:4200/api", "http://127.0.0.1:4202", "http://127.0.0.1:4202"),
        (None, None, None),
    ],
)
def test_prefects_page_of_a_run_is_where_the_users_settings_say(api, ui, page, monkeypatch):
    from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings

    monkeypatch.setattr(server, "_running", [])
    settings = {PREFECT_API_URL: api, PREFECT_UI_URL: ui}
    given = {name: address for name, address in settings.items() if address}
    with temporary_settings(given, restore_defaults=settings):
        assert server.page_of("run") == (page and f"{page}/runs/flow-run/run")
        monkeypatch.setattr(server, "_running", ["one that ends with the run"])
        assert server.page_of("run") is None


def test_a_run_cannot_name_a_page_outside_of_the_site(db, tmp_path):
    a_run(db, "day1")
    evil = '../../x"><b>'
    db.execute("update metrics.pipeline_metrics set flow_run_id = %s", [evil])
    pages(db, tmp_path / "site")
    assert [page.name for page in (tmp_path / "site" / "runs").iterdir()] == ["______x___b_.html"]
    assert "<b>." not in read(tmp_path, "site/runs/______x___b_.html")


def test_what_is_new_since_the_day_before_is_apart_from_what_is_known(world, tmp_path):
    def day(name: str, *bad: dict[str, Any], parent: str) -> str:
        world.day(
            name,
            groups=[group(1, parent_group_id=parent), group(2, parent_group_id="1")],
            transactions=[*(transaction(f"t{n}", currency="USD") for n in range(40)), *bad],
        )
        checks.check_day(parse_day(name), a_run(world.db, name))
        world.db.execute(
            "update bronze.load_batches set flow_run_id = %s where day = %s",
            [f"run-{name}", parse_day(name).date],
        )
        return pages(world.db, tmp_path)

    old = transaction("old", exponent="9")
    assert "Worth a look" in day("day1", old, parent="")
    for row in (
        {"table_name": "agents.cvs", "status": "unused", "error": "no table"},
        {"table_name": "stg_shoes", "status": "succeeded"}
        | {"drift": {"added": ["shoe_size"], "gone": ["badge"]}},
    ):
        insert(world.db, "bronze.load_batches", flow_run_id="run-day2", day="1970-01-03", **row)
    text = day("day2", old, transaction("new", currency="nope"), parent="2")
    assert "New since day1" in text
    new, known = part(text, "new"), part(text, "known")
    for note in (
        *("groups.no_cycles: ", "stg_transactions: 1 in quarantine as currency_invalid"),
        *("stg_shoes: fields added: shoe_size; gone: badge", "agents.cvs: no table"),
    ):
        assert note in new and note not in known, note
    for note in ("transactions.unmatched_share: ", "1 in quarantine as exponent_invalid"):
        assert note in known and note not in new, note
    text = day("day3", old, parent="2")
    assert "Nothing to look at is new since day2" in " ".join(text.split())
    gone = " ".join(part(text, "gone").split())
    assert "1 in quarantine as currency_invalid" in gone and "agents.cvs: no table" in gone
    assert "shoe_size" not in gone and "exponent_invalid" not in gone


def part(text: str, name: str) -> str:
    """The list of the page with that id."""
    ((_, found),) = re.findall(rf'<(ul|details) id="{name}">(.*?)</\1>', text, re.S)
    return found


def test_a_thousand_new_fields_are_counted_and_few_are_named(db):
    row = {"flow_run_id": "run", "day": "1970-01-02", "table_name": "stg_agents"}
    drift = {"added": [f"field_{n}" + "x" * 500 for n in range(1000)]}
    insert(db, "bronze.load_batches", **row, status="succeeded", drift=drift)
    with psycopg.connect(db.info.dsn) as connection:
        (note,) = read_story(connection, "run", parse_day("day1").date).notes
    assert "field_11" in note.text and "field_12" not in note.text
    assert note.text.endswith(" and 988 more") and len(note.text) < 1000
