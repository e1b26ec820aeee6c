"""Landing: what ends up in bronze and in the ledger, file by file."""

from __future__ import annotations

import gzip
import json

import pytest

from loaders.errors import DaybookError
from tests.raw_days import HEADER, TENS, batches, land_one, rejects, rows, transactions, write
from tests.watching import column, tuples

pytestmark = pytest.mark.usefixtures("warehouse")


def test_a_csv_lands_with_its_lineage(tmp_path, db):
    transactions(tmp_path, HEADER + 't1,1,EUR,"a, b"\nt2,2,USD,""\n')
    landed = land_one(tmp_path)
    assert (landed.status, landed.rows_in_files, landed.rows_landed) == ("succeeded", 2, 2)
    first, second = rows(db)
    assert (first["transaction_id"], first["user_name"]) == ("t1", "a, b")
    assert second["user_name"] is None
    assert [row["_source_row"] for row in (first, second)] == [1, 2]
    assert {row["_source_file"] for row in (first, second)} == {"transactions.csv"}
    assert {row["_batch_id"] for row in (first, second)} == {landed.batch_id}
    assert str(first["_day"]) == "1970-01-02"
    assert first["_extra"] is None
    assert first["_loaded_at"] == second["_loaded_at"]


def test_the_ledger_says_what_was_read(tmp_path, db):
    transactions(tmp_path, HEADER + TENS)
    landed = land_one(tmp_path, flow_run_id="run-1")
    (batch,) = batches(db)
    assert (batch["status"], batch["flow_run_id"]) == ("succeeded", "run-1")
    assert (batch["rows_in_files"], batch["rows_landed"], batch["rows_rejected"]) == (10, 10, 0)
    (file,) = batch["source_files"]
    assert file["path"] == "transactions.csv"
    assert (file["bytes"], file["records"], len(file["sha256"])) == (len(HEADER + TENS), 10, 64)
    assert batch["finished_at"] > batch["started_at"]
    (metric,) = db.execute("select * from metrics.pipeline_metrics").fetchall()
    assert (metric["task_name"], metric["pipeline_name"]) == ("land-table", "landing")
    assert (metric["status"], metric["rows_landed"]) == ("success", 10)
    assert metric["duration_seconds"] > 0
    assert landed.batch_id == batch["batch_id"]


def test_columns_in_any_order_with_bom_and_crlf(tmp_path, db):
    transactions(tmp_path, b"\xef\xbb\xbfcurrency,transaction_id\r\nEUR,t1\r\nUSD,t2")
    land_one(tmp_path)
    currencies = {row["transaction_id"]: row["currency"] for row in rows(db)}
    assert currencies == {"t1": "EUR", "t2": "USD"}


def test_an_embedded_newline_and_a_1_mb_field(tmp_path, db):
    large = "é" * 500_000
    transactions(tmp_path, HEADER + f't1,1,EUR,"a\n\nb"\nt2,2,EUR,"{large}"\n')
    assert land_one(tmp_path).rows_landed == 2
    assert [row["user_name"] for row in rows(db)] == ["a\n\nb", large]


def test_blank_lines_are_no_records(tmp_path, db):
    transactions(tmp_path, "\n" + HEADER + "\nt1,1,EUR,x\n   \n\nt2,2,EUR,y\n\n")
    landed = land_one(tmp_path)
    assert (landed.rows_in_files, landed.rows_landed, landed.rows_rejected) == (2, 2, 0)
    assert [row["_source_row"] for row in rows(db)] == [1, 2]


@pytest.mark.parametrize("head", ["\n", "\ufeff\n", " \t\r\n", "\n\n", "\r"])
def test_a_blank_first_line_is_not_the_header(tmp_path, db, head):
    transactions(tmp_path, f"{head}transaction_id,amount_minor\nt1,1\n")
    landed = land_one(tmp_path)
    assert (landed.rows_in_files, landed.rows_landed, landed.rows_rejected) == (1, 1, 0)
    assert [(row["_source_row"], row["transaction_id"]) for row in rows(db)] == [(1, "t1")]
    transactions(tmp_path, f"{head}transaction_id,amount_minor\n")
    assert land_one(tmp_path).rows_in_files == 0


def test_bad_rows_are_kept_with_their_reasons(tmp_path, db):
    good = "".join(f"t{n},1,EUR,x\n" for n in range(40)).encode()
    bad = b"ragged,1\nnul,1,EUR,\x00\nlatin,1,EUR,caf\xe9\n"
    transactions(tmp_path, HEADER.encode() + bad + good)
    landed = land_one(tmp_path)
    assert (landed.rows_in_files, landed.rows_landed, landed.rows_rejected) == (43, 42, 1)
    assert landed.rows_repaired == 2
    assert rejects(db) == [
        ("transactions.csv", 1, "ragged: 2 fields, 4 expected", "ragged,1\n"),
        ("transactions.csv", 2, "nul byte", "nul,1,EUR,\\x00\n"),
        ("transactions.csv", 3, "not utf-8", "latin,1,EUR,caf\\xe9\n"),
    ]
    landed_too = column(db, "select landed from bronze.load_rejects order by source_row")
    assert landed_too == [False, True, True]
    assert [row["_source_row"] for row in rows(db)] == list(range(2, 44))
    assert [row["user_name"] for row in rows(db)[:2]] == ["\ufffd", "caf\ufffd"]


def test_an_open_quote_at_the_end_refuses_the_file(tmp_path, db):
    good = "".join(f"t{n},1,EUR,x\n" for n in range(50))
    transactions(tmp_path, HEADER + good + 'u,1,EUR,"open\n' + "v,1,EUR,y\n" * 3)
    message = r"transactions\.csv: it ends inside record 51, in an open"
    with pytest.raises(DaybookError, match=message):
        land_one(tmp_path)
    assert rows(db) == []


def test_too_many_rejects_replace_nothing(tmp_path, db):
    transactions(tmp_path, HEADER + TENS)
    first = land_one(tmp_path)
    transactions(tmp_path, HEADER + TENS + "bad,1\nworse,2\nrepaired,3,EUR,\0\n")
    with pytest.raises(DaybookError, match=r"2 of 13 records can't be landed"):
        land_one(tmp_path)
    assert {row["_batch_id"] for row in rows(db)} == {first.batch_id}
    _, failed = batches(db)
    assert (failed["status"], failed["rows_landed"], failed["rows_rejected"]) == ("failed", None, 2)
    assert "2 of 13 records" in failed["error"]
    assert len(rejects(db)) == 2
    metric = db.execute("select * from metrics.pipeline_metrics order by id desc").fetchone()
    assert (metric["status"], metric["rows_landed"]) == ("failure", 0)
    # the same files again still fail, the former ones land again
    with pytest.raises(DaybookError):
        land_one(tmp_path)
    transactions(tmp_path, HEADER + TENS)
    assert land_one(tmp_path).status == "succeeded"


def test_a_truncated_gzip_fails_its_table(tmp_path, db):
    lines = "".join(f"t{n},{n * 7919},EUR,x\n" for n in range(100_000))
    whole = gzip.compress((HEADER + lines).encode())
    transactions(tmp_path, whole[: len(whole) // 2], "transactions.csv.tmp")
    (tmp_path / "day1/transactions.csv.tmp").rename(tmp_path / "day1/transactions.csv.gz")
    with pytest.raises(DaybookError, match="gzip is cut"):
        land_one(tmp_path)
    assert rows(db) == []
    assert [batch["status"] for batch in batches(db)] == ["failed"]
    (tmp_path / "day1/transactions.csv.gz").write_bytes(whole)
    assert land_one(tmp_path).rows_landed == 100_000


@pytest.mark.parametrize("content", ["", HEADER, "\ufeff\n"])
def test_a_delta_may_be_empty(tmp_path, content):
    transactions(tmp_path, content)
    landed = land_one(tmp_path)
    assert (landed.status, landed.rows_in_files, landed.rows_landed) == ("succeeded", 0, 0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("agents.csv", ""),
        ("agents.csv", "agent_id,email,name\n"),
        ("agents/1.json", "[]"),
        ("agents/1.json", '{"results": []}'),
        ("agents/1.json", ""),
    ],
)
def test_a_required_snapshot_may_be_empty_only_when_that_is_allowed(tmp_path, db, name, content):
    write(tmp_path, f"day1/{name}", content)
    with pytest.raises(DaybookError, match="--allow-empty"):
        land_one(tmp_path, "stg_agents")
    assert batches(db, "stg_agents") == []
    assert land_one(tmp_path, "stg_agents", allow_empty=True).rows_landed == 0


def test_an_unknown_column_is_kept_and_recorded_as_drift(tmp_path, db):
    transactions(tmp_path, "transaction_id,colour,currency\nt1,red,EUR\nt2,,USD\n")
    landed = land_one(tmp_path)
    assert [row["_extra"] for row in rows(db)] == [{"colour": "red"}, None]
    assert landed.drift is not None
    assert landed.drift["unknown"] == ["colour"]
    assert "amount_minor" in landed.drift["missing"]
    assert "currency" not in landed.drift["missing"]
    assert batches(db)[0]["drift"] == landed.drift


def test_drift_is_the_difference_from_the_day_before(tmp_path):
    write(tmp_path, "day1/transactions.csv", "transaction_id,colour,currency\nt1,red,EUR\n")
    write(tmp_path, "day2/transactions.csv", "transaction_id,shape,amount_minor\nt1,round,1\n")
    land_one(tmp_path)
    drift = land_one(tmp_path, day="day2").drift
    assert drift is not None
    assert drift["added"] == ["amount_minor", "shape"]
    assert drift["gone"] == ["colour", "currency"]


def test_a_day_without_records_has_the_fields_of_the_day_before(tmp_path):
    for number, text in enumerate(("[]", '[{"id": "t1", "note": "x"}]') * 2, start=1):
        write(tmp_path, f"day{number}/transactions.json", text)
    drifts = [land_one(tmp_path, day=f"day{number}").drift for number in (1, 2, 3, 4)]
    assert drifts[0] is None and drifts[1]
    assert {"missing", "unknown"} == {*drifts[1]}
    assert drifts[1:] == [drifts[1]] * 3


def test_a_field_that_comes_after_a_day_without_records_is_new(tmp_path):
    header, drift = "group_id,agent_id", None
    for number, text in enumerate((f"{header}\n1,2", header, f"{header},note\n1,2,x"), start=1):
        write(tmp_path, f"day{number}/group_memberships.csv", f"{text}\n")
        drift = land_one(tmp_path, "stg_group_memberships", day=f"day{number}").drift
    assert drift == {"unknown": ["note"], "added": ["note"]}


# read by both readers of JSON
RECORDS = json.dumps([{"id": "t1", "note": "x"}, {"id": "\u0000", "note": "y"}])


@pytest.mark.parametrize(("form", "text"), [("json", RECORDS), ("csv", "id,Note\nt1,x\n")])
def test_a_field_that_is_declared_by_now_and_one_with_a_default_are_no_drift(
    tmp_path, monkeypatch, form, text
):
    for day in ("day1", "day2"):
        write(tmp_path, f"{day}/transactions.{form}", text)
    drift = land_one(tmp_path).drift
    assert drift and "currency" in drift["missing"]
    words = "{merchant_name: note, currency: {default: EUR}, exponent: {default: 2}}"
    overlay = write(tmp_path, "sources.yml", f"stg_transactions: {{columns: {words}}}")
    monkeypatch.setenv("DAYBOOK_SOURCES", str(overlay))
    drift = land_one(tmp_path, day="day2").drift
    assert drift and "gone" not in drift
    assert not {"currency", "exponent", "merchant_name"} & {*drift["missing"]}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("currency,amount_minor", "key column transaction_id is missing"),
        ("transaction_id,currency,currency", "repeats a name, in column 3"),
    ],
)
def test_a_header_without_the_key_or_with_a_name_twice_is_refused(tmp_path, db, header, message):
    transactions(tmp_path, f"{header}\n1,2,3\n")
    with pytest.raises(DaybookError, match=message):
        land_one(tmp_path)
    assert batches(db) == []


def test_a_key_that_no_json_record_has_is_refused(tmp_path, db):
    write(tmp_path, "day1/agents.json", [{"id": "a"}])
    land_one(tmp_path, "stg_agents")
    write(tmp_path, "day1/agents.json", [{"ident": "a"}, {"ident": "b"}])
    message = r"agents\.json: none of its records has the key id \(agent_id\); its fields are ident"
    with pytest.raises(DaybookError, match=message):
        land_one(tmp_path, "stg_agents")
    assert [row["agent_id"] for row in rows(db, "stg_agents")] == ["a"]
    write(tmp_path, "day1/agents.json", [{"ident": "a"}, {"id": "b"}])
    assert land_one(tmp_path, "stg_agents").rows_landed == 2
    write(tmp_path, "day1/transactions.json", [{"transaction_id": "t"}])
    assert land_one(tmp_path).rows_landed == 1
    assert rows(db)[0]["transaction_id"] == "t"  # the landed name counts too


def test_a_snapshot_that_is_cut_replaces_nothing(tmp_path, db):
    agents = [{"id": f"a{n}"} for n in range(40)]
    write(tmp_path, "day1/agents.json", agents)
    land_one(tmp_path, "stg_agents")
    write(tmp_path, "day1/agents.json", json.dumps(agents)[:-15])
    message = "agents.json ends in the middle: fetch it again. Nothing was replaced."
    with pytest.raises(DaybookError, match=message):
        land_one(tmp_path, "stg_agents")
    assert len(rows(db, "stg_agents")) == 40
    assert [batch["status"] for batch in batches(db, "stg_agents")] == ["succeeded", "failed"]


def test_json_keeps_digits_and_undeclared_fields(tmp_path, db):
    content = (
        '{"results": [{"id": "t1", "currencyData": {"originalCurrencyAmount": 9007199254740993,'
        ' "exchangeRate": 1.10, "symbol": "€"}, "childTransactionIds": [1.0, {"a": 2}],'
        ' "isLocked": false}]}'
    )
    write(tmp_path, "day1/transactions/1.json", content)
    landed = land_one(tmp_path)
    (row,) = rows(db)
    assert (row["amount_minor"], row["exchange_rate"]) == ("9007199254740993", "1.10")
    assert row["child_transaction_ids"] == '[1.0,{"a":2}]'
    assert row["_extra"] == {"currencyData": {"symbol": "€"}, "isLocked": False}
    assert landed.drift is not None
    assert landed.drift["unknown"] == ["currencyData.symbol", "isLocked"]


def test_pages_of_every_format_are_one_table(tmp_path, db):
    write(tmp_path, "day1/transactions/10.json", [{"id": "b1"}, {"id": "b2"}])
    write(tmp_path, "day1/transactions/2.jsonl.gz", '{"id": "c1"}\n{"id": "c2"}\n')
    write(tmp_path, "day1/transactions/1.csv", "transaction_id,currency\na1,EUR\n")
    write(tmp_path, "day1/transactions/.hidden.csv", "x")
    write(tmp_path, "day1/transactions/_SUCCESS", "")
    land_one(tmp_path)
    assert [(r["_source_file"], r["_source_row"], r["transaction_id"]) for r in rows(db)] == [
        ("transactions/1.csv", 1, "a1"),
        ("transactions/10.json", 1, "b1"),
        ("transactions/10.json", 2, "b2"),
        ("transactions/2.jsonl.gz", 1, "c1"),
        ("transactions/2.jsonl.gz", 2, "c2"),
    ]


def test_broken_json_lines_are_kept(tmp_path, db):
    good = "\n".join(f'{{"id": "t{n}"}}' for n in range(30))
    write(tmp_path, "day1/transactions.json", f'{good}\n{{"id": oops}}\n7\n{{"id": "last"}}')
    landed = land_one(tmp_path)
    assert (landed.rows_in_files, landed.rows_landed, landed.rows_rejected) == (33, 31, 2)
    assert [(row, raw) for _, row, _, raw in rejects(db)] == [(31, '{"id": oops}'), (32, "7")]
    assert rows(db)[-1]["_source_row"] == 33


@pytest.mark.parametrize("extension", ["csv", "json"])
def test_a_folder_of_20000_one_record_files(tmp_path, db, extension):
    folder = tmp_path / "day1" / "transactions"
    folder.mkdir(parents=True)
    content = {"csv": "transaction_id,currency\nt{},EUR\n", "json": '{{"id": "t{}"}}'}[extension]
    for n in range(20_000):
        (folder / f"{n}.{extension}").write_text(content.format(n))
    landed = land_one(tmp_path)
    assert (landed.rows_in_files, landed.rows_landed) == (20_000, 20_000)
    found = tuples(
        db,
        "select count(distinct _source_file) as files, count(distinct transaction_id) as ids,"
        " max(_source_row) as row from bronze.stg_transactions",
    )
    assert found == [(20_000, 20_000, 1)]
    assert landed.seconds < 20


def test_one_bad_file_among_many_pages(tmp_path, db):
    for page in range(6):
        body = "".join(f"p{page}t{n},1,EUR,x\n" for n in range(20))
        write(tmp_path, f"day1/transactions/{page}.csv", HEADER + body + ("bad\n" * (page > 0)))
    landed = land_one(tmp_path)
    assert (landed.rows_landed, landed.rows_rejected) == (120, 5)
    assert [row["_source_row"] for row in rows(db)] == [*range(1, 21)] * 6
