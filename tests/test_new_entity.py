"""`daybook new`: from a sample to silver without a line by hand."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas
import pytest
import yaml

from loaders.declaration import build
from loaders.scaffold import draft, files_of, main
from loaders.sources import PROJECT, SOURCES_FILE, declared_tables
from tests.raw_days import write
from tests.test_conventions import tracked
from tests.watching import run_command, run_python, tuples

ANN = {
    "id": 1,
    "invoiceNumber": "0017",
    "customer": {"id": 88, "address": {"zip": "01067"}},
    "lines": [{"sku": "a", "count": 2}],
    "issued": "2026-01-02",
    "total": 12,
    "pages": 3,
    "paid": False,
    "order": "PO-1",
    "updatedAt": "2026-01-02T10:00:00+02:00",
}
BOB = ANN | {"id": 2, "customer": {"id": 89, "address": None}, "lines": [], "total": 1.10}
BROKEN = ANN | {"id": 3, "issued": "02/01/2026", "total": "a lot", "pages": 2.5}
# Without these no day is applied.
REQUIRED = {
    "agents.csv": "agent_id,email,name\n1,a@example.com,A\n",
    "groups.csv": "group_id,name\n1,G\n",
    "transactions.csv": "transaction_id\n",
}
PAID = ANN | {"paid": True, "updatedAt": "2026-01-03T10:00:00Z"}


def in_project(project: Path, *arguments: str) -> str:
    done = run_python("-m", *arguments, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write_day(folder: Path, invoices: list[dict[str, Any]]) -> None:
    for name, text in (REQUIRED | {"invoices.json": json.dumps(invoices)}).items():
        write(folder, name, text)


@pytest.mark.slow
def test_a_new_entity_lands_and_comes_to_silver(db, dbt, tmp_path):
    project, data = tmp_path / "project", tmp_path / "data"
    for file in tracked():
        copied = project / file.relative_to(PROJECT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copied)
    for day, records in {"day1": [ANN, BOB, BROKEN], "day2": [PAID, BOB]}.items():
        write_day(data / day, records)
    sample = tmp_path / "sample.json"
    sample.write_text(json.dumps({"results": [ANN, BOB]}))
    sources = (project / SOURCES_FILE.relative_to(PROJECT)).read_text()

    shown = in_project(project, "flows.cli", "new", "invoices", "--from", str(sample))
    assert "a snapshot with the key invoice_id; the newest by updated_at" in shown
    assert (project / SOURCES_FILE.relative_to(PROJECT)).read_text().startswith(sources)
    written = [str(path) for path in project.rglob("models/*/*invoices*.sql")]
    assert len(written) == 4
    in_project(project, "sqlfluff", "lint", "--disable-progress-bar", *written)
    run_command("git", "init", "--quiet", project, check=True)
    conventions = "yaml or tags or tag_and_counted or contracts or folder or small"
    in_project(project, "pytest", "-q", "tests/test_conventions.py", "-k", conventions)

    for day in ("day1", "day2"):
        in_project(project, "loaders", "--day", day, "--data", str(data))
    assert dbt("build", "--select", "tag:invoices", project=project).success

    rows = db.execute("select * from silver.invoices order by invoice_id").fetchall()
    values = [{k: v for k, v in row.items() if not k.startswith("_")} for row in rows]
    ann = {
        "invoice_id": "1",
        "invoice_number": "0017",
        "customer_id": "88",
        "customer_address_zip": "01067",
        "lines": [{"sku": "a", "count": 2}],
        "issued": date(2026, 1, 2),
        "total": Decimal(12),
        "pages": 3,
        "paid": True,
        "invoice_order": "PO-1",
        "updated_at": datetime(2026, 1, 3, 10, tzinfo=UTC),
    }
    bob = ann | {
        "invoice_id": "2",
        "customer_id": "89",
        "customer_address_zip": None,
        "lines": [],
        "total": Decimal("1.1"),
        "paid": False,
        "updated_at": datetime(2026, 1, 2, 8, tzinfo=UTC),
    }
    assert values == [ann, bob]
    quarantined = tuples(db, "select invoice_id, total, _errors from quarantine.invoices")
    assert quarantined == [("3", "a lot", ["issued_invalid", "total_invalid", "pages_invalid"])]
    ledger = (
        "select balanced, rows_landed, rows_inserted, rows_updated, rows_unchanged,"
        " rows_quarantined from metrics.row_ledger where target = 'invoices' order by day"
    )
    assert tuples(db, ledger) == [(True, 3, 2, 0, 0, 1), (True, 2, 0, 1, 1, 0)]

    # a column more, where it belongs: between others. A project is parsed once.
    project = project.rename(tmp_path / "changed")
    before, more = "{name: issued, ", "{name: note, data_type: text, description: A remark.}"
    where = project / SOURCES_FILE.relative_to(PROJECT)
    where.write_text(where.read_text().replace(before, f"{more}\n          - {before}"))
    for model in ("intermediate/int_invoices_records", "silver/invoices"):
        sql, yml = (project / f"models/{model}.{ending}" for ending in ("sql", "yml"))
        sql.write_text(sql.read_text().replace("    issued,\n", "    note,\n    issued,\n"))
        before = "      - name: issued\n"
        more = "      - {name: note, description: A remark., data_type: text}\n"
        yml.write_text(yml.read_text().replace(before, more + before))
    write_day(data / "day3", [PAID | {"note": "late"}])
    in_project(project, "loaders", "--day", "day3", "--data", str(data))
    assert dbt("build", "--select", "tag:invoices", project=project).success
    rows = tuples(db, "select note, total from silver.invoices order by invoice_id")
    assert rows == [("late", 12), (None, Decimal("1.1"))]


def test_the_templates_are_the_models_of_roles():
    made = files_of(declared_tables()["stg_roles"])
    other = {"['role_id', 'name']": "['role_id']", "unique_key='role_id'": "unique_key=['role_id']"}
    for path in made:
        if path.suffix == ".sql":
            text = path.read_text()
            for theirs, ours in other.items():
                text = text.replace(theirs, ours)
            assert made[path] == text, path


def declared(sample: Path, **options: Any) -> dict[str, Any]:
    """The entry of the sources file that a sample comes to."""
    text = files_of(draft("invoices", sample, **options))[SOURCES_FILE]
    build([(SOURCES_FILE, yaml.load(text, yaml.BaseLoader))])
    return yaml.safe_load(text)["sources"][0]["tables"][-1]


def columns(entry: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Of each column: its type, and the place that it comes from."""
    found = {}
    for column in entry["columns"]:
        meta = column.get("config", {}).get("meta", {})
        found[column["name"]] = (column["data_type"], meta.get("from", column["name"]))
    return found


def write_as(folder: Path, form: str) -> Path:
    """The same two flat records in each format."""
    path = folder / f"any.{form}"
    frame = pandas.DataFrame(
        {
            "Id": ["a1", "a2"],
            "Zip Code": ["01067", "10115"],
            "Net Amount": [12, 100],
            "Pages": [1, 2],
            "Ratio": [0.5, None],
            "Paid": [True, False],
            "Due": ["2026-01-05", "2026-01-06"],
            "Seen at": ["2026-01-05T10:00:00Z", "2026-01-06"],
            "Note": [None, None],
            "Remark": ["one, two", "three, four"],
        }
    )
    if form == "csv":
        frame.to_csv(path, index=False, sep=";")
    elif form == "parquet":
        frame.to_parquet(path, index=False)
    elif form == "xlsx":
        frame.to_excel(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)
    return path


@pytest.mark.parametrize("form", ["csv", "parquet", "xlsx", "jsonl"])
def test_each_format_says_the_same_of_an_entity(tmp_path, form):
    entry = declared(write_as(tmp_path, form), delta=True)
    assert columns(entry) == {
        "invoice_id": ("text", "Id"),
        "zip_code": ("text", "Zip Code"),
        "net_amount": ("numeric", "Net Amount"),
        "pages": ("bigint", "Pages"),
        "ratio": ("numeric", "Ratio"),
        "paid": ("boolean", "Paid"),
        "due": ("date", "Due"),
        "seen_at": ("timestamptz", "Seen at"),
        "note": ("text", "Note"),
        "remark": ("text", "Remark"),
    }
    words = {"found_under": ["invoices"], "kind": "delta", "required": False, "key": ["invoice_id"]}
    assert entry["config"]["meta"] == words | ({"delimiter": ";"} if form == "csv" else {})


def test_pages_of_an_envelope_say_where_their_list_is(tmp_path):
    for page in (1, 2):
        records = [{"ref": {"no": f"{page}{n}"}, "tags": {"2026-01": n}} for n in range(3)]
        (tmp_path / f"{page}.json").write_text(json.dumps({"next": None, "data": records}))
    entry = declared(tmp_path, key="ref.no")
    assert entry["config"]["meta"]["records"] == "data"
    assert columns(entry) == {"ref_no": ("text", "ref.no"), "tags": ("jsonb", "tags")}


def test_a_header_called_as_a_column_in_another_case_is_that_column(tmp_path):
    sample = tmp_path / "invoices.csv"
    sample.write_text("id,User-Name,User_Name\n1,a,b\n")
    names = {name: source for name, (_, source) in columns(declared(sample)).items()}
    assert names == {"invoice_id": "id", "user_name_2": "User-Name", "user_name": "User_Name"}


def test_fields_whose_names_become_one_have_a_column_each(tmp_path):
    sample = tmp_path / "invoices.json"
    record = {"id": 1, "invoice_id": 2, "user": {"id": 3}, "user_id": 4, "Name": 5, "name": 6}
    sample.write_text(json.dumps([record | {"a.b": 7, " ": 8, "Phone": "9", "phone": "0"}]))
    entry = declared(sample)
    assert columns(entry) == {
        "invoice_id_2": ("text", "id"),
        "invoice_id": ("text", "invoice_id"),
        "user_id_2": ("text", "user.id"),
        "user_id": ("text", "user_id"),
        "name_2": ("bigint", "Name"),
        "name": ("bigint", "name"),
        "a_b": ("bigint", "a.b"),
        "phone_2": ("text", "Phone"),
        "phone": ("text", "phone"),
    }
    metas = {one["name"]: one.get("config", {}).get("meta", {}) for one in entry["columns"]}
    assert {metas[name]["pii"] for name in ("user_id_2", "user_id")} == {"user"}
    assert {metas[name]["pii"] for name in ("phone_2", "phone")} == {"personal"}


def test_a_column_with_the_name_of_a_personal_one_is_personal(tmp_path):
    sample = tmp_path / "licences.json"
    owner = {"email": "a@example.com", "name": "A", "agentId": 7, "hasEmail": True}
    record = {"id": 1, "owner": owner, "user_id": "u", "agent_ids": [7], "phoneNumbers": ["1"]}
    record |= {"E-Mail Addresses": ["a"], "userPrincipalName": "a", "lastLogin": "2026-01-05"}
    sample.write_text(json.dumps([record]))
    metas = {
        one["name"]: one.get("config", {}).get("meta", {}) for one in declared(sample)["columns"]
    }
    assert {name: meta.get("pii") for name, meta in metas.items()} == {
        "invoice_id": None,
        "owner_email": "personal",
        "owner_name": None,  # groups have a name, too
        "owner_agent_id": "agent",
        "user_id": "user",
        "agent_ids": "agent",
        "phone_numbers": "personal",
        "e_mail_addresses": "personal",
        "user_principal_name": "personal",
        "owner_has_email": None,
        "last_login": None,
    }
    assert metas["owner_email"]["from"] == "owner.email"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Invoices --from {a}", "an entity's name is what its files are called"),
        ("select --from {a}", "no word of SQL"),
        ("roles --from {a}", "it is there already, in models/"),
        ("admin_groups --from {a}", "it is there already, in models/bronze/_bronze__sources.yml"),
        ("invoices --from {no}", "there is no such file or folder"),
        ("invoices --from {empty}", "no record was found in it"),
        ("invoices --from {a} --encoding utf-61", "utf-61: no such encoding"),
        ("invoices --from {a} --key id,nr", "no field is called nr. Say it with --key"),
        ("invoices --from {nokey}", "no field is called id or invoice_id or invoices_id"),
        ("invoices --from {nokey}", "Its fields: nr, sum."),
        ("invoices --from {a} --key sum", "the key sum has no value in 1 of 3 records"),
        ("invoices --from {a} --key kind", "the key kind is not unique: 1 of 3 records repeat one"),
        ("invoices --from {a} --key list", "the key list holds lists or objects"),
    ],
)
def test_what_cannot_be_an_entity_is_refused_with_the_reason(tmp_path, line, message, capsys):
    records = [
        {"id": 1, "sum": 1, "kind": "a", "list": [1]},
        {"id": 2, "sum": 2, "kind": "b", "list": [2]},
        {"id": 3, "sum": None, "kind": "b", "list": [3]},
    ]
    places = {name: tmp_path / f"{name}.json" for name in ("a", "no", "empty", "nokey")}
    places["a"].write_text(json.dumps(records))
    places["empty"].write_text("[]")
    places["nokey"].write_text('[{"nr": 1, "sum": 2}, {"nr": 2, "sum": 3}]')
    assert main(line.format(**places).split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
