"""Files that once landed wrongly, each as small as it goes: they are repaired or refused."""

from __future__ import annotations

import gzip
import json
import os
import time
from typing import Any

import psycopg
import pytest

from loaders.__main__ import account, main
from loaders.errors import DaybookError
from loaders.raw_file import RawFile
from loaders.readers.json_file import read_json
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Observed
from loaders.sources import declared_tables
from tests.raw_days import batches, land, land_one, rejects, rows, write, write_day

pytestmark = pytest.mark.usefixtures("warehouse")
HEADER = "agent_id,email,name,updated_at\n"


def agents(count: int = 30, first: int = 9001) -> list[dict[str, Any]]:
    return [
        {"id": n, "contact": {"email": f"a{n}@example.com", "name": f"Agent {n}"}}
        for n in range(first, first + count)
    ]


def as_csv(found: list[dict[str, Any]], key: str = "{}") -> str:
    lines = [
        f"{key.format(a['id'])},{a['contact']['email']},{a['contact']['name']}," for a in found
    ]
    return HEADER + "\n".join(lines) + "\n"


def ids(db: psycopg.Connection, table: str = "stg_agents", key: str = "agent_id") -> list[str]:
    return [row[key] for row in rows(db, table)]


@pytest.mark.parametrize("quoted", [False, True])
def test_inch_marks_in_names_lose_no_record(tmp_path, db, quoted):
    names = ['Ada 5" desk', '"Ben, B."' if quoted else "Ben", 'Cid 3" desk', "Dee"]
    lines = [f"{n},a{n}@example.com,{name},\n" for n, name in enumerate(names)]
    write(tmp_path, "day1/agents.csv", HEADER + "".join(lines))
    landed = land_one(tmp_path, "stg_agents")
    assert (landed.rows_in_files, landed.rows_landed) == (4, 4)
    assert ids(db, key="name") == [name.strip('"') for name in names]


# What a page is, and what is said of it behind its name.
PAGES: dict[str, str | tuple[str, str]] = {
    "error.json": '{"message": "Rate limit exceeded", "code": 429}',
    "errors.json": ('{"data": null, "errors": [{"message": "no"}]}', "it is an error message"),
    "utf16.json": ('[{"id": 1}]'.encode("utf-16").decode("latin-1"), "it is UTF-16"),
    "utf32.json": ('[{"id": 1}]'.encode("utf-32").decode("latin-1"), "it is UTF-32"),
    "error with an id.json": ('{"id": "r1", "error": {"code": 1}}', "it is an error message"),
    "id in an object.json": (
        '{"id": {"$oid": "5f"}, "uuid": "u", "name": "A"}',
        r"id is an object: declare from: id\.\$oid",
    ),
    "below names.json": ('{"ada": {"id": 1}, "ben": {"id": 2}}', "it is no list of objects"),
    "packed.json": (gzip.compress(b"[]").decode("latin-1"), "it is gzip"),
    "a list of envelopes.json": (
        '[{"id": "of the page", "data": [{"id": 5, "created_at": 1, "updated_at": 2, "uuid": 3}]}]',
        "it is an envelope, its list is under `data`",
    ),
    "empty for an error.json": (
        '{"results": [], "ok": false, "error": "rate limited"}',
        r"it is an error message \(error\)",
    ),
    "errors with ids.json": ('{"errors": [{"id": 5, "uuid": 1}]}', "it is an error message"),
    "html.json": ("<html><body>Bad gateway</body></html>", "it is HTML"),
    "utf16.jsonl": ('{"id": 1}'.encode("utf-16").decode("latin-1"), "it is UTF-16"),
    "utf16le.ndjson": (
        '{"id": 1}\n{"id": 2}\n'.encode("utf-16-le").decode("latin-1"),
        "it is UTF-16",
    ),
    "packed.jsonl": (gzip.compress(b"{}").decode("latin-1"), "it is gzip"),
    "html.jsonl": ("<html>\n<body>Bad gateway</body>\n</html>", "it is HTML"),
    "html.csv": "<html><body>Bad gateway</body></html>",
    "none.json": "",
    "none.csv": "",
    "none.json.gz": gzip.compress(b"").decode("latin-1"),
    "null.json": '{"results": null}',
    "word.json": "null",
    "envelope.json": '{"data": [{"id": 5}]}',
    "pages.json": '[{"results": [{"id": 5}]}]',
    "columns.json": '{"id": {"0": "t1"}, "uuid": {"0": "u1"}}',
    "cut.json": '[{"id": 1}, {"id": 2',
    "cut.csv": "{key},x\n1,2\n3",
}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("table", ["stg_agents", "stg_transactions"])
def test_a_file_that_is_no_page_of_records_fails_its_table(tmp_path, db, name, table):
    folder = table.removeprefix("stg_")
    key = "agent_id" if table == "stg_agents" else "transaction_id"
    write(tmp_path, f"day1/{folder}/1.json", agents(5))
    land_one(tmp_path, table)
    page = PAGES[name]
    content, said = (page, "") if isinstance(page, str) else page
    target = tmp_path / f"day1/{folder}/2-{name}"
    target.write_bytes(content.replace("{key}", key).encode("latin-1"))
    with pytest.raises(DaybookError, match=rf"{folder}/2-{name}.*{said}"):
        land_one(tmp_path, table)
    assert len(rows(db, table)) == 5


@pytest.mark.parametrize(
    ("table", "records"),
    [
        ("stg_group_memberships", [{"group_id": 1, "agent_id": 2, "error": "none"}]),
        ("stg_transactions", [{"id": "t1", "message": "lunch"}, {"id": "t2", "uuid": "u2"}]),
        ("stg_transactions", {"id": "t1", "message": None, "errors": []}),
    ],
)
def test_a_record_of_little_more_than_its_key_lands(tmp_path, table, records):
    write(tmp_path, f"day1/{table.removeprefix('stg_')}.json", records)
    many = len(records) if isinstance(records, list) else 1
    assert land_one(tmp_path, table).rows_landed == many


@pytest.mark.parametrize("header", ["agent_id,email", '"agent_id","email"', "agent_id , email"])
def test_a_header_in_the_middle_of_a_joined_file_is_rejected(tmp_path, db, header):
    file = f"{header}\n" + "".join(f"{n},a{n}@example.com\n" for n in range(20))
    write(tmp_path, "day1/agents.csv", file + file)
    assert land_one(tmp_path, "stg_agents").rows_landed == 40
    assert [reject[1:3] for reject in rejects(db)] == [(21, "the header again: files were joined")]


def test_an_empty_page_and_a_header_alone_are_empty(tmp_path):
    nothing = ("null", '"none"', '{"code": 0, "message": "ok"}')
    for number, error in enumerate(nothing):
        page = f'{{"results": [], "error": {error}, "errors": [], "message": "no more"}}'
        write(tmp_path, f"day1/transactions/1{number}.json", page)
    write(tmp_path, "day1/transactions/2.csv", "transaction_id,currency\n")
    write(tmp_path, "day1/transactions/3.json", "[]")
    assert land_one(tmp_path).rows_landed == 0


@pytest.mark.parametrize("form", ["9001.0", "9001.00", "csv.gz", "json"])
def test_ids_that_went_through_a_float_are_the_same_people(tmp_path, db, form):
    write(tmp_path, "day1/agents.json", agents())
    if form == "json":
        write(tmp_path, "day2/agents.json", [{**a, "id": float(a["id"])} for a in agents()])
    else:
        name = "day2/agents.csv.gz" if form == "csv.gz" else "day2/agents.csv"
        write(tmp_path, name, as_csv(agents(), "{}.00" if form == "9001.00" else "{}.0"))
    land_one(tmp_path, "stg_agents")
    land_one(tmp_path, "stg_agents", day="day2")
    found = ids(db)
    assert found[:30] == found[30:] == [str(n) for n in range(9001, 9031)]


@pytest.mark.parametrize("behind", [",1.0,", ',"a\n9001.0",', ",,"])
def test_an_id_that_went_through_a_float_is_found_wherever_it_stands(tmp_path, db, behind):
    """Behind many that did not, beside values that only look like it, and in any piece."""
    count = 3_000
    lines = [f"{n},{behind}x" for n in range(count - 1)] + [f"{count - 1}.0,{behind}x"]
    header = "agent_id,mobile,signature,name\n"
    write(tmp_path, "day1/agents.csv", header + "\n".join(lines) + "\n")
    landed = land_one(tmp_path, "stg_agents")
    assert (landed.rows_landed, landed.rows_repaired) == (count, 0)
    assert ids(db) == [str(n) for n in range(count)]
    assert {row["mobile"] for row in rows(db, "stg_agents")} == {None}


@pytest.mark.parametrize("key", [" {} ", "{}\t", "+{}"])
def test_blanks_and_signs_around_ids_are_the_same_people(tmp_path, key):
    write(tmp_path, "day1/agents.csv", as_csv(agents()))
    write(tmp_path, "day2/agents.csv", as_csv(agents(), key))
    land_one(tmp_path, "stg_agents")
    assert land_one(tmp_path, "stg_agents", day="day2").rows_landed == 30


def test_unreadable_keys_are_refused_whatever_is_allowed(tmp_path, db):
    for key in ("9.00101E+11", " "):
        write(tmp_path, "day1/agents.csv", HEADER + f"{key},a@example.com,Ada,\n" * 3)
        with pytest.raises(DaybookError, match="none of its 3 keys"):
            land_one(tmp_path, "stg_agents", allow_shrink=True, allow_empty=True)
    assert rows(db, "stg_agents") == []


def test_a_snapshot_of_another_system_is_refused(tmp_path, db):
    write(tmp_path, "day1/agents.json", agents(30))
    write(tmp_path, "day2/agents.json", agents(30, first=9020))
    land_one(tmp_path, "stg_agents")
    message = r"11 known keys .agent_id. are less than half of the 30"
    with pytest.raises(DaybookError, match=message):
        land_one(tmp_path, "stg_agents", day="day2")
    assert len(rows(db, "stg_agents")) == 30
    assert land_one(tmp_path, "stg_agents", day="day2", allow_shrink=True).rows_landed == 30


def test_rates_of_another_date_land(tmp_path):
    codes = [f"{a}{b}{c}" for a in "ABC" for b in "DEF" for c in "GHI"]
    for day in ("day1", "day2"):
        lines = "".join(f"2026-01-0{day[-1]},{code},1.5\n" for code in codes)
        write(tmp_path, f"{day}/fx_rates.csv", "rate_date,currency,usd_per_unit\n" + lines)
        assert land_one(tmp_path, "stg_fx_rates", day=day).rows_landed == 27


def test_values_that_postgres_cannot_store_are_repaired_and_land(tmp_path, db):
    people = json.dumps(agents(39)).replace('"Agent 9001"', '"x\\u0000y"')
    people = people.replace('"id": 9002,', '"id": 9002, "score": NaN,')
    people = people.replace('"Agent 9003"', '"cut \\ud83d"')
    write(tmp_path, "day1/agents.json", people.encode().replace(b"Agent 9004", b"Ren\xe9"))
    landed = land_one(tmp_path, "stg_agents")
    assert (landed.rows_landed, landed.rows_rejected, landed.rows_repaired) == (39, 0, 3)
    names = ["x\ufffdy", "Agent 9002", "cut \ufffd", "Ren\ufffd"]
    assert ids(db, key="name")[:4] == names
    assert rows(db, "stg_agents")[1]["_extra"] == {"score": "NaN"}
    reasons = [reason for _, _, reason, _ in rejects(db)]
    assert reasons == ["nul byte", "lone surrogate", "not utf-8"]
    (batch,) = batches(db, "stg_agents")
    assert (batch["rows_in_files"], batch["rows_landed"], batch["rows_rejected"]) == (39, 39, 0)
    assert "3 records landed repaired" in account([landed])


def test_upper_case_extensions_land_and_system_files_are_ignored(tmp_path, db):
    write(tmp_path, "day1/agents.CSV", as_csv(agents()))
    for name in (
        "agents.CSV.md5",
        "SHA256SUMS",
        "Thumbs.db",
        "desktop.ini",
        ".DS_Store",
        "agents.csv~",
        "agents.parquet_$folder$",
    ):
        write(tmp_path, f"day1/{name}", "x")
    write(tmp_path, "day1/transactions/1.JSON.GZ", gzip.compress(b'[{"id": "t"}]'))
    write(tmp_path, "day1/transactions/1.json.gz.sha256", "x")
    write(tmp_path, "day1/groups.Json", "[]")
    landed = land(tmp_path, allow_empty=True)
    assert (landed["stg_agents"].rows_landed, landed["stg_transactions"].rows_landed) == (30, 1)
    assert not [one for one in landed.values() if one.status == "unused"]


def test_files_that_no_table_uses_are_named(tmp_path, db):
    write_day(tmp_path, **{"fxrates.csv": "x", "card/1.json": "[]", "users.json": "[]"})
    landed = land(tmp_path)
    unused = [one.table for one in landed.values() if one.status == "unused"]
    assert unused == ["card/", "fxrates.csv", "users.json"]
    printed = account(list(landed.values()))
    assert "no table is found under 'card'; the nearest is cards (stg_cards)" in printed
    assert "the nearest is fx_rates (stg_fx_rates)" in printed
    (batch,) = batches(db, "fxrates.csv")
    assert (batch["status"], batch["rows_landed"]) == ("unused", None)


def test_thousands_of_files_beside_their_folder_are_counted_and_any_name_is_told(tmp_path, db):
    odd = os.fsdecode(b"0\xe9.csv")
    write_day(tmp_path, **{odd: "x"} | {f"{n}.json": "[]" for n in range(100, 130)})
    unused = {one.table: one.error for one in land(tmp_path).values() if one.status == "unused"}
    assert [*unused][:2] == ["0\\udce9.csv", "100.json"]
    assert (len(unused), unused["more files"]) == (21, "more files: 11 that no table uses either.")


def test_an_optional_table_that_could_not_land_ends_the_command_with_1(tmp_path, capsys):
    write_day(tmp_path, **{"roles.json": '{"error": "no"}'})
    assert main(["--day", "day1", "--data", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "warning: roles.json: none of its records has the key id (role_id)" in shown
    assert "stg_agents" in shown


def test_a_message_shows_what_a_file_begins_with_and_ledgers_do_not(tmp_path, db):
    write(tmp_path, "day1/agents.json", '{"message": "for secret@example.com"}')
    with pytest.raises(DaybookError, match=r'It begins with {"message": "for secret@example'):
        land_one(tmp_path, "stg_agents")
    metrics = db.execute("select * from metrics.pipeline_metrics").fetchall()
    for ledger in map(str, (metrics, batches(db, "stg_agents"))):
        assert "an error message (message)" in ledger
        assert "secret" not in ledger


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("agents.csv", HEADER + '1,secret@example.com,"A"\n2,b,5" x,\n3,c,x",\n'),
        ("agents.csv", "email,\x1b[31mred\n1,2\n"),
        ("agents.json", "\x1b[2JInternal error\x07"),
        ("agents\x1b[2J.csv", "agent_id\n1\n"),
    ],
)
def test_a_message_shows_no_row_and_no_control_characters(tmp_path, capfd, name, content):
    write_day(tmp_path)
    (tmp_path / "day1/agents.json").unlink()
    write(tmp_path, f"day1/{name}", content)
    assert main(["--day", "day1", "--data", str(tmp_path)]) == 1
    printed = "".join(capfd.readouterr())
    assert "agents" in printed
    assert "secret" not in printed and "\x1b" not in printed


def test_too_many_rejects_say_the_first_and_give_up(tmp_path, db):
    good = "".join(f'{{"id": "t{n}"}}\n' for n in range(10))
    write(tmp_path, "day1/transactions.jsonl", good + '{"id": oops}\n' * 3)
    with pytest.raises(DaybookError, match=r"first is transactions\.jsonl, record 11: broken json"):
        land_one(tmp_path)
    write(tmp_path, "day1/transactions.jsonl", '{"id": oops, "x": "yyyyyyyyyyyyyy"}\n' * 1_000_000)
    started = time.process_time()
    with pytest.raises(DaybookError, match=r"already [0-9]+ records can't be landed"):
        land_one(tmp_path)
    assert batches(db)[-1]["rows_rejected"] < 950_000
    assert time.process_time() - started < 120


def test_a_broken_line_costs_at_most_five_good_ones(tmp_path):
    table = declared_tables()["stg_transactions"]
    record = {f"f{n}": "x" * 20 for n in range(20)}
    costs = []
    for line in (json.dumps({"id": "t", **record}), json.dumps(record)[:-1] + ', "id": oops}'):
        path = write(tmp_path, "t.jsonl", '{"id": "a"}\n' + f"{line}\n" * 20_000)
        file = RawFile("t.jsonl", path, "json", False, path.stat().st_size, 0)
        best = 1e9
        for _ in range(2):
            started = time.process_time()
            with path.open("rb") as stream:
                for _piece in read_json(file, stream, Mapping(table), Observed()):
                    pass
            best = min(best, time.process_time() - started)
        costs.append(best)
    assert costs[1] < 5 * costs[0]


def test_a_backslash_and_a_dot_alone_on_a_line_do_not_end_the_copy(tmp_path, db):
    memo = "a\n\\.\nb"
    record = [{"id": "t1", "userName": memo}, {"id": "t2"}]
    write(tmp_path, "day1/transactions/1.json", record)
    text = f'transaction_id,user_name,other\nt3,"{memo}",x\nt4,y,z\n'
    write(tmp_path, "day1/transactions/2.csv", text)
    assert land_one(tmp_path).rows_landed == 4
    assert [row["user_name"] for row in rows(db)] == [memo, None, memo, "y"]
