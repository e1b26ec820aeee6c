"""What Spark reads lands as what Python reads: row for row, with the same ledger."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from loaders.days import Day, parse_day
from loaders.errors import DaybookError
from loaders.landing import land_day
from loaders.sources import PROJECT, declared_tables
from loaders.spark import reading, session
from loaders.spark.__main__ import main
from loaders.spark.apart import read_apart
from tests.raw_days import write_day

# one JVM, and one reading of the hard cases, for all of them
pytestmark = [
    pytest.mark.spark,
    pytest.mark.usefixtures("warehouse"),
]
SAMPLE = PROJECT / "tests" / "sample"
DAY = parse_day("day1")


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_MASTER", "local[2]")
        # several blocks even of a small file
        patch.setitem(session.SETTINGS, "spark.sql.files.maxPartitionBytes", "20k")
        patch.setitem(session.SETTINGS, "spark.sql.files.openCostInBytes", "1k")
        patch.setitem(session.SETTINGS, "spark.driver.memory", "1g")
        # what is compiled for each query costs more than these few rows
        patch.setitem(session.SETTINGS, "spark.sql.codegen.wholeStage", "false")
        yield


def state(db: psycopg.Connection, day: Day) -> dict[str, Any]:
    """Everything that the day's landing left, by table, without what names the batch."""
    found: dict[str, Any] = {}
    for table in declared_tables():
        rows = db.execute(
            f"select (to_jsonb(t) - '_batch_id' - '_loaded_at')::text as row from bronze.{table} t"
            ' where _day = %s order by _source_file collate "C", _source_row',
            [day.date],
        )
        batch = db.execute(
            "select batch_id, status, source_files, fingerprint, rows_in_files, rows_landed,"
            " rows_rejected, drift, error from bronze.load_batches"
            " where table_name = %s and day = %s order by batch_id desc limit 1",
            [table, day.date],
        ).fetchone()
        rejects = db.execute(
            "select source_file, source_row, reason, raw_text from bronze.load_rejects"
            ' where batch_id = %s order by source_file collate "C", source_row',
            [batch["batch_id"]],
        )
        found[table] = {
            "rows": [row["row"] for row in rows],
            "batch": {name: value for name, value in batch.items() if name != "batch_id"},
            "rejects": rejects.fetchall(),
        }
    return found


def check_both(db: psycopg.Connection, data: Path, day: Day, out: Path) -> dict[str, Any]:
    """Land with Python, then what Spark made: the same is left. Gives it."""
    land_day(data, day)
    by_python = state(db, day)
    for one in land_day(out, day):
        assert one.status in ("unchanged", "skipped", "failed"), one
    land_day(out, day, force=True)
    by_spark = state(db, day)
    for table, found in by_python.items():
        for what in found:
            assert by_spark[table][what] == found[what], (table, what)
    return by_python


def test_the_sample_days_are_the_same(
    db: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        day = parse_day(f"day{number}")
        # the last one with a job for every table, its lines read one by one
        monkeypatch.setattr(reading, "READ_HERE", 0 if number == 3 else 4 << 20)
        reading.read_day(SAMPLE, day, tmp_path, split_from=1)
        check_both(db, SAMPLE, day, tmp_path)


def records(count: int) -> list[str]:
    """JSON lines with every digit, unknown fields, nested ones, odd text and empty values."""
    return [
        json.dumps(
            {
                "id": f"t{n}",
                "userName": ["Zoë", 'a "b"', "c\\d", "", None, " x\t"][n % 6],
                "childTransactionIds": [n, 2**60 + n] if n % 2 else [],
                "currencyData": {"exponent": 2, "exchangeRate": "@", "odd": n % 3},
                "extra": {"deep": [{"n": n}]} if n % 5 == 0 else None,
            },
            ensure_ascii=n % 2 == 0,
        ).replace('"@"', f"1.{n}0")
        for n in range(count)
    ]


def csv(count: int, end: str = "\n", broken: bool = False) -> str:
    lines = ["amount_minor,transaction_id,odd,user_name,currency"]
    for n in range(count):
        name = ["Zoë", '"a, b"', '"say ""x"""', "", 'mid"d, le"x', '""', "a'b"][n % 7]
        lines.append(f"{n},t{n},{'' if n % 3 else n},{name},EUR")
        if n % 100 == 50:
            lines.append("   " if n % 200 == 50 else "")
        if broken and n % 40 == 3:
            lines[-1] += ",more" if n % 80 == 3 else "\0"
    return end.join(lines) + end


# Read by lines: by Spark itself, or by the readers a piece at a time.
BY_LINES: dict[str, str | bytes] = {
    "lines.jsonl": "\n".join(records(2000)),
    "broken lines.jsonl": "\n".join(
        line[:-1] + ',"x":}' if n % 50 == 7 else "\n" + line if n % 50 == 8 else line
        for n, line in enumerate(records(1000))
    )
    + "\n",
    "bad utf-8.jsonl": "\n".join(records(40)).encode() + b'\n{"id": "caf\xe9"}\n',
    "byte order mark.jsonl": b"\xef\xbb\xbf" + "\n".join(records(10)).encode(),
    "two columns.csv": "transaction_id,user_name\n" + "t,x\n" * 90 + "t\n",
}
# A snapshot that is refused.
REFUSED = {
    "budgets.jsonl": '{"budget_id": "b", "name": "B"}\n' * 200,
}
# What a quote stands for is Python's csv to say: a file with one is read whole.
WHOLE: dict[str, str | bytes] = {
    "clean.csv": csv(3000),
    "carriage returns.csv": "\ufeff" + csv(700, "\r\n")[:-2],
    "broken.csv": csv(1500, broken=True)[:-1].encode() + b"\n1,caf\xe9,,,",
    "a header alone.csv": "transaction_id\n",
    "a blank line before the header.csv": "\n" + csv(20),
    "a byte order mark and a blank line.csv": "\ufeff \r\n" + csv(20),
    "two objects in a line.jsonl": "\n".join([*records(300), *["{}{}"] * 3]),
    "a page in a line.jsonl": "\n".join([*records(30), '{"results": []}']),
    "blanks before.jsonl": "\n".join([*records(30), '{"a": [}', *records(30)]) + '\n {"id": "x"}\n',
    "page.json": '{"results": [' + ",".join(records(30)) + "]}",
    "array.json": "[" + ",\n".join(records(30)) + "]",
    "array.json.gz": "[" + ",\n".join(records(30)) + "]",
    "odd + {na*me} é.json": json.dumps({"id": "x", "n": 1.5}),
    "old line ends.csv": csv(300, "\r"),
    "line ends in fields.csv": csv(100) + '1,t,,"a\nb",EUR\n',
    "zipped.csv.gz": csv(20),
    "a long line.csv": csv(9) + "1,t,,EUR," + "x" * (1 << 20) + "\n",
}


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, set[str]]:
    """A day of hard cases, what Spark made of it, and which files it read whole."""
    folder = tmp_path_factory.mktemp("hard")
    files = {f"transactions/{name}": content for name, content in (BY_LINES | WHOLE).items()}
    write_day(folder / "raw", **files, **REFUSED, **{"cards.json.gz": [{"id": "c"}]})
    (folder / "raw/day1/transactions.json").unlink()
    cards = folder / "raw/day1/cards.json.gz"
    cards.write_bytes(cards.read_bytes()[:-12])
    whole: set[str] = set()
    groups = reading._groups

    def watched(spark: Any, files: list[Any]) -> Any:
        whole.update(one.file.path for one in files)
        return groups(spark, files)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "SPLIT_FROM", 1)
        patch.setattr(reading, "READ_HERE", 1_000)
        patch.setattr(reading, "_groups", watched)
        arguments = ["--day", "day1", "--data", f"{folder}/raw", "--out", f"{folder}/out"]
        assert main(arguments) == 0
    return folder / "raw", folder / "out", whole


def test_what_can_be_read_by_lines_is(hard: tuple[Path, Path, set[str]]) -> None:
    _, _, whole = hard
    names = {path.removeprefix("transactions/") for path in whole if path.count("/")}
    assert names == set(WHOLE)


def test_what_spark_has_read_is_not_read_again(
    hard: tuple[Path, Path, set[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = hard
    assert main(["--day", "day1", "--data", str(out), "--out", str(tmp_path)]) == 1
    assert "Spark has read this already" in capsys.readouterr().err
    assert main(["--day", "nay", "--data", "x"]) == 2


def test_what_cannot_be_planned_writes_nothing(tmp_path: Path) -> None:
    write_day(tmp_path / "raw", **{"groups.json": "[]"})
    with pytest.raises(DaybookError, match="no record in its files"):
        reading.read_day(tmp_path / "raw", DAY, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_another_declaration_is_refused(hard: tuple[Path, Path, set[str]], tmp_path: Path) -> None:
    shutil.copytree(hard[1], tmp_path, dirs_exist_ok=True)
    manifest = tmp_path / "day1/_daybook.json"
    manifest.write_text(manifest.read_text().replace('"contact"', '"kontakt"'))
    with pytest.raises(DaybookError, match=r"Run python -m loaders\.spark again"):
        land_day(tmp_path, DAY)


def test_read_apart_from_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, db: psycopg.Connection
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(DaybookError, match=r"could not read day1: Java is not installed"):
        read_apart(str(SAMPLE), DAY)
    monkeypatch.delenv("JAVA_HOME")
    asked = iter([None, None])
    with pytest.raises(StopIteration):
        read_apart(str(SAMPLE), DAY, check=lambda: next(asked))
    assert db.execute("select count(*) as n from bronze.load_batches").fetchone() == {"n": 0}


def test_without_java_or_pyspark_it_says_what_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
