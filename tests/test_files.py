"""Which files are a day's, and which names, links and kinds are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loaders.days import parse_day
from loaders.errors import DaybookError
from loaders.files import day_folder, entity_files
from loaders.plan import plan_tables
from loaders.raw_file import check_unchanged, opened
from loaders.sources import declared_tables
from tests.raw_days import write

DAY = parse_day("day1")
GROUPS = declared_tables()["stg_groups"]


def paths(root: Path) -> list[str] | None:
    files = entity_files(day_folder(root, DAY), GROUPS)
    return None if files is None else [file.path for file in files]


def test_a_day_is_found_under_both_names_but_not_twice(tmp_path):
    (tmp_path / "day1").mkdir()
    assert day_folder(tmp_path, DAY) == tmp_path / "day1"
    (tmp_path / "sync-day1").mkdir()
    with pytest.raises(DaybookError, match="both hold day1"):
        day_folder(tmp_path, DAY)
    (tmp_path / "day1").rmdir()
    assert day_folder(tmp_path, DAY) == tmp_path / "sync-day1"


def test_a_missing_day_names_the_days_there(tmp_path):
    for name in ("sync-day10", "day2", "notes"):
        (tmp_path / name).mkdir()
    with pytest.raises(DaybookError, match="days there: day2, day10"):
        day_folder(tmp_path, DAY)
    with pytest.raises(DaybookError, match="no such data folder"):
        day_folder(tmp_path / "nowhere", DAY)


def test_files_come_in_the_order_of_their_bytes(tmp_path):
    for name in ("2.json", "10.json", "a.JSON.json", "B.csv", "é.ndjson", "z.jsonl.gz", "1.csv.gz"):
        write(tmp_path, f"day1/groups/{name}", "")
    for name in ("_SUCCESS", ".crc", "_log.txt"):
        write(tmp_path, f"day1/groups/{name}", "")
    found = ["1.csv.gz", "10.json", "2.json", "B.csv", "a.JSON.json", "z.jsonl.gz", "é.ndjson"]
    assert paths(tmp_path) == [f"groups/{name}" for name in found]


def test_an_entity_is_found_under_any_of_its_names(tmp_path):
    write(tmp_path, "day1/groups_old.json", "")
    assert paths(tmp_path) is None
    write(tmp_path, "day1/admin_groups.ndjson.gz", "")
    assert paths(tmp_path) == ["admin_groups.ndjson.gz"]


def test_without_a_required_file_those_that_are_there_are_named(tmp_path):
    for name in ("groups.csv", "Agents.csv", "Thumbs.db"):
        write(tmp_path, f"day1/{name}", "")
    message = r"no agents\.<ext> or agents/; there: Agents\.csv, groups\.csv\."
    with pytest.raises(DaybookError, match=message):
        plan_tables(tmp_path / "day1", [declared_tables()["stg_agents"]], parse_day("day1"))
    write(tmp_path, "day1/stg_agents/0.csv.zst", "")
    with pytest.raises(DaybookError, match="by Spark that was ended leaves such a folder"):
        plan_tables(tmp_path / "day1", [declared_tables()["stg_agents"]], parse_day("day1"))
    write(tmp_path, "day1/stg_roles/0.csv.zst", "")
    (plan,) = plan_tables(tmp_path / "day1", [declared_tables()["stg_roles"]], parse_day("day1"))
    assert "If it is raw data, call it roles" in str(plan.error)


UNCLEAR = [
    (["groups.json", "admin_groups.json"], "admin_groups.json and groups.json are both"),
    (["groups.json", "groups/1.json"], "are both stg_groups"),
    (["groups.json", "groups.csv"], "groups.csv and groups.json are both"),
    (["groups.docx"], "this kind of file can't be read"),
    (["groups/1.txt"], "this kind of file can't be read"),
    (["groups/more/1.json"], "a file is expected here"),
    (["groups.json/1.json"], "a file is expected here"),
    (["groups/part-0.snappy.parquet"], "no _SUCCESS"),
    (["groups/p.parquet", "groups/_SUCCESS", "groups/_temporary/x"], "_temporary"),
]


@pytest.mark.parametrize(("files", "message"), UNCLEAR)
def test_what_is_not_clear_is_refused(tmp_path, files, message):
    for name in files:
        write(tmp_path, f"day1/{name}", "")
    with pytest.raises(DaybookError, match=message):
        paths(tmp_path)


@pytest.mark.parametrize("name", ["groups.parquet", "groups"])
def test_a_finished_parquet_folder_is_one_source(tmp_path, name):
    write(tmp_path, f"day1/{name}/part-0.snappy.parquet", "")
    write(tmp_path, f"day1/{name}/_SUCCESS", "")
    assert paths(tmp_path) == [f"{name}/part-0.snappy.parquet"]


def test_links_may_not_leave_the_data(tmp_path):
    data = tmp_path / "data"
    outside = write(tmp_path, "outside.json", "")
    write(data, "elsewhere/1.json", "")
    (data / "day1").mkdir()
    (data / "day1/groups").symlink_to(data / "elsewhere")
    assert paths(data) == ["groups/1.json"]
    (data / "elsewhere/2.json").symlink_to(outside)
    with pytest.raises(DaybookError, match="leaves the data folder"):
        paths(data)
    (data / "day1/groups").unlink()
    (data / "day1/groups.json").symlink_to(outside)
    with pytest.raises(DaybookError, match="leaves the data folder"):
        paths(data)
    (data / "day1/groups.json").unlink()
    (data / "day1/groups.json").symlink_to(data / "nowhere.json")
    with pytest.raises(DaybookError, match=r"nowhere\.json: it is no longer there"):
        paths(data)


def test_a_pipe_is_not_a_file(tmp_path):
    (tmp_path / "day1").mkdir()
    os.mkfifo(tmp_path / "day1/groups.json")
    with pytest.raises(DaybookError, match="not a regular file"):
        paths(tmp_path)


def test_errors_name_the_file(tmp_path):
    location = write(tmp_path, "day1/groups.json.gz", "x")
    (file,) = entity_files(day_folder(tmp_path, DAY), GROUPS) or []
    check_unchanged(file)
    location.write_bytes(b"no gzip")
    with pytest.raises(DaybookError, match=r"groups\.json\.gz: the gzip is cut or broken"):  # noqa: SIM117
        with opened(file) as stream:
            stream.read()
    with pytest.raises(DaybookError, match="it changed while it was read"):
        check_unchanged(file)
    location.unlink()
    with pytest.raises(DaybookError, match="no longer there"), opened(file):
        pass
