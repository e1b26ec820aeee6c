"""What Spark reads lands row for row as what Python reads, with the same ledger."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from loaders import prepared, slices
from loaders.days import Day, parse_day
from loaders.errors import DaybookError, UsageError
from loaders.landing import land_day, land_table
from loaders.partition import NewPartition
from loaders.plan import plan_day
from loaders.preview import preview_day
from loaders.sources import declared_tables
from loaders.spark import reading, session
from loaders.spark.__main__ import main
from tests.hard_day import LINES, REFUSED, WHOLE
from tests.raw_days import SAMPLE, statuses, write_day
from tests.watching import column, run_command, run_python, tuples

# one JVM, and one reading of the hard cases, for all of them
pytestmark = [pytest.mark.spark, pytest.mark.usefixtures("warehouse")]
DAY = parse_day("day1")


@pytest.fixture(autouse=True, scope="module")
def _local() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_MASTER", "local[2]")
        yield


ROWS = """
    select (to_jsonb(t) - '_batch_id' - '_loaded_at')::text from bronze.{} t
    where _day = %s order by _source_file collate "C", _source_row
"""
BATCH = """
    select batch_id, status, source_files, fingerprint, rows_in_files, rows_landed, rows_rejected,
        drift, error
    from bronze.load_batches
    where table_name = %s and day = %s order by batch_id desc limit 1
"""
REJECTS = """
    select source_file, source_row, reason, raw_text, landed from bronze.load_rejects
    where batch_id = %s order by source_file collate "C", source_row
"""
MESSAGE = """
    select error_message from metrics.pipeline_metrics
    where table_name = %s and day = %s order by finished_at desc limit 1
"""


def state(db: psycopg.Connection, day: Day) -> dict[str, Any]:
    """All that the day's landing left, by table, without its batch's id and times."""
    found: dict[str, Any] = {}
    for table in declared_tables():
        batch = db.execute(BATCH, [table, day.date]).fetchone()
        batch_id = batch.pop("batch_id")
        found[table] = {
            "rows": column(db, ROWS.format(table), [day.date]),
            "batch": batch,
            "rejects": tuples(db, REJECTS, [batch_id]),
            "message": tuples(db, MESSAGE, [table, day.date]),
        }
    return found


def check_both(db: psycopg.Connection, data: Path, day: Day, out: Path) -> dict[str, Any]:
    """Land what Python reads, then what Spark wrote; returns what both left, which is the same."""
    land_day(data, day)
    by_python = state(db, day)
    for one in land_day(out, day):
        assert one.status in ("unchanged", "skipped", "failed"), one
    land_day(out, day, force=True)
    by_spark = state(db, day)
    for table, parts in by_python.items():
        for part, expected in parts.items():
            assert by_spark[table][part] == expected, (table, part)
    return by_python


def test_the_sample_days_are_the_same(db, tmp_path, monkeypatch):
    for number in (1, 2, 3):
        day = parse_day(f"day{number}")
        if number == 3:  # with a job for every table, and files in slices
            monkeypatch.setattr(reading, "READ_HERE", 0)
            monkeypatch.setattr(slices, "SLICE", 500)
        reading.read_day(SAMPLE, day, tmp_path)
        check_both(db, SAMPLE, day, tmp_path)
        planned = {one.status for one in preview_day(str(tmp_path), day)}
        assert planned == ({"unchanged"} if number == 2 else {"unchanged", "absent"})


@pytest.fixture(scope="module")
def hard(tmp_path_factory) -> tuple[Path, Path, set[str]]:
    """A day of hard cases, what Spark wrote of it, and the files that it read in slices."""
    folder = tmp_path_factory.mktemp("hard")
    files = {f"transactions/{name}": content for name, content in (LINES | WHOLE).items()}
    files |= REFUSED | {"cards.json.gz": '[{"id": "c"}]', "group_memberships.csv": ""}
    write_day(folder / "raw", **files)
    (folder / "raw/day1/transactions.json").unlink()
    cards = folder / "raw/day1/cards.json.gz"
    cards.write_bytes(cards.read_bytes()[:-12])
    sliced: set[str] = set()
    cut = slices.slices_of

    def noted(*arguments: Any) -> Any:
        for parts in cut(*arguments):
            sliced.update(part.path for part in parts if part.end is not None)
            yield parts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "SLICE", 8_000)
        patch.setattr(reading, "GROUP_BYTES", 200_000)
        patch.setattr(reading, "READ_HERE", 1_000)
        patch.setattr(slices, "slices_of", noted)
        arguments = ["--day", "day1", "--data", f"{folder}/raw", "--out", f"{folder}/out"]
        assert main(arguments) == 0
    return folder / "raw", folder / "out", sliced


def test_hard_cases_are_the_same(db, hard):
    raw, out, sliced = hard
    found = check_both(db, raw, DAY, out)
    transactions = found["stg_transactions"]
    assert transactions["batch"]["status"] == "succeeded"
    assert len(transactions["rows"]) > 15_000
    assert len(transactions["rejects"]) > 100
    assert "the gzip is cut or broken" in found["stg_cards"]["batch"]["error"]
    assert "it has no bytes" in found["stg_group_memberships"]["batch"]["error"]
    assert "none of its records has the key id" in found["stg_budgets"]["batch"]["error"]
    assert "roles.jsonl ends in the middle" in found["stg_roles"]["batch"]["error"]
    assert sliced == {f"transactions/{name}" for name in LINES} | set(REFUSED)


def test_what_spark_has_read_is_not_read_again(hard, tmp_path, capsys):
    _, out, _ = hard
    assert main(["--day", "day1", "--data", str(out), "--out", str(tmp_path)]) == 1
    assert "Spark has read this already" in capsys.readouterr().err
    assert main(["--day", "nay", "--data", "x"]) == 2
    # else each machine would write to a folder of its own called hdfs:
    assert main(["--day", "day1", "--data", str(SAMPLE), "--out", "hdfs://node/read"]) == 2
    assert "hdfs:// is not for Daybook" in capsys.readouterr().err


@pytest.mark.usefixtures("db")
def test_a_retry_lands_what_spark_has_read(tmp_path, monkeypatch):
    reading.read_day(SAMPLE, DAY, tmp_path)
    (plan,) = plan_day(tmp_path, DAY, ["stg_agents"])

    def lose(_partition: NewPartition) -> None:
        raise psycopg.OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(NewPartition, "swap_in", lose)
        with pytest.raises(DaybookError, match="stg_agents of day1 did not land"):
            land_table(plan, flow_run_id="run")
    assert land_table(plan, flow_run_id="run").status == "succeeded"


def test_a_day_that_cannot_be_planned_writes_nothing(tmp_path):
    write_day(tmp_path / "raw", **{"groups.json": "[]"})
    with pytest.raises(DaybookError, match="no record in its files"):
        reading.read_day(tmp_path / "raw", DAY, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for out in (tmp_path / "raw", tmp_path / "raw" / DAY.text):
        with pytest.raises(UsageError, match="the raw files are there"):
            reading.read_day(tmp_path / "raw", DAY, out)


def test_only_the_files_of_the_newest_reading_stay(tmp_path):
    of_a_dead_task = tmp_path / "out/day1/stg_agents" / f"{'0' * 32}.csv.zst"
    folder = of_a_dead_task.parent
    folder.mkdir(parents=True)
    of_a_dead_task.touch()
    for _ in range(2):
        reading.read_day(SAMPLE, DAY, tmp_path / "out")
    assert len(list(folder.iterdir())) == 2  # rows and rejects, of the second alone
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(DaybookError, match="it is no longer there"):
        land_day(tmp_path / "out", DAY)


def test_a_reading_that_another_one_has_swept_away_fails_and_leaves_the_other(tmp_path):
    def other(_table: str, done: int, total: int) -> None:
        if done == total:
            prepared.write(tmp_path / DAY.text, [], {})
            prepared.sweep(tmp_path / DAY.text)

    with pytest.raises(DaybookError, match="it is no longer there"):
        reading.read_day(SAMPLE, DAY, tmp_path, progress=other)
    assert list(prepared.read(tmp_path / DAY.text, [])) == []  # its manifest is there


def test_an_out_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(DaybookError, match="not to be written to"):
        reading.read_day(SAMPLE, DAY, tmp_path / "out")


def test_another_declaration_is_refused(hard, tmp_path):
    shutil.copytree(hard[1], tmp_path, dirs_exist_ok=True)
    manifest = tmp_path / "day1/_daybook.json"
    manifest.write_text(manifest.read_text().replace('"contact"', '"kontakt"'))
    with pytest.raises(DaybookError, match=r"Run python -m loaders\.spark again"):
        land_day(tmp_path, DAY)


def test_reading_in_another_process_fails_and_stops_as_in_this_one(tmp_path, monkeypatch, db):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(DaybookError, match="Java is not installed"):
        reading.read_apart(str(SAMPLE), DAY)
    monkeypatch.delenv("JAVA_HOME")
    checks = iter([None, None])
    with pytest.raises(StopIteration):
        reading.read_apart(str(SAMPLE), DAY, check=lambda: next(checks))
    assert statuses(db) == []


def test_without_java_or_pyspark_it_says_what_installs_them(tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(DaybookError, match="apt-get install openjdk-17-jre-headless"):
        session.check_installed()
    java = tmp_path / "bin/java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    with pytest.raises(DaybookError, match="Java 11 is too old"):
        session.check_installed()
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(DaybookError, match="make setup SPARK=1"):
        session.check_installed()


def test_spark_submit_runs_it_with_its_own_master(tmp_path):
    import pyspark

    command = Path(pyspark.__file__).parent / "bin/spark-submit"
    of_spark = ["--master", "local[1]", "--conf", "spark.driver.memory=512m"]
    ours = ["--day", "day1", "--data", SAMPLE, "--out", tmp_path]
    environment = {k: v for k, v in os.environ.items() if k != "SPARK_MASTER"}
    environment |= {"PYTHONPATH": ".", "PYSPARK_PYTHON": sys.executable}
    environment["SPARK_LOCAL_IP"] = "127.0.0.1"
    done = run_command(command, *of_spark, "loaders/spark/__main__.py", *ours, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "day1/_daybook.json").is_file()


def test_settings_of_spark_submit_stay(monkeypatch):
    monkeypatch.delenv("SPARK_MASTER")
    known = {"spark.master": "spark://there:7077", "spark.ui.enabled": "true"}
    found = session.to_set(known)
    assert found["spark.master"] == "spark://there:7077"
    assert "spark.ui.enabled" not in found and "spark.driver.host" not in found
    assert set(session.SETTINGS) - set(found) == {"spark.ui.enabled"}
    assert session.to_set({})["spark.master"] == "local[*]"
    monkeypatch.setenv("SPARK_MASTER", "local[2]")
    assert session.to_set(known)["spark.master"] == "local[2]"


KILLED = """
import os, signal
from loaders.spark.session import session
with session("a test") as spark:
    java = spark._gateway.proc.pid
    spark.parallelize([1], 1).map(lambda _: os.kill({}, signal.SIGKILL)).collect()
"""


def test_a_killed_java_process_is_told_in_a_sentence():
    told = run_python("-c", KILLED.format("java")).stderr
    assert told.splitlines()[-1].endswith("Spark failed on local[2]: its Java process ended")
    assert "ERROR" not in told


def test_a_killed_python_process_of_sparks_is_told_as_such():
    told = run_python("-c", KILLED.format("os.getpid()")).stderr.splitlines()[-1]
    assert "Spark failed on local[2]: " in told and "Python worker exited unexpectedly" in told
