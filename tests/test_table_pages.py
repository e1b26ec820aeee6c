"""The pages of tables: description, days, checks, reasons of quarantine, lineage."""

from __future__ import annotations

import re

import pytest

from flows.checks import run as checks
from flows.pages import tables
from flows.pages.write import write_pages
from loaders.days import parse_day
from tests.silver_world import agent, transaction
from tests.test_pages import EVIL, a_run, pages, read


@pytest.fixture
def project(dbt_folder, monkeypatch) -> None:
    """What the last build wrote of the project."""
    monkeypatch.setenv("DBT_TARGET_PATH", str(dbt_folder / "target"))


def test_a_table_has_a_page_with_its_days_checks_reasons_columns_and_lineage(
    world, project, tmp_path
):
    sound = [transaction(f"t{n}", currency="USD", merchant_name=EVIL) for n in range(30)]
    people = [agent(1, name="Ada Lovelace", email="ada@example.com", phone="+4420555")]
    world.day("day1", agents=people, transactions=sound)
    world.day("day2", agents=people, transactions=[*sound[:5], transaction("bad-1", exponent="9")])
    run_id = a_run(world.db, "day2")
    checks.check_day(parse_day("day2"), run_id)
    run_page = pages(world.db, tmp_path)  # every link has its page
    assert 'href="tables/stg_transactions.html"' in run_page
    assert 'href="tables/agents.html"' in read(tmp_path, "index.html")
    for name in ("bronze.stg_transactions", "silver.transactions"):
        text = read(tmp_path, f"tables/{name.partition('.')[2]}.html")
        assert f"<h1>{name}</h1>" in text
        days = [
            re.findall(r"<t[dh][^>]*>([^<]*)<", row)[:9]
            for row in re.findall(r"<tr>(<th scope=\"row\">day.*?)</tr>", text)
        ]
        assert list(map(" ".join, days)) == ["day2 6 0 0 5 0 0 1 0", "day1 30 30 0 0 0 0 0 0"]
        assert "day1: inserted 30" in text and "Data platform" in text
        assert "exponent_invalid" in text and "bad-1 · transactions.csv row 6" in text
        assert 'href="../tables/application_spend_monthly.html"' in text
        assert "ISO 4217 code" in text
    landed = read(tmp_path, "tables/stg_transactions.html")
    assert "<td>currencyData.originalCurrencyCode</td>" in landed
    assert "One row per transaction" in text and "transactions.amount_is_plausible" in text
    assert "Postgres, on every write: primary key transaction_id" in text
    assert 'href="../tables/stg_transactions.html"' in text
    people = read(tmp_path, "tables/agents.html")
    for column, is_personal in {"email": True, "phone": True, "status": False}.items():
        (kind,) = re.findall(rf"<b>{column}</b></td><td>([^<]*)<", people)
        assert ("personal" in kind) == is_personal, column
    assert "dbt-colibri" in people
    everything = "".join(page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html"))
    for private in (EVIL, "Lovelace", "ada@", "+4420555"):
        assert private not in everything


def test_members_of_a_list_are_no_rows_of_its_table(world, project, tmp_path):
    world.day("day1", agents=[agent(1), agent(2)], groups=[{"group_id": 1, "agent_ids": [1, 2]}])
    write_pages(tmp_path)
    assert "day1: inserted 1<" in read(tmp_path, "tables/stg_groups.html")
    assert "day1: inserted 2<" in read(tmp_path, "tables/group_memberships.html")


def test_a_day_that_landed_again_counts_once(world, project, tmp_path):
    for count in (3, 4):
        world.day("day1", transactions=[transaction(n) for n in range(count)])
    write_pages(tmp_path)
    text = read(tmp_path, "tables/stg_transactions.html")
    assert "<dt>rows landed</dt><dd>4</dd>" in text


def test_before_the_first_build_no_table_has_a_page(db, tmp_path, monkeypatch):
    monkeypatch.setenv("DBT_TARGET_PATH", str(tmp_path / "nowhere"))
    assert tables.declared(tmp_path / "nowhere" / "manifest.json") == {}
    pages(db, tmp_path / "site")
    assert not [*(tmp_path / "site").glob("tables/*")]
