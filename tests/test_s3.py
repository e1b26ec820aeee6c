"""A day in S3 lands as from disk, and faults there have clear messages."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pyarrow
import pytest
from pyarrow import parquet

from loaders import s3
from loaders.__main__ import main
from loaders.days import parse_day
from loaders.errors import DaybookError, UsageError
from loaders.files import day_folder, entity_files
from loaders.landing import land_day, land_table, plan_day
from loaders.raw_file import check_unchanged, opened, sha256
from loaders.sources import declared_tables
from tests.raw_days import HEADER, SAMPLE, TENS, statuses, write_day
from tests.s3_server import PAGE, Door, client, reset, s3_server, upload
from tests.test_files import UNCLEAR
from tests.watching import column, value

DAY = parse_day("day1")
GROUPS = declared_tables()["stg_groups"]
DATA = "s3://raw/exports"


@pytest.fixture(scope="module")
def _door() -> Iterator[Door]:
    with s3_server() as door:
        yield door


@pytest.fixture
def door(_door, monkeypatch) -> Door:
    reset(_door)
    s3.filesystem.cache_clear()
    settings = {"ENDPOINT_URL_S3": _door.url, "EC2_METADATA_DISABLED": "true"}
    settings |= {"REGION": "us-east-1", "ACCESS_KEY_ID": "key-of-a-test"}
    for name, text in (settings | {"SECRET_ACCESS_KEY": "secret-of-a-test"}).items():
        monkeypatch.setenv(f"AWS_{name}", text)
    return _door


def put(door: Door, **contents: str) -> None:
    bucket = client(door)
    bucket.create_bucket(Bucket="raw")

    def one(item: tuple[str, str]) -> None:
        bucket.put_object(Bucket="raw", Key=f"exports/{item[0]}", Body=item[1].encode())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, contents.items()))


def paths() -> list[str] | None:
    files = entity_files(day_folder(DATA, DAY), GROUPS)
    return None if files is None else [file.path for file in files]


@pytest.mark.usefixtures("warehouse")
def test_a_day_lands_from_s3_as_from_disk(door, db):

    upload(door, SAMPLE / "day2", "raw/exports/day2")  # has every table
    day = parse_day("day2")
    assert {one.status for one in land_day(SAMPLE, day)} == {"succeeded"}
    assert {one.status for one in land_day(DATA, day)} == {"unchanged"}
    before = _everything(db)
    land_day(DATA, day, force=True)
    assert _everything(db) == before


def _everything(db: psycopg.Connection) -> dict[str, list[Any]]:
    """The landed rows of each table, none of which is empty."""
    query = "select to_jsonb(t) - '_batch_id' - '_loaded_at' from bronze.{} t order by 1"
    found = {table: column(db, query.format(table)) for table in declared_tables()}
    assert all(found.values())
    return found


def test_more_keys_than_one_answer_holds_are_all_there(door):
    put(door, **{f"day1/groups/{n}.json": f'{{"id": {n}}}' for n in range(2 * PAGE + 3)})
    assert len(paths() or []) == 2 * PAGE + 3
    lists = [path for method, path in door.seen if method == "GET" and "list-type" in path]
    assert any("continuation-token" in path for path in lists)


def test_names_of_every_kind(door):
    names = ["a b.json", "a+b.json", "a%20b.json", "grün-é.json", "x=1&y=2.json", "q?#.json"]
    put(
        door,
        **{f"day1/groups/{name}": json.dumps({"id": 1, "name": name}) for name in names},
        **{f"day1/groups/{name}": "hidden" for name in ("_SUCCESS", "_log.json", ".x.json")},
    )
    expected = sorted((f"groups/{name}" for name in names), key=str.encode)
    assert paths() == expected
    for file in entity_files(day_folder(DATA, DAY), GROUPS) or []:
        with opened(file) as stream:
            assert json.loads(stream.read())["name"] == file.path.removeprefix("groups/")


@pytest.mark.parametrize(
    ("keys", "message"), [*UNCLEAR, (["groups", "groups/1.json"], "are both stg_groups")]
)
def test_what_is_not_clear_is_refused(door, keys, message):
    put(door, **{f"day1/{key}": "" for key in keys})
    with pytest.raises(DaybookError, match=message):
        paths()


def test_the_day_is_found_or_the_days_there_are_named(door):
    put(door, **{"sync-day1/groups.json": "[]", "day2/groups.json": "[]"})
    assert paths() == ["groups.json"]
    put(door, **{"day1/groups.json": "[]"})
    for data, day, message in (
        (DATA, "day3", "days there: day1, day2"),
        (DATA, "day1", "both hold day1"),
        ("s3://raw/elsewhere", "day1", "no such data folder"),
        ("s3://no-such-bucket/x", "day1", r"no such (data folder|bucket)"),
    ):
        with pytest.raises(DaybookError, match=message):
            day_folder(data, parse_day(day))


def test_an_address_is_checked_and_never_repeated():
    for address in ("s3://", "s3://key:secret@bucket/x", "s3://b/../x", "s3://B_/x"):
        with pytest.raises(UsageError) as refused:
            s3.place(address)
        assert "secret" not in str(refused.value)


def test_a_large_file_comes_in_pieces_and_gzip_is_opened(door, tmp_path):
    write_day(tmp_path, **{"groups.json.gz": [{"id": 1}], "roles/1.json": "[1]" * 3_000_000})
    (tmp_path / "day1/groups.json").unlink()
    upload(door, tmp_path, "raw/exports")
    (file,) = entity_files(day_folder(DATA, DAY), declared_tables()["stg_roles"]) or []
    (local,) = entity_files(day_folder(tmp_path, DAY), declared_tables()["stg_roles"]) or []
    door.seen.clear()
    assert sha256(file) == sha256(local)
    assert len([path for method, path in door.seen if method == "GET"]) >= 2
    (zipped,) = entity_files(day_folder(DATA, DAY), GROUPS) or []
    with opened(zipped) as stream:
        assert json.loads(stream.read()) == [{"id": 1}]


def test_a_throttled_server_is_asked_again(door):
    put(door, **{"day1/groups.json": '[{"id": 1}]'})
    refusals = iter([503, 503, 0, 503])
    door.before = lambda _method, _path: next(refusals, 0)
    (file,) = entity_files(day_folder(DATA, DAY), GROUPS) or []
    refusals = iter([503, 503])
    with opened(file) as stream:
        assert stream.read() == b'[{"id": 1}]'
    assert next(refusals, None) is None


def test_a_key_that_is_replaced_is_noticed(door):
    put(door, **{"day1/groups.json": '[{"id": 1}]'})
    (file,) = entity_files(day_folder(DATA, DAY), GROUPS) or []
    check_unchanged(file)
    put(door, **{"day1/groups.json": '[{"id": 2}]'})
    with pytest.raises(DaybookError, match="it changed while it was read"):
        check_unchanged(file)
    with pytest.raises(DaybookError, match="it changed while it was read"), opened(file):
        pass


@pytest.mark.usefixtures("warehouse")
@pytest.mark.parametrize("kind", ["groups.json", "groups.csv", "groups.parquet"])
def test_a_key_that_vanishes_midway_changes_nothing(door, db, tmp_path, kind):
    write_day(tmp_path, **{kind: '[{"id": 1}]' if kind.endswith("json") else "group_id\n1\n"})
    if kind.endswith("parquet"):
        parquet.write_table(pyarrow.table({"group_id": [1]}), tmp_path / "day1" / kind)
    if kind != "groups.json":
        (tmp_path / "day1/groups.json").unlink()
    upload(door, tmp_path, "raw/exports")
    land_day(DATA, DAY)
    plans = plan_day(DATA, DAY, ["stg_groups"])
    client(door).delete_object(Bucket="raw", Key=f"exports/day1/{kind}")
    with pytest.raises(DaybookError, match=rf"day1/{kind}: it is no longer there"):
        land_table(plans[0], flow_run_id="r", force=True)
    assert value(db, "select count(*) from bronze.stg_groups") == 1
    assert statuses(db)[-1] == "failed"


@pytest.mark.usefixtures("warehouse")
def test_wrong_credentials_are_refused_and_never_shown(door, capfd, monkeypatch):
    put(door, **{"day1/groups.json": "[]"})
    reset(door, checks_credentials=True)
    monkeypatch.setattr("loaders.warehouse.start", lambda: "")
    assert main(["--day", "day1", "--data", DATA]) == 1
    shown = "".join(capfd.readouterr())
    assert "the credentials were refused" in shown and "AWS_ACCESS_KEY_ID" in shown
    assert "of-a-test" not in shown


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, r"credentials were refused, or the region \(400\).*AWS_SESSION_TOKEN, AWS_REGION"),
        (301, r"credentials were refused, or the region \(301\)"),
        (416, "it changed while it was read"),  # beyond its end
        (405, r"S3 failed \(405\)"),
    ],
)
def test_an_error_of_which_only_the_status_is_known_is_told_by_it(door, status, message):
    put(door, **{"day1/groups.json": "[]"})
    door.before = lambda _method, path: status if path.endswith(".json") else 0
    with pytest.raises(DaybookError, match=message):
        paths()


def test_an_empty_setting_is_as_good_as_none(door, monkeypatch):
    """As compose hands them over."""
    put(door, **{"day1/groups.json": "[]"})
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "")
    assert paths() == ["groups.json"]


def test_a_server_that_is_not_there_is_soon_named(door, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    begun = time.monotonic()
    with pytest.raises(DaybookError, match=r"http://127\.0\.0\.1:1 can't be reached"):
        day_folder(DATA, DAY)
    assert time.monotonic() - begun < 15


def test_a_server_that_never_answers_is_given_up(door, monkeypatch):
    assert s3.NO_ANSWER[0] * s3.NO_ANSWER[2] <= 30
    monkeypatch.setattr(s3, "NO_ANSWER", (1, 3, 1))
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{mute.getsockname()[1]}")
        begun = time.monotonic()
        with pytest.raises(DaybookError, match="can't be reached"):
            day_folder(DATA, DAY)
    assert time.monotonic() - begun < 15


def test_a_busy_server_is_waited_for_from_the_first_request_on(door):
    put(door, **{"day1/groups.json": "[]"})
    refusals = iter([503] * s3.NO_ANSWER[0])
    door.before = lambda _method, _path: next(refusals, 0)
    assert paths() == ["groups.json"]


@pytest.mark.usefixtures("warehouse")
def test_data_base_path_may_be_in_s3(door, tmp_path, monkeypatch, capsys):
    write_day(tmp_path, **{"transactions.csv": HEADER + TENS})
    (tmp_path / "day1/transactions.json").unlink()
    upload(door, tmp_path, "raw/exports")
    monkeypatch.setattr("loaders.warehouse.start", lambda: "")
    monkeypatch.setenv("DATA_BASE_PATH", DATA)
    assert main(["--day", "day1"]) == 0
    assert "stg_transactions" in capsys.readouterr().out


@pytest.mark.spark
@pytest.mark.usefixtures("warehouse")
def test_spark_reads_from_s3_and_writes_there_without_a_jar(door, tmp_path, monkeypatch):
    from pyspark import SparkContext

    from loaders.spark import reading

    if SparkContext._gateway:  # a JVM of another test, which was started without this key
        SparkContext._gateway.shutdown()
        monkeypatch.setattr(SparkContext, "_gateway", None)
        monkeypatch.setattr(SparkContext, "_jvm", None)
    upload(door, SAMPLE / "day1", "raw/exports/day1")
    monkeypatch.setenv("SPARK_MASTER", "local[2]")
    monkeypatch.setattr(reading, "READ_HERE", 5_000)  # the executors read what is larger
    for out in (str(tmp_path), "s3://raw/read"):
        for _ in range(2):
            reading.read_day(DATA, DAY, out)
        landed = {one.table: one.status for one in land_day(out, DAY, force=True)}
        assert landed["stg_transactions"] == "succeeded"
    found = client(door).list_objects_v2(Bucket="raw", Prefix="read/day1/stg_transactions/")
    parts = [one["Key"] for one in found["Contents"] if not one["Key"].endswith("/")]
    assert len(parts) == 2  # rows and rejects, of the second reading
    assert {one.status for one in land_day(DATA, DAY)} <= {"unchanged", "skipped"}
