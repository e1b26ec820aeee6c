"""The declaration: how it maps other people's files, and the messages for mistakes in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas
import pyarrow
import pytest
from pyarrow import parquet

from loaders.days import parse_day
from loaders.errors import DaybookError, UsageError
from loaders.landing import plan_day
from loaders.sources import declared_tables
from tests.raw_days import land_one, rows, write


def sources(folder: Path, text: str) -> Path:
    return write(folder, "sources.yml", text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stg_agent: {records: data}", "'stg_agent' is no declared table.* mean stg_agents?"),
        ("stg_agents: {record: data}", "'record' is no word for a table.*Did you mean records?"),
        ("stg_agents: {kind: snapshoot}", "'kind' is no word for a table here"),
        ("stg_agents: {delimiter: ';;'}", "delimiter is one character"),
        ("stg_agents: {encoding: utf-61}", "'utf-61' is no encoding.*Did you mean utf-16?"),
        ("stg_agents: {decimal: ';'}", "';' is no sign for a fraction"),
        ("stg_agents: {found_under: groups}", "found under 'groups' too"),
        ("stg_agents: {columns: {mail: {from: x}}}", "'mail' is no column.*Did you mean email?"),
        ("stg_agents: {columns: {email: {form: x}}}", "'form' is no word for a column.*from?"),
        ("stg_agents: {columns: {email: {identifier: x}}}", "'identifier' is no word for a column"),
        ("stg_agents: {columns: {email: {from: id}}}", "comes from 'id', and so does agent_id"),
        ("stg_agents: {columns: {email: name}}", "and so does name.*: true here, else where name"),
        ("stg_agents: {columns: {email: {values: x}}}", "values says what each of theirs is"),
        ("stg_agents: {columns: {created_at: {format: iso}}}", "written as in '%d.%m.%Y"),
        ("stg_agents: {columns: {deactivated: {format: '%d'}}}", "format is for a date or a time"),
        ("stg_agents: {skip_lines: all}", "skip_lines is how many lines stand above"),
        ("stg_transactions: {columns: {amount_minor: {scale: 0.5}}}", "scale is how many places"),
        ("stg_agents: {columns: {email: {scale: 2}}}", "scale is for a number, and it is text"),
        ("stg_agents: {columns: {email: {negate: true}}}", "negate is for a number, and it is"),
        ("stg_groups: {columns: {agent_ids: {file_name: true}}}", "file_name is for text, and it"),
        ("stg_groups: {columns: {group_id: {file_name: true}}}", "stands for its whole key"),
        ("stg_groups: {columns: {name: {file_name: true, default: x}}}", "no default beside it"),
        ("stg_groups: {columns: {agent_ids: {separator: ''}}}", "separator is what stands between"),
        ("stg_groups: {columns: {agent_ids: {separator: [a]}}}", "is what .*not \\['a'\\]"),
        ("stg_groups: {columns: {name: {separator: ;}}}", "is for a list, and it is text"),
        ("stg_agents: {columns: {created_at: {timezone: Berlin}}}", "Did you mean Europe/Berlin?"),
        ("stg_agents: {columns: {created_at: {timezone: ''}}}", "Europe/Berlin, that .*, not ''"),
        ("stg_agents: {columns: {created_at: {timezone: {}}}}", "timezone is one of .*, not '{}'"),
        ("stg_budgets: {columns: {start_date: {timezone: UTC}}}", "for a moment, and it is date"),
        ("stg_agents: {columns: {email: {from: []}}}", "from is a name, a dotted path"),
        ("stg_agents: {columns: {email: {shared: yess}}}", "shared is true or false, not 'yess'"),
        ("stg_agents: {columns: {created_at: {format: '%d.%Q'}}}", "'%Q' is no part of one"),
        ("stg_agents: {columns: {created_at: {format: '%H:%M %Z'}}}", "'%Z' is no part of one"),
        ("stg_agents: {columns: [email]}", "columns are names, and what is said of each"),
        ("stg_agents: {encoding: base64}", "'base64' is no encoding"),
        ("stg_agents: {records: [a]}", "records is where a page keeps its list"),
        ("stg_agents: {found_under: users.csv}", "found_under is what .*without folder and ending"),
        ("stg_agents: {found_under: []}", "found_under is what a day's files are called"),
        ("stg_agents: {colums: {}}", "'colums' is no word.*Did you mean columns?"),
        ("stg_agents: [1]", "words and what they mean"),
        ("stg_agents: {records: a..b}", "records is where a page keeps its list.*not 'a..b'"),
        ("stg_agents: {records: .a}", "records is where a page keeps its list"),
        ("stg_agents: {records: ' '}", "records is where a page keeps its list"),
        ("stg_agents: {found_under: ' '}", "found_under is what a day's files are called"),
        ("stg_agents: {found_under: [a, a.b]}", "found_under is what a day's files are called"),
        ("stg_agents: {found_under: _a}", "found_under is what a day's files are called"),
        ("stg_agents: {columns: {email: {from: ' '}}}", "stg_agents.email: from is a name"),
        ("stg_agents: {columns: {email: {default: ' '}}}", "default is one value"),
        ("stg_agents: {columns: {email: {values: {'': x}}}}", "say default for an empty one"),
        ("stg_agents: {}\nstg_agents: {kind: x}", "stg_agents: it is said again in .*line 2"),
        ("stg_agents: {columns: {email: a, name: b, email: c}}", "email: it is said again"),
        ("stg_agents: {columns: {email: {from: a, from: b}}}", "from: it is said again"),
        ("stg_agents: {columns: {email: {values: {a: b, a: c}}}}", "a: it is said again"),
        ("stg_agents: &a {kind: *a}", "this is no YAML"),
        ("{", "this is no YAML"),
        ("stg_agents: {found_under: a [b]}", "no YAML; a name with .* in quotes"),
        ("7", "no tables are declared"),
    ],
)
def test_what_cannot_be_used_is_named_with_what_is_allowed(tmp_path, text, message):
    with pytest.raises(UsageError, match=f"(?s){message}"):
        declared_tables(sources(tmp_path, text))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("kind: snapshot", "kind: snapshoot", "stg_agents: 'snapshoot' is no kind.*snapshot?"),
        ("required: true", "requierd: true", "'requierd' is no word.*Did you mean required?"),
        ("key: [agent_id]", "key: [agent]", "so it can't be in the key.*Did you mean agent_id?"),
        ("data_type: timestamptz", "data_type: timestamp", "'timestamp' is no type.*timestamptz?"),
        ("{from: contact.email,", "{from: contact.name,", "name: it comes from 'contact.name'"),
        ("name: stg_agents", "name: agents", "agents: a table is called stg_"),
        ("name: stg_groups", "name: stg_agents", "stg_agents: it is declared twice"),
        ("name: email,", "name: name,", "stg_agents.name: it is declared twice"),
        ("name: email,", "name: _day,", "_day: a column is called by small letters"),
        ("key: [agent_id]", "key: []", "key is the name of a column, or a list of them"),
        ("kind: snapshot", "tags: x", "stg_agents: kind is missing"),
        ("name: email,", "name: email, name: mail,", "name: it is said again in .*line [0-9]"),
    ],
)
def test_the_sources_file_itself_is_checked(tmp_path, monkeypatch, before, after, message):
    from loaders import sources as module

    text = module.SOURCES_FILE.read_text()
    assert before in text
    monkeypatch.setattr(module, "SOURCES_FILE", sources(tmp_path, text.replace(before, after, 1)))
    module._declared.cache_clear()
    try:
        with pytest.raises(UsageError, match=f"(?s){message}"):
            declared_tables()
    finally:
        module._declared.cache_clear()


def test_all_problems_are_in_one_message(tmp_path):
    text = "stg_agents: {recods: x, columns: {mail: x}}\nstg_nope: {}\nstg_nope: {}"
    with pytest.raises(UsageError) as raised:
        declared_tables(sources(tmp_path, text))
    assert all(word in str(raised.value) for word in ("recods", "mail", "stg_nope", "line 3"))


OVERLAY = """
stg_agents:
  found_under: [users]
  records: response.people
  columns:
    agent_id: {from: [Nr, profile.nr]}
    email: profile.login
    name: {from: profile.display}
    job_title: {default: none}
    deactivated: {from: state, values: {off: true, "on": false}}
    created_at: {from: profile.since, format: ["%d.%m.%Y %H:%M", "%d.%m.%Y"]}
"""
PEOPLE: list[dict[str, Any]] = [
    {
        "Nr": 7.0,
        "state": "off",
        "profile": {"login": "a@x", "display": "A", "since": "31.01.2026 14:05", "fax": "1"},
    },
    {"profile": {"nr": "8", "login": "b@x", "display": "B", "since": "someday"}, "state": "?"},
]
EXPECTED = [
    ("7", "a@x", "A", "none", "true", "2026-01-31T14:05:00"),
    ("8", "b@x", "B", "none", "?", "someday"),
]
NAMES = ("agent_id", "email", "name", "job_title", "deactivated", "created_at")


def flat(record: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in record.items() if name != "profile"}
    return found | {f"profile.{name}": value for name, value in record["profile"].items()}


@pytest.mark.usefixtures("warehouse")
@pytest.mark.parametrize("form", ["page", "lines", "csv", "parquet", "struct", "xlsx"])
def test_every_format_is_mapped_by_the_same_words(tmp_path, db, form):
    overlay = sources(tmp_path, OVERLAY)
    folder = tmp_path / "day1"
    folder.mkdir()
    frame = pandas.DataFrame([flat(record) for record in PEOPLE])
    if form == "page":
        page = {"ok": True, "response": {"n": 2, "people": PEOPLE}, "next": None}
        write(tmp_path, "day1/users/1.json", page)
    elif form == "lines":
        write(tmp_path, "day1/users.jsonl", "\n".join(map(json.dumps, PEOPLE)))
    elif form == "csv":
        frame.rename(columns={"Nr": " NR ", "profile.login": "Profile.Login"}).to_csv(
            folder / "users.csv", index=False
        )
    elif form == "xlsx":
        frame.to_excel(folder / "users.xlsx", index=False)
    elif form == "parquet":
        frame.to_parquet(folder / "users.parquet")
    else:
        parquet.write_table(pyarrow.Table.from_pylist(PEOPLE), folder / "users.parquet")
    landed = land_one(tmp_path, "stg_agents", sources=overlay)
    assert landed.rows_landed == 2
    found = rows(db, "stg_agents")
    assert [tuple(row[name] for name in NAMES) for row in found] == EXPECTED
    assert "fax" in str(found[0]["_extra"])
    assert land_one(tmp_path, "stg_agents", sources=overlay).status == "unchanged"
    other = sources(tmp_path, OVERLAY.replace("default: none", "default: other"))
    assert land_one(tmp_path, "stg_agents", sources=other).status == "succeeded"


@pytest.mark.usefixtures("warehouse")
def test_a_german_spreadsheet_as_csv(tmp_path, db, monkeypatch):
    text = """
stg_budgets:
  delimiter: ";"
  encoding: cp1252
  decimal: ","
  columns:
    budget_id: {from: Budget..Nr.}
    name: {from: Bezeichnung}
    limit_amount: {from: Höchstbetrag}
    start_date: {from: Beginn, format: "%d.%m.%Y"}
"""
    monkeypatch.setenv("DAYBOOK_SOURCES", str(sources(tmp_path, text)))
    content = (
        'Budget..Nr.;Bezeichnung;Höchstbetrag;Beginn\n1;"Büro; Süd";1.234,50;31.01.2026\n2;x;7;\n'
    )
    write(tmp_path, "day1/budgets.csv", content.encode("cp1252"))
    land_one(tmp_path, "stg_budgets")
    names = ("budget_id", "name", "limit_amount", "start_date")
    assert [tuple(row[name] for name in names) for row in rows(db, "stg_budgets")] == [
        ("1", "Büro; Süd", "1234.50", "2026-01-31"),
        ("2", "x", "7", None),
    ]


@pytest.mark.usefixtures("warehouse")
def test_utf_16_and_semicolons_land_when_declared(tmp_path, db):
    overlay = sources(tmp_path, "stg_groups: {encoding: utf-16, delimiter: semicolon}")
    target = write(tmp_path, "day1/groups.csv", "group_id;name\n1;Ä\n2;B".encode("utf-16"))
    assert land_one(tmp_path, "stg_groups", sources=overlay).rows_landed == 2
    assert [row["name"] for row in rows(db, "stg_groups")] == ["Ä", "B"]
    target.write_bytes(b"group_id;name\n1;A\n")
    with pytest.raises(DaybookError, match=r"it is not utf-16, .* encoding: utf-16-le"):
        land_one(tmp_path, "stg_groups", sources=overlay)


@pytest.mark.usefixtures("warehouse")
def test_a_plain_csv_with_other_names_still_streams(tmp_path, db):
    overlay = sources(tmp_path, "stg_groups: {delimiter: ';', columns: {group_id: Nr, name: Team}}")
    write(tmp_path, "day1/groups.csv", "Nr;Team\n1;a\n")
    (plan,) = plan_day(tmp_path, parse_day("day1"), ["stg_groups"], sources=overlay)
    assert plan.files and plan.files[0].streamed == ("group_id", "name")
    land_one(tmp_path, "stg_groups", sources=overlay)
    assert [(row["group_id"], row["name"]) for row in rows(db, "stg_groups")] == [("1", "a")]


@pytest.mark.parametrize("meta", ["meta: {pii: personal}", "config: {meta: {pii: personal}}"])
def test_what_dbts_meta_says_counts_wherever_dbt_takes_it(tmp_path, meta):
    file = sources(tmp_path, f"stg_agents: {{columns: {{job_title: {{{meta}}}}}}}")
    columns = declared_tables(file)["stg_agents"].columns
    assert {column.name: column.pii for column in columns}["job_title"] == "personal"


def test_a_column_may_share_anothers_place(tmp_path):
    text = "stg_transactions: {columns: {transaction_uuid: {from: id, shared: true}}}"
    table = declared_tables(sources(tmp_path, text))["stg_transactions"]
    assert [column.places[0] for column in table.columns[:2]] == [("id",), ("id",)]


PLACES = """
stg_transactions:
  columns:
    transaction_uuid: {from: [uuid, id], shared: true}
    user_name: [login, mail]
"""
RECORDS = [
    {"id": "a", "uuid": "ua", "login": "x", "mail": "y"},
    {"id": "b", "uuid": " ", "login": "", "mail": "y"},
    {"id": "c", "transaction_uuid": "uc", "login": "\n"},
]


@pytest.mark.parametrize("form", ["json", "csv", "parquet"])
def test_of_several_places_the_first_that_has_a_value_counts(tmp_path, db, monkeypatch, form):
    monkeypatch.setenv("DAYBOOK_SOURCES", str(sources(tmp_path, PLACES)))
    (tmp_path / "day1").mkdir()
    target, frame = tmp_path / f"day1/transactions.{form}", pandas.DataFrame(RECORDS)
    if form == "json":
        target.write_text("\n".join(map(json.dumps, RECORDS)))
    else:
        frame.to_csv(target, index=False) if form == "csv" else frame.to_parquet(target)
    land_one(tmp_path, "stg_transactions")
    found = rows(db, "stg_transactions")
    assert [row["transaction_uuid"] for row in found] == ["ua", "b", "c"]
    assert [(row["user_name"] or "").strip() for row in found] == ["x", "y", ""]
    extras = [row["_extra"] for row in found]
    assert extras == [{"mail": "y"}, None, {"transaction_uuid": "uc"}]


@pytest.mark.parametrize("form", ["json", "csv", "parquet", "xlsx"])
def test_a_comma_for_a_point_is_for_text_alone(tmp_path, db, monkeypatch, form):
    monkeypatch.setenv("DAYBOOK_SOURCES", str(sources(tmp_path, "stg_budgets: {decimal: ','}")))
    (tmp_path / "day1").mkdir()
    target = tmp_path / f"day1/budgets.{form}"
    values = ["1.085", "12,5"] if form == "csv" else [1.085, "12,5"]
    records = [{"budget_id": "1", "name": "x", "limit_amount": value} for value in values]
    if form == "json":
        target.write_text(json.dumps(records))
    elif form == "csv":
        pandas.DataFrame(records).to_csv(target, index=False)
    elif form == "xlsx":
        pandas.DataFrame(records).to_excel(target, index=False)
    else:
        pandas.DataFrame(records[:1]).to_parquet(target)
    land_one(tmp_path, "stg_budgets")
    landed = [row["limit_amount"] for row in rows(db, "stg_budgets")]
    assert landed == (["1085", "12.5"] if form == "csv" else ["1.085", "12.5"])[: len(landed)]


def test_null_for_a_value_is_none(tmp_path, db, monkeypatch):
    text = "stg_budgets: {columns: {description: {values: {N/A: null, '-': ~}}}}"
    monkeypatch.setenv("DAYBOOK_SOURCES", str(sources(tmp_path, text)))
    write(tmp_path, "day1/budgets.csv", "budget_id,name,description\n1,a,N/A\n2,b,-\n3,c,x\n")
    land_one(tmp_path, "stg_budgets")
    assert [row["description"] or None for row in rows(db, "stg_budgets")] == [None, None, "x"]


MEMBERS = [{"user": "u1", "status": "ACTIVE"}, {"user": "u2", "status": "ACTIVE"}]


@pytest.mark.parametrize("form", ["json", "csv", "parquet", "xlsx"])
def test_a_file_of_each_group_says_by_its_name_which_one(tmp_path, db, monkeypatch, form):
    columns = "{group_id: {file_name: true, values: {g3: three}}, agent_id: user}"
    text = f"stg_group_memberships: {{found_under: members, columns: {columns}}}"
    monkeypatch.setenv("DAYBOOK_SOURCES", str(sources(tmp_path, text)))
    write(tmp_path, "day1/members/g1.1.csv", "user\nu1\n")
    write(tmp_path, "day1/members/g1.2.csv", "user,group_id\nu2,\nu2,g9\n")
    write(tmp_path, "day1/members/eng@x.com.csv.gz", "user\nu1\n")
    write(tmp_path, "day1/members/_SUCCESS", "")
    target, frame = tmp_path / f"day1/members/g3.{form}", pandas.DataFrame(MEMBERS)
    if form == "json":
        target.write_text(json.dumps(MEMBERS))
    elif form == "csv":
        frame.to_csv(target, index=False)
    else:
        (frame.to_excel if form == "xlsx" else frame.to_parquet)(target, index=False)
    land_one(tmp_path, "stg_group_memberships")
    pairs = [(row["group_id"], row["agent_id"]) for row in rows(db, "stg_group_memberships")]
    expected = [("g1", "u1"), ("g1", "u2"), ("g9", "u2"), ("three", "u1"), ("three", "u2")]
    assert sorted(pairs) == [("eng@x.com", "u1"), *expected]


def test_a_page_with_no_part_of_the_key_but_its_name_is_refused(tmp_path, db, monkeypatch):
    text = "stg_group_memberships: {columns: {group_id: {file_name: true}, agent_id: id}}"
    monkeypatch.setenv("DAYBOOK_SOURCES", str(sources(tmp_path, text)))
    write(tmp_path, "day1/group_memberships/g1.json", [{"id": "u1"}])
    write(tmp_path, "day1/group_memberships/g2.json", '{"message": "slow down"}')
    error = land_one(tmp_path, "stg_group_memberships").error
    assert "g2.json: none of its records has the key id (agent_id); it is an error" in error
    write(tmp_path, "day1/group_memberships/g2.json", '{"id": "req-1", "message": "slow down"}')
    assert "g2.json: it is an error message" in land_one(tmp_path, "stg_group_memberships").error
