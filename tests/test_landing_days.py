"""Landing a day again, after others, and with tables missing or failing."""

from __future__ import annotations

from typing import Any

import pytest

from loaders.days import parse_day
from loaders.errors import DaybookError, UsageError
from loaders.partition import SWITCHES_OFF
from loaders.preview import preview_day
from loaders.sources import declared_tables
from tests.raw_days import (
    HEADER,
    TENS,
    batches,
    land,
    land_one,
    rows,
    statuses,
    transactions,
    write,
    write_day,
)
from tests.watching import tuples

pytestmark = pytest.mark.usefixtures("warehouse")


def test_same_files_twice_write_nothing(tmp_path, db):
    transactions(tmp_path, HEADER + TENS)
    first = land_one(tmp_path)
    again = land_one(tmp_path)
    assert (again.status, again.rows_in_files, again.rows_landed) == ("unchanged", 10, None)
    assert {row["_batch_id"] for row in rows(db)} == {first.batch_id}
    assert [b["rows_landed"] for b in batches(db)] == [10, None]
    forced = land_one(tmp_path, force=True)
    assert forced.status == "succeeded"
    assert {row["_batch_id"] for row in rows(db)} == {forced.batch_id}
    (tmp_path / "day1/transactions.csv").rename(tmp_path / "day1/transactions.CSV.csv")
    assert land_one(tmp_path, force=True).status == "succeeded"


def test_other_content_replaces_the_day_alone(tmp_path, db):
    write(tmp_path, "day1/transactions.csv", HEADER + TENS)
    write(tmp_path, "day2/transactions.csv", HEADER + "u,1,EUR,x\n")
    land_one(tmp_path)
    land_one(tmp_path, day="day2")
    write(tmp_path, "day1/transactions.csv", HEADER + "v,1,EUR,x\n")
    land_one(tmp_path)
    assert [row["transaction_id"] for row in rows(db)] == ["v", "u"]
    partitions = "select relname from pg_class where relname like 'stg_transactions_p%' order by 1"
    names = ["stg_transactions_p19700102", "stg_transactions_p19700103"]
    assert tuples(db, partitions) == [(name,) for name in names]


def test_a_shrunken_snapshot_is_refused(tmp_path, db):
    agents = [{"id": n} for n in range(30)]
    for day, count in (("day1", 30), ("day3", 14), ("day4", 15)):
        write_day(tmp_path, day, **{"agents.json": agents[:count]})
    land(tmp_path)
    with pytest.raises(DaybookError, match="14 rows are less than half of the 30 of day1"):
        land_one(tmp_path, "stg_agents", day="day3")
    assert len(rows(db, "stg_agents")) == 30
    assert land_one(tmp_path, "stg_agents", day="day4").status == "succeeded"
    allowed = land_one(tmp_path, "stg_agents", day="day3", allow_shrink=True)
    assert allowed.rows_landed == 14


@pytest.mark.parametrize(
    ("table", "on", "off", "by"),
    [
        ("agents", {"deactivated": False}, {"deactivated": True}, "contact_active, deactivated"),
        ("agents", {"contact": {"active": True}}, {"contact": {"active": False}}, "deactivated"),
        ("agent_details", {"deactivated": False}, {"deactivated": "TRUE"}, "deactivated"),
        ("groups", {"agent_ids": [1]}, {"agent_ids": []}, "agent_ids"),
        ("agent_details", {"role_ids": ["r"]}, {"role_ids": []}, "role_ids"),
    ],
)
def test_a_snapshot_that_switches_off_more_than_half_is_refused(tmp_path, db, table, on, off, by):
    for day, many in (("day1", 2), ("day2", 16), ("day3", 17), ("day4", 30), ("day5", 30)):
        records = [{"id": n} | (off if n < many else on) for n in range(30)]
        write(tmp_path, f"{day}/{table}.json", records)
    landed = f"stg_{table}"
    assert land_one(tmp_path, landed).status == "succeeded"
    for day, gone in (("day3", 15), ("day4", 28)):
        refusal = rf"the 28 .* in day1 .* on {28 - gone} .*{by}\)\..* land it with --allow-shrink"
        with pytest.raises(DaybookError, match=refusal):
            if error := land_one(tmp_path, landed, day=day).error:
                raise DaybookError(error)  # of an optional table
    assert {str(row["_day"]) for row in rows(db, landed)} == {"1970-01-02"}
    assert land_one(tmp_path, landed, day="day2").status == "succeeded"  # half of them stay
    assert land_one(tmp_path, landed, day="day4", allow_shrink=True).rows_landed == 30
    assert land_one(tmp_path, landed, day="day5").status == "succeeded"  # they were off before


def test_the_first_details_switch_off_no_more_than_half_of_who_was_on_the_list(tmp_path):
    for day in ("day1", "day2", "day3"):
        write_day(tmp_path, day, **{"agents.json": [{"id": n} for n in range(30)]})
    details = [{"id": f"{n}.0", "deactivated": n < 16} for n in range(20)]
    write(tmp_path, "day2/agent_details.json", details)
    write(tmp_path, "day3/agent_details.json", details[1:])  # it leaves half of them on
    land(tmp_path)
    refused = land(tmp_path, "day2")["stg_agent_details"]
    assert "of the 30 that are on in stg_agents of day1 it would leave on 14" in str(refused.error)
    [previewed] = [one for one in preview_day(str(tmp_path), parse_day("day2")) if one.error]
    assert str(previewed.error) in str(refused.error)
    assert land(tmp_path, "day3")["stg_agent_details"].status == "succeeded"
    # a day of few details does not say who was on, and for the first day its own list does
    write(tmp_path, "day1/agent_details.json", details)
    refused = land(tmp_path)["stg_agent_details"]
    assert "of the 30 that are on in stg_agents of day1 it would leave on 14" in str(refused.error)
    write(tmp_path, "day1/agent_details.json", details[:5])
    assert land(tmp_path)["stg_agent_details"].status == "succeeded"
    refused = land(tmp_path, "day2")["stg_agent_details"]
    assert "of the 30 that are on in stg_agents of day1 it would leave on 14" in str(refused.error)


def test_lists_that_have_nothing_of_what_they_had_are_refused(tmp_path):
    # no list says nothing of it
    lists = ([2, " 7"], ["2.0"], None, [2], ["another system's"])
    for day, ids in zip("12345", lists, strict=True):
        listed = {"agent_ids": ids} if ids else {}
        groups = [{"id": n, "name": "{x} 100%"} | listed for n in range(30)]
        write(tmp_path, f"day{day}/groups.json", groups)
        if day != "5":
            assert land_one(tmp_path, "stg_groups", day=f"day{day}").status == "succeeded"
    with pytest.raises(DaybookError, match="of the 30 that are on in day4 it would leave on 0"):
        land_one(tmp_path, "stg_groups", day="day5")
    write(tmp_path, "odd.yml", "stg_groups: {columns: {name: {switches_off: '{x} 100%'}}}")
    with pytest.raises(DaybookError, match="it would leave on 0"):
        land_one(tmp_path, "stg_groups", day="day5", sources=tmp_path / "odd.yml")


def test_what_switches_off_is_found_where_a_capital_i_has_no_dot(db):
    """With a Turkish database's lower() as a function, since few machines have the locale."""
    body = "select lower(translate($1, 'Iİ', 'ıi'))"
    db.execute(f"create function pg_temp.lower(text) returns text language sql as $${body}$$")
    is_off = SWITCHES_OFF.replace("lower(", "pg_temp.lower(")
    for value, expected in ((" INACTIVE\n", True), ("İNACTİVE", True), ("on", False)):
        assert tuples(db, "select " + is_off.format(f"'{value}'", "'inactive'")) == [(expected,)]


@pytest.mark.parametrize("empty", ["[]", '{"results": []}'])
def test_one_flag_lands_an_empty_list(tmp_path, empty):
    agents = [{"id": n} for n in range(30)]
    write_day(tmp_path, "day1", **{"agents.json": agents})
    land(tmp_path)
    write(tmp_path, "day2/agents.json", empty)
    assert land_one(tmp_path, "stg_agents", day="day2", allow_empty=True).rows_landed == 0


def test_a_list_whose_records_were_all_rejected_is_not_empty(tmp_path):
    lines = [f"{n},a@example.com,Ada" for n in range(30)]
    header = "agent_id,email,name\n"
    write(tmp_path, "day1/agents.csv", header + "\n".join(lines) + "\n")
    land_one(tmp_path, "stg_agents")
    write(tmp_path, "day2/agents.csv", header + "1,2,3,4\n5,6,7,8\n")
    write(tmp_path, "over.yml", "stg_agents: {max_reject_share: 1}")
    options = {"allow_empty": True, "sources": tmp_path / "over.yml"}
    with pytest.raises(DaybookError, match="less than half of the 30 of day1"):
        land_one(tmp_path, "stg_agents", day="day2", **options)


def test_as_large_a_share_of_rejects_as_is_allowed_lands(tmp_path):
    lines = [f"t{n},{'x' if n < 71 else 'x,y'}\n" for n in range(100)]
    write(tmp_path, "day1/transactions.csv", "transaction_id,user_name\n" + "".join(lines))
    write(tmp_path, "over.yml", "stg_transactions: {max_reject_share: 0.29}")
    assert land_one(tmp_path, sources=tmp_path / "over.yml").rows_rejected == 29


def test_missing_required_table_stops_the_day_before_any_write(tmp_path, db):
    folder = write_day(tmp_path)
    (folder / "groups.json").unlink()
    (folder / "agents.json").write_text("[]")
    with pytest.raises(DaybookError) as raised:
        land(tmp_path)
    groups = "groups.<ext> or groups/ or admin_groups.<ext> or admin_groups/"
    assert all(text in str(raised.value) for text in (groups, str(folder), "stg_agents"))
    assert statuses(db) == []
    assert land_one(tmp_path).status == "succeeded"  # only the named table is required


def test_missing_optional_table_is_skipped(tmp_path, db):
    folder = write_day(tmp_path, **{"roles.json": [{"id": 1, "name": "r"}]})
    assert land(tmp_path)["stg_roles"].status == "succeeded"
    assert land(tmp_path)["stg_cards"].status == "skipped"
    (folder / "roles.json").unlink()
    skipped = land(tmp_path)["stg_roles"]
    assert (skipped.status, skipped.rows_landed) == ("skipped", 0)
    assert rows(db, "stg_roles") == []
    assert land(tmp_path)["stg_roles"].rows_landed is None
    write(folder, "roles.json", [{"id": 1, "name": "r"}])
    assert land(tmp_path)["stg_roles"].status == "succeeded"


def test_a_failing_optional_table_is_a_warning(tmp_path, db):
    write_day(tmp_path, **{"roles.csv": "name\nx\n", "cards.parquet": b"not parquet"})
    landed = land(tmp_path)
    assert landed["stg_roles"].status == landed["stg_cards"].status == "failed"
    assert "key column role_id" in str(landed["stg_roles"].error)
    assert "not readable as Parquet" in str(landed["stg_cards"].error)
    assert landed["stg_agents"].status == "succeeded"
    assert [b["status"] for b in batches(db, "stg_cards")] == ["failed"]


def test_one_warehouse_holds_one_calendar(tmp_path):
    write_day(tmp_path)
    write_day(tmp_path, "2026-01-05")
    land(tmp_path)
    with pytest.raises(DaybookError, match="never both calendars"):
        land(tmp_path, "2026-01-05")


def test_a_table_that_is_not_declared_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="stg_nope"):
        land_one(tmp_path, "stg_nope")


def test_declared_tables_all_land(tmp_path, db):
    for table in declared_tables().values():
        record: dict[str, Any] = {}
        for number, column in enumerate(table.columns):
            node = record
            for name in column.places[0][:-1]:
                node = node.setdefault(name, {})
            node[column.places[0][-1]] = number
        write(tmp_path, f"day1/{table.found_under[0]}.json", [record])
    for name, landed in land(tmp_path).items():
        assert (landed.status, landed.drift) == ("succeeded", None), name
        (row,) = rows(db, name)
        columns = declared_tables()[name].column_names
        assert [row[column] for column in columns] == [str(n) for n in range(len(columns))]
