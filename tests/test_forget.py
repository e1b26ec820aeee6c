"""`daybook forget`: no table or page names the person afterwards, and no day brings them back."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import Any

import pytest

from flows import transform
from flows.forget import main
from flows.pages.write import write_pages
from flows.prove import prove
from loaders import forget as erasing
from loaders import landing, lock, match, retention, warehouse
from loaders.days import parse_day
from loaders.forget import forget
from loaders.schema import Column, Table
from loaders.sources import declared_tables
from tests.silver_world import World, agent, group, transaction
from tests.watching import column, tuples, value

pytestmark = pytest.mark.usefixtures("dbt_environment")
ADA = {
    "email": "ada.lovelace@example.com",
    "name": "Ada Lovelace",
    "phone": "+353 1 555 0101",
    "mobile": "+353 87 555 0102",
    "signature": "Yours, A. L.",
    "org_agent_id": "org-77-ada",
}
ID = "900190019001"  # no figure has it by chance
WORDS = [*ADA.values(), "usr_ada", "uuid-ada", ID]


CARD = {"user_id": "usr_ada", "user_uuid": "uuid-ada", "user_name": "Ada Lovelace"}
DAYS: dict[str, dict[str, Any]] = {
    "day1": {
        "agents": [agent(ID, **ADA), agent(2, name="Bob Byte"), agent(3)],
        "agent_details": [
            agent(ID, **ADA, role_ids=[501], group_ids=[10]),
            agent(2, name="Bob Byte", role_ids=[501]),
        ],
        "roles": [{"role_id": "501", "name": "Admin"}],
        "groups": [group(10, [int(ID), 2]), group(11, [f"{ID}.0"]), group(12, f"oops {ID}")],
        "group_memberships": [{"group_id": 11, "agent_id": ID}, {"group_id": 11, "agent_id": 2}],
        "transactions": [
            transaction("t1", **CARD),
            transaction("t2", user_id="usr_bob", user_name="Bob Byte"),
            transaction("t3", **CARD, currency="XQQ"),
            transaction("t4", user_id="usr_ada"),
        ],
        "cards": [
            {"card_id": "c1", "name": "Ada Lovelace", "user_id": "usr_ada", "status": "ACTIVE"}
            | {"last_four": "card-4242", "type": "VIRTUAL", "created_time": "2026-01-05"}
        ],
    },
    "day2": {
        "agents": [agent(ID, **ADA | {"phone": "+353 1 555 0199"}), agent(2, name="Bob Byte")],
        "agent_details": [agent(ID, **ADA | {"name": ""}), agent(2, name="Bob Byte")],
        "groups": [group(10, [2]), group(11, [int(ID), 3])],
        "transactions": [transaction("t1", **CARD | {"user_name": "A. Lovelace"})],
    },
    "day3": {
        "agents": [agent(2, name="Bob Byte"), agent(3)],
        "groups": [group(10, [2, ID]), group(11, [3])],
        "transactions": [transaction("t5", user_id="usr_bob", user_name="Bob Byte")],
    },
}


@pytest.fixture
def three_days(world, once) -> World:
    """Her days, written, landed and built."""
    for day, tables in DAYS.items():
        world.write(day, **tables)
    once("three_days", lambda: [take_in(world, day) for day in DAYS])
    return world


def take_in(world: World, day: str) -> None:
    """Land and build a day as it is written."""
    parsed = parse_day(day)
    landing.land_day(world.folder, parsed, force=True, allow_empty=True, allow_shrink=True)
    match.match_names(parsed, flow_run_id="test")
    world.build(day=day)


def texts(db: Any) -> dict[str, str]:
    """Each relation of the six schemas that the session may read, as text."""
    names = column(
        db,
        "select format('%I.%I', nspname, relname) from pg_class"
        " inner join pg_namespace on pg_namespace.oid = relnamespace"
        " where nspname in ('bronze', 'intermediate', 'silver', 'quarantine', 'metrics', 'marts')"
        " and relkind in ('r', 'v', 'p') and has_schema_privilege(nspname, 'usage')"
        " and has_table_privilege(pg_class.oid, 'select')",
    )
    text = "select coalesce(string_agg(rows::text, ' '), '') from {} as rows"
    return {name: value(db, text.format(name)) for name in names}


def mentions(db: Any) -> list[tuple[str, str]]:
    """Relations that hold a word of hers, each with the word."""
    return [(name, word) for name, text in texts(db).items() for word in WORDS if word in text]


def test_readers_and_pages_show_nothing_that_is_declared_personal(three_days, tmp_path):
    personal: set[str] = set()
    for table in declared_tables().values():
        for each in (each for each in table.columns if each.pii in ("personal", "user")):
            personal |= {*column(three_days.db, f"select {each.name} from bronze.{table.name}")}
    personal = {text for text in personal if text and len(text) > 3}
    assert {*ADA.values(), "usr_bob", "card-4242"} <= personal
    write_pages(tmp_path)
    pages = " ".join(page.read_text() for page in tmp_path.rglob("*.html"))
    assert [text for text in personal if text in pages] == []
    three_days.db.execute("set role daybook_reader")
    shown = texts(three_days.db)
    assert {"marts.unused_access", "metrics.check_results"} <= shown.keys()
    assert not any(name.startswith(("bronze", "silver", "quarantine")) for name in shown)
    assert [(name, word) for name in shown for word in personal if word in shown[name]] == []


def spent(db: Any) -> list[tuple[Any, ...]]:
    columns = "application, month, usd, transactions"
    return tuples(db, f"select {columns} from marts.application_spend_monthly order by 1, 2")


@pytest.mark.parametrize("expired", [False, True])
def test_nothing_tells_of_somebody_forgotten_and_no_day_brings_them_back(three_days, expired):
    db = three_days.db
    assert {"bronze.stg_agents", "silver.cards"} <= dict(mentions(db)).keys()
    landed, money = "select count(*) from bronze.stg_agents", spent(db)
    if expired:
        assert retention.expire_days(1, flow_run_id="test")
    rows = value(db, landed)
    with lock.run_lock("daybook test"), warehouse.connect() as conn:
        erased = forget(conn, ID)
        conn.commit()
        assert forget(conn, f" {ID}.0") == {}
    assert {"silver.agents", "silver.transactions", "silver.agent_roles"} <= erased.keys()
    assert mentions(db) == []
    assert value(db, landed) == rows
    three_days.build("--select", "path:models/marts", "group_activity")
    assert prove().partings == []
    assert spent(db) == money
    assert set(three_days.reasons("agents")) == {("forgotten",)}
    assert "agent_ids_invalid" in {reason for (reason,) in three_days.reasons("group_memberships")}
    users = "select distinct user_id from silver.transactions where user_id <> ''"
    assert column(db, users) == ["usr_bob"]
    for day in () if expired else DAYS:
        take_in(three_days, day)
        assert mentions(db) == []
    assert prove().partings == []


def test_the_command_erases_what_was_rejected_named_a_file_and_was_shown(
    world, capsys, monkeypatch, shared_home
):
    day = world.folder / "day1"
    world.write("day1")
    (day / "agents.csv").unlink()
    (day / "agents").mkdir()
    for number in (ID, *range(20)):
        named = {"id": number, "contact": {"email": f"{number}@example.com", "name": f"N{number}"}}
        (day / "agents" / f"{number}.json").write_text(json.dumps(named))
    (day / "groups.csv").write_text(
        "group_id,name\n" + f"1,{ADA['name']},{ADA['email']}\n" + "2,two\n" * 20
    )
    (day / "agent_details.csv").write_text(
        f"agent_id,email,name\n{ID},{ADA['email']},{ADA['name']}\n"
    )
    landing.land_day(world.folder, parse_day("day1"), allow_empty=True)
    for page in ("checks/index.html", "runs/old.html"):
        (shared_home / "site" / page).parent.mkdir(parents=True, exist_ok=True)
        (shared_home / "site" / page).write_text(ADA["email"])
    assert {"bronze.load_rejects", "bronze.load_batches"} <= dict(mentions(world.db)).keys()

    assert main([ID, "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"]["bronze.load_rejects"] == 1
    assert not found["forgotten"]
    assert mentions(world.db)
    assert main([ID]) == 2  # nobody to ask
    assert main([ID, "--yes"]) == 0
    printed = capsys.readouterr().out
    assert "Forgotten." in printed
    assert ADA["email"] not in printed
    assert mentions(world.db) == []
    site = shared_home / "site"
    assert not any(ADA["email"] in page.read_text() for page in site.rglob("*.html"))

    landing.land_day(world.folder, parse_day("day1"), force=True, allow_empty=True)
    assert mentions(world.db) == []
    assert main(["nobody", "--yes"]) == 1
    assert main([" ", "--yes"]) == 2
    monkeypatch.setattr(lock, "WAIT", 0.1)
    with lock.run_lock("daybook test"):
        assert main([ID, "--yes"]) == 3
    shutil.rmtree(site)


@pytest.mark.parametrize(
    "key", ["7", "auth0|7", "{7-f}", r"CORP\7", "Jürgen 7", "cn=7,ou={x}", "urn:a/7"]
)
def test_what_an_agent_has_stays_without_them_by_what_is_declared(db, monkeypatch, key):
    held = "licence_id text, agent_id text, owner_ids jsonb, seats int, _extra jsonb"
    lineage = "_source_file text, _updated_at timestamptz"
    db.execute(
        "create table bronze.stg_licences (licence_id text, agent_id text, owner_ids text,"
        " seats text, _extra jsonb, _source_file text)"
    )
    db.execute(f"create table silver.licences ({held}, {lineage})")
    db.execute("create table metrics.licences_by_agent (agent_id text, licences int)")
    for table in ("bronze.stg_licences", "silver.licences"):
        row = f"insert into {table} values ('l', %s, %s, '3', '{{}}', 'x.csv')"
        db.execute(row, [key, json.dumps([key, 8])])
    db.execute("insert into metrics.licences_by_agent values (%s, 1), ('8', 1)", [key])
    columns = [
        Column("licence_id", "text", (("licence_id",),)),
        Column("agent_id", "text", (("agent_id",),), pii="agent"),
        Column("owner_ids", "jsonb", (("owner_ids",),), pii="agent"),
        Column("seats", "integer", (("seats",),)),
    ]
    table = Table("stg_licences", (), "snapshot", False, ("licence_id",), tuple(columns))
    monkeypatch.setattr(erasing, "declared_tables", lambda: declared_tables() | {table.name: table})
    with warehouse.connect() as conn:
        forget(conn, key)
    question = "select licence_id, agent_id, owner_ids::text, seats::text from {}"
    for relation in ("bronze.stg_licences", "silver.licences"):
        (row,) = db.execute(question.format(relation)).fetchall()
        assert list(row.values()) == ["l", None, "[8]", "3"]
    assert column(db, "select agent_id from metrics.licences_by_agent") == ["8"]
    for text in (json.dumps({"id": key}), f'x,"{key}"' if "," in key else f"x,{key},y"):
        assert value(db, "select bronze.tells_of_forgotten(%s)", [text])


@pytest.mark.builds("agents", "transactions")
def test_a_name_that_several_agents_share_stays_and_that_is_printed(world, capsys):
    two = [agent(ID, name="Ada Lovelace"), agent(2, name="Lovelace, Ada"), agent(3)]
    world.land("day1", agents=two, transactions=[transaction("t", user_name="ada lovelace")])
    match.match_names(parse_day("day1"), flow_run_id="test")
    world.build(day="day1")
    assert main([ID, "--dry-run"]) == 0
    assert "Not erased: 1 card user, by a name" in capsys.readouterr().out
    assert main(["3", "--dry-run"]) == 0
    assert "Not erased" not in capsys.readouterr().out


def test_an_interrupt_after_the_erasure_is_answered_with_what_is_left_to_do(
    world, monkeypatch, capsys
):
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    world.day("day1", agents=[agent(ID), agent(2)])
    with monkeypatch.context() as patch:
        patch.setattr(transform, "build", interrupted)
        assert main([ID, "--yes"]) == 1
    assert "The person is erased, which can't be undone; but" in capsys.readouterr().err
    assert [row["agent_id"] for row in world.rows("agents")] == ["2"]
    assert main([ID, "--yes"]) == 0


def test_the_list_of_the_forgotten_names_nobody(db):
    db.execute("insert into bronze.agent_matches values (%s, %s, 100, 'exact')", [ADA["name"], ID])
    with warehouse.connect() as conn:
        forget(conn, ID)
    listed = db.execute("select hash, salt from bronze.forgotten").fetchall()
    assert len(listed) == 4  # agent, user, and both as words
    assert ID.encode() not in b"".join(row["hash"] for row in listed)
    unsalted = {hashlib.sha256(f"{kind} {ID}".encode()).digest() for kind in ("agent", "word")}
    assert not unsalted & {bytes(row["hash"]) for row in listed}
