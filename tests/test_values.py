"""What the declaration's words for a column do to a value, in every format."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pandas
import pytest

from loaders.days import parse_day
from loaders.errors import UsageError
from loaders.landing import plan_day
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Digits
from loaders.sources import declared_tables
from tests.raw_days import land_one, rows, write
from tests.test_declaration import sources


@pytest.mark.parametrize(
    ("theirs", "minor"),
    [
        ("12.5", "1250"),
        ("12", "1200"),
        ("-0.07", "-7"),
        ("0", "0"),
        (" 12.50 ", "1250"),
        ("12.5000", "1250"),
        ("1.005", "100.5"),
        ("123456789012345678901234567890.12", "12345678901234567890123456789012"),
        ("1.25e1", "1.25e3"),
        ("12,50", "12,50"),
        ("NaN", "NaN"),
        (None, None),
    ],
)
def test_amounts_in_major_units_land_in_minor_ones_exactly(tmp_path, theirs, minor):
    assert treated(tmp_path, "stg_transactions", "amount_minor", "scale: 2", theirs) == minor


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("-12.5", "1250"),
        ("12.5", "-1250"),
        ("+7", "-700"),
        ("-1.25e1", "1.25e3"),
        ("(1,234.50)", "123450"),
        ("-", "-"),
        ("--5", "--5"),
        ("NaN", "NaN"),
        (None, None),
    ],
)
def test_a_charge_that_is_below_zero_there_is_above_it_here(tmp_path, theirs, ours):
    overlay = "stg_transactions: {decimal: '.', columns: {amount_minor: {scale: 2, negate: true}}}"
    mapping = Mapping(declared_tables(sources(tmp_path, overlay))["stg_transactions"])
    row = mapping.header(["id", "amount_minor"]).row(1, ["1", theirs])
    assert row.values[mapping.names.index("amount_minor")] == ours


@pytest.mark.parametrize(
    ("decimal", "theirs", "ours"),
    [
        (",", "1.234,50", "1234.50"),
        (",", "-1\u202f234,50 €", "-1234.50"),
        (",", "1'234'567", "1234567"),
        (",", "1,234.50", "1,234.50"),
        (".", "$1,234.50", "1234.50"),
        (".", "-12.5", "-12.5"),
        (".", "1,234,567", "1234567"),
        (".", "1.234,567.8", "1.234,567.8"),
        (".", "12.50 USD", "12.50 USD"),
        (".", "($1,234.50)", "-1234.50"),
        (".", " $ (1,234.50) ", "-1234.50"),
        (".", "$-12.50", "-12.50"),
        (".", "$$12.50", "$$12.50"),
        (",", "12,50-", "-12.50"),
        (",", "\u221212,50 €", "-12.50"),
        (",", "(12,50", "(12,50"),
        (",", "-12,50-", "-12,50-"),
        (",", "12,50 H", "12,50 H"),
    ],
)
def test_numbers_are_read_as_people_write_them(tmp_path, decimal, theirs, ours):
    overlay = sources(tmp_path, f"stg_budgets: {{decimal: '{decimal}'}}")
    mapping = Mapping(declared_tables(overlay)["stg_budgets"])
    row = mapping.header(["id", "limit_amount"]).row(1, ["1", theirs])
    assert row.values[mapping.names.index("limit_amount")] == ours


def test_a_number_is_looked_for_in_time_linear_in_its_blanks(tmp_path):
    for text in (" " * 20_000 + "x", "$" + " " * 20_000, "1" + " " * 20_000 + "x"):
        overlay = sources(tmp_path, "stg_budgets: {decimal: ','}")
        mapping = Mapping(declared_tables(overlay)["stg_budgets"])
        row = mapping.header(["id", "limit_amount"]).row(1, ["1", text])
        assert row.values[mapping.names.index("limit_amount")] == text


@pytest.mark.parametrize(
    ("form", "theirs", "ours"),
    [
        ("%s", "1767340800", "2026-01-02T08:00:00+00:00"),
        ("%s", "1767340800.25", "2026-01-02T08:00:00.250000+00:00"),
        ("%Q", "1767340800123", "2026-01-02T08:00:00.123000+00:00"),
        ("%s", "1767340800123", "1767340800123"),
        ("%s", "nan", "nan"),
    ],
)
def test_seconds_from_1970_land_as_a_time(tmp_path, form, theirs, ours):
    assert treated(tmp_path, "stg_agents", "updated_at", f"format: '{form}'", theirs) == ours


def treated(tmp_path: Path, table: str, column: str, words: str, text: str | None) -> str | None:
    overlay = sources(tmp_path, f"{table}: {{columns: {{{column}: {{{words}}}}}}}")
    mapping = Mapping(declared_tables(overlay)[table])
    return mapping.header(["id", column]).row(1, ["1", text]).values[mapping.names.index(column)]


@pytest.mark.parametrize(
    ("separator", "theirs", "ours"),
    [
        (";", "09001; 9002", ["09001", "9002"]),
        ("semicolon", ";9001;; \t;9002;", ["9001", "9002"]),
        ("','", "9001,9002", ["9001", "9002"]),
        ("comma", "9001", ["9001"]),
        (r"\n", "9001\r\n9002\n", ["9001", "9002"]),
        ("' | '", "| a|b | c |", ["a|b", "c"]),
        (";", Digits("9001"), ["9001"]),
        (";", Digits("NaN"), None),  # pandas writes it where a number is missing
        (";", '5" desk;back\\slash;ä', ['5" desk', "back\\slash", "ä"]),
        (";", "{3F25};{44AA}", ["{3F25}", "{44AA}"]),
        (";", '["a;b", 7]', ["a;b", 7]),
        (";", " []", []),
        (";", '{"a": "b;c"}', {"a": "b;c"}),
        (";", None, None),
        (";", "  ", None),
        (";", "; ;", None),
    ],
)
def test_a_list_in_one_cell_lands_as_json(tmp_path, separator, theirs, ours):
    landed = treated(tmp_path, "stg_groups", "agent_ids", f"separator: {separator}", theirs)
    assert (landed if landed is None else json.loads(landed)) == ours


def test_text_that_only_looks_like_json_is_left_to_typing(tmp_path):
    for text in ("['9001', '9002']", "[9001; 9002]"):
        assert treated(tmp_path, "stg_groups", "agent_ids", "separator: ','", text) == text


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("PAYMENT", "DECLINE"),
        ("FIGMA", "CLEARING"),
        (" ", " "),
        (None, None),
        (Digits("NaN"), "NaN"),
    ],
)
def test_a_star_is_each_value_that_is_not_listed(tmp_path, theirs, ours):
    words = "values: {PAYMENT: DECLINE, '*': CLEARING}"
    assert treated(tmp_path, "stg_transactions", "transaction_type", words, theirs) == ours


def test_values_default_and_join_apply_to_lists_too(tmp_path):
    words = "separator: ;, values: {nobody: '[]', '-': null}, default: '[]'"
    for theirs, ours in [("nobody", "[]"), ("-", "[]"), (" ", "[]"), (";", "[]"), ("7", '["7"]')]:
        assert treated(tmp_path, "stg_groups", "agent_ids", words, theirs) == ours
    words = "from: [Owners, Members], join: true, separator: ;"
    overlay = sources(tmp_path, f"stg_groups: {{columns: {{agent_ids: {{{words}}}}}}}")
    mapping = Mapping(declared_tables(overlay)["stg_groups"])
    header, place = mapping.header(["id", "Owners", "Members"]), mapping.names.index("agent_ids")
    assert header.row(1, ["g", "1; 2", "3;"]).values[place] == '["1","2","3"]'
    assert header.row(1, ["g", "", "3"]).values[place] == '["3"]'


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("2026-01-05 09:00", "2026-01-05T09:00:00+01:00"),
        (" 2026-07-05T09:00:00.1234567\n", "2026-07-05T09:00:00.123456+02:00"),
        ("2026-07-05t09:00:00", "2026-07-05T09:00:00+02:00"),
        ("2026-10-25 02:30", "2026-10-25T02:30:00+02:00"),  # twice: the first
        ("2026-03-29 02:30", "2026-03-29T02:30:00+01:00"),  # never: as if the clock had gone on
        ("1890-01-01 00:00", "1889-12-31T23:06:32+00:00"),  # an offset with seconds
        ("31.12.2026 23:30", "2026-12-31T23:30:00+01:00"),
        ("2026-07-05T09:00:00Z", "2026-07-05T09:00:00Z"),
        ("2026-07-05 09:00 UTC", "2026-07-05 09:00 UTC"),
        ("2026-07-05T09:00-0500", "2026-07-05T09:00-0500"),
        ("2026-07-05", "2026-07-05"),
        ("0001-01-01T00:00:00", "0001-01-01T00:00:00"),
        ("2026-02-30 09:00", "2026-02-30 09:00"),
        (Digits("1710120800123"), "1710120800123"),
        ("soon", "soon"),
        (None, None),
    ],
)
def test_a_local_time_lands_with_its_offset(tmp_path, theirs, ours):
    words = "timezone: Europe/Berlin, format: '%d.%m.%Y %H:%M'"
    assert treated(tmp_path, "stg_agents", "created_at", words, theirs) == ours


def test_seconds_from_1970_and_times_with_an_offset_ignore_the_zone(tmp_path):
    words = "timezone: America/New_York, format: ['%s', '%d.%m.%Y %H:%M %z']"
    for theirs, ours in [
        ("1767340800", "2026-01-02T08:00:00+00:00"),
        ("02.01.2026 08:00 +0300", "2026-01-02T08:00:00+03:00"),
        ("9999-12-31 23:59:59", "9999-12-31 23:59:59"),  # its offset would lead out of the years
    ]:
        assert treated(tmp_path, "stg_agents", "created_at", words, theirs) == ours


def test_a_machine_without_time_zones_gets_a_clear_message(tmp_path, monkeypatch):
    monkeypatch.setattr("loaders.words.known_zones", set)
    with pytest.raises(UsageError, match=r"one of the 0 names.*this system or tzdata has"):
        treated(tmp_path, "stg_agents", "created_at", "timezone: Europe/Berlin", None)


LISTS_AND_TIMES = """
stg_groups:
  columns:
    agent_ids: {from: members, separator: ";"}
    updated_at: {from: changed, timezone: Europe/Berlin}
"""
LOCAL = datetime(2026, 7, 5, 9, 0, 0, 250000)


@pytest.mark.usefixtures("warehouse")
@pytest.mark.parametrize("form", ["json", "lines", "csv", "parquet", "zoned", "xlsx"])
def test_lists_and_local_times_are_the_same_in_every_format(tmp_path, db, form):
    overlay = sources(tmp_path, LISTS_AND_TIMES)
    (tmp_path / "day1").mkdir()
    records = [
        {"group_id": "1", "members": '07; "8"', "changed": str(LOCAL)},
        {"group_id": "2", "members": '["a;b"]', "changed": None},
        {"group_id": "3", "members": None, "changed": "2026-07-05 09:00:00.25"},
    ]
    frame = pandas.DataFrame(records)
    local = pandas.to_datetime(frame["changed"].astype(object), format="ISO8601")
    if form in ("json", "lines"):
        if form == "json":  # a list, and an escape
            records[1]["members"] = ["a;b"]
        texts = list(map(json.dumps, records))
        content = f"[{','.join(texts)}]" if form == "json" else "\n".join(texts)
        write(tmp_path, "day1/groups.json", content)
    elif form == "csv":
        frame.to_csv(tmp_path / "day1/groups.csv", index=False)
    elif form == "xlsx":
        frame.assign(changed=local).to_excel(tmp_path / "day1/groups.xlsx", index=False)
    else:
        zoned = local.dt.tz_localize("America/New_York") if form == "zoned" else local
        frame.assign(changed=zoned).to_parquet(tmp_path / "day1/groups.parquet")
    (plan,) = plan_day(tmp_path, parse_day("day1"), ["stg_groups"], sources=overlay)
    assert plan.files and plan.files[0].streamed is None
    land_one(tmp_path, "stg_groups", sources=overlay)
    found = rows(db, "stg_groups")
    lists = [one["agent_ids"] and json.loads(one["agent_ids"]) for one in found]
    assert lists == [["07", '"8"'], ["a;b"], None]
    moment = "2026-07-05T13:00:00.25Z" if form == "zoned" else "2026-07-05T09:00:00.250000+02:00"
    assert [one["updated_at"] for one in found] == [moment, None, moment]
    assert land_one(tmp_path, "stg_groups", sources=overlay).status == "unchanged"
    for other in (("Berlin", "London"), ('";"', '","')):
        changed = sources(tmp_path, LISTS_AND_TIMES.replace(*other))
        assert land_one(tmp_path, "stg_groups", sources=changed).status == "succeeded"
