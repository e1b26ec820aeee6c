"""Columns that land hashed: their values are stored and shown nowhere, and joins still work."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

import pyarrow
import pytest

from flows.pages.write import write_pages
from loaders import landing, match
from loaders.__main__ import main as land
from loaders.days import parse_day
from loaders.errors import UsageError
from loaders.plan import plan_tables
from loaders.sources import declared_tables
from loaders.spark import tasks
from tests.silver_world import World, transaction
from tests.test_forget import texts
from tests.watching import column, value

KEY = "a key that nobody guesses"
OVERLAY = """
stg_agents: &hashed
  columns:
    email: {from: [mail, contact.email], hash: true}
    name: {from: contact.name, hash: true}
    phone: {from: contact.phone, hash: true}
stg_agent_details: *hashed
stg_transactions: {columns: {user_id: {hash: true}, user_name: {hash: true}}}
stg_cards: {columns: {user_id: {hash: true}, name: {hash: true}}}
"""
WORDS = ["ada@example.com", "Ada Lovelace", "usr_ada", "555 0101", "Quux"]


def shown(value: str) -> str:
    return hmac.digest(KEY.encode(), value.encode(), hashlib.sha256).hex()


@pytest.fixture
def hashing(tmp_path, monkeypatch) -> None:
    overlay = tmp_path / "overlay.yml"
    overlay.write_text(OVERLAY)
    monkeypatch.setenv("DAYBOOK_SOURCES", str(overlay))
    monkeypatch.setenv("DAYBOOK_HASH_KEY", KEY)


def write(world: World, cards: str) -> Path:
    card = {"user_id": " usr_ada ", "user_name": "Ada Lovelace", "currency": "USD"}
    world.write("day1", transactions=[transaction("t1", **card)])
    day = world.folder / "day1"
    (day / "agents.csv").write_bytes(
        b"agent_id,mail,contact.email,name,phone,nickname\n"
        b"7,ada@example.com,Quux@example.com,Ada Lovelace,555 0101,Quux\n"
        + b"8,b@example.com,,Bob,,\n" * 20
        + b"9,ada@example.com,,Ada Lovelace\n10,ada@example.com,,Quux\0,,\n"
    )
    person = {"email": "ada@example.com", "name": "Ada Lovelace", "nickname": "Quux"}
    (day / "agent_details.json").write_text(
        json.dumps({"id": 7, "mail": "ada@example.com", "contact": person})
        + '\n{"Quux": 5\n'
        + json.dumps({"id": 8, "contact": {"name": "Bob", "email": ["Quux"]}})
        + "\n"
        + "".join(json.dumps({"id": n, "contact": {}}) + "\n" for n in range(20, 40))
    )
    (day / "cards.json").write_text(cards)
    return day


@pytest.mark.usefixtures("hashing")
def test_no_value_of_a_hashed_column_is_kept_and_what_joined_still_joins(world, tmp_path):
    write(world, '[{"id": "c1", "name": "Ada Lovelace", "userId": "usr_ada"')
    landing.land_day(world.folder, parse_day("day1"), allow_empty=True)
    error = "select error from bronze.load_batches where table_name = 'stg_cards'"
    assert "cards.json" in value(world.db, error)
    card = {"id": "c1", "name": "Ada Lovelace", "userId": "usr_ada", "status": "on", "type": "v"}
    card["createdTime"] = "2026-01-05"
    write(world, json.dumps([card]))
    landing.land_day(world.folder, parse_day("day1"), allow_empty=True)
    match.match_names(parse_day("day1"), flow_run_id="test")
    world.build(day="day1")
    write_pages(tmp_path / "site")
    everything = texts(world.db)
    everything |= {str(page): page.read_text() for page in (tmp_path / "site").rglob("*.html")}
    found = [(name, word) for name, text in everything.items() for word in WORDS if word in text]
    assert found == []

    (ada,) = world.db.execute("select email, name from silver.agents where agent_id = '7'")
    assert ada == {"email": shown("ada@example.com"), "name": shown("Ada Lovelace")}
    assert world.one("agents", "phone", "agent_id = '8'") == {"phone": None}
    rejects = column(world.db, "select raw_text from bronze.load_rejects")
    assert rejects == ["", "", ""]  # a ragged line, a NUL, a broken line of JSON
    for question in (
        "select user_id from silver.transactions inner join silver.cards using (user_id)",
        "select agent_id from bronze.agent_matches where agent_id = '7'",
    ):
        assert len(world.db.execute(question).fetchall()) == 1, question


@pytest.mark.usefixtures("hashing")
def test_spark_writes_none_either_and_another_key_lands_a_day_again(world, tmp_path, monkeypatch):
    day = write(world, "[]")
    table = declared_tables()["stg_agents"]
    before = plan_tables(day, [table], parse_day("day1"))
    fingerprint = before[0].fingerprint
    (tmp_path / "out/stg_agents").mkdir(parents=True)
    tasks.read([before[0].files[0]], before[0], tmp_path / "out")  # type: ignore[index]
    written = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    packed = pyarrow.CompressedInputStream
    texts = [
        packed(path, "zstd").read() if path.suffix == ".zst" else data
        for path, data in written.items()
    ]
    assert len(texts) == 2 and shown("ada@example.com").encode() in b"".join(texts)
    assert not [word for word in WORDS if word.encode() in b"".join(texts)]

    monkeypatch.setenv("DAYBOOK_HASH_KEY", KEY[::-1])
    assert plan_tables(day, [table], parse_day("day1"))[0].fingerprint != fingerprint


@pytest.mark.usefixtures("hashing")
def test_without_a_key_nothing_lands(world, monkeypatch, capsys):
    day = write(world, "[]")
    for key in ("", "too short"):
        monkeypatch.setenv("DAYBOOK_HASH_KEY", key)
        assert land(["day1", "--data", str(day.parent)]) == 2
        printed = capsys.readouterr().err
        assert "DAYBOOK_HASH_KEY has to be set" in printed and "too short" not in printed
    assert world.db.execute("select from bronze.load_batches").fetchall() == []


@pytest.mark.parametrize("column", ["agent_id", "contact_active", "job_title"])
def test_only_text_that_says_something_of_a_person_is_hashed(tmp_path, column):
    overlay = tmp_path / "overlay.yml"
    overlay.write_text(f"stg_agents: {{columns: {{{column}: {{hash: true}}}}}}")
    with pytest.raises(UsageError, match=f"stg_agents.{column}: hash is for text with pii"):
        declared_tables(overlay)
