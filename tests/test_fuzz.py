"""Ten thousand generated and mutated files: no error but ours, and every record accounted for by a
count that shares nothing with the readers. Each file is its seed's: python -c gives it again."""

from __future__ import annotations

import csv
import io
import json
import random
import resource
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from openpyxl import Workbook
from pyarrow import parquet

from loaders.days import parse_day
from loaders.errors import DaybookError
from loaders.plan import Plan
from loaders.raw_file import RawFile
from loaders.readers.formats import scan
from loaders.readers.mapping import Mapping
from loaders.reading import Reading
from loaders.sources import declared_tables
from tests.copied import rows_of
from tests.raw_days import land_one
from tests.watching import value

pytestmark = pytest.mark.slow
DAY = parse_day("day1")
TABLE = declared_tables()["stg_transactions"]
MANY = {"csv": 4000, "json": 2500, "jsonl": 2500, "parquet": 700, "xlsx": 300}
TOKENS = ['"', ",", "\n", "\r", "{", "}", "[", "]", ":", "\\", "\\u0000", "\0", "\ufeff", ";", "=1"]
TOKENS += ["NaN", "null", '"results"', "9001.0", "\ud83d", "é", "", " ", "\t", "<html>", "1e999"]
TOKENS += ["PK"]
SEEDS_OF_POSTGRES = range(40)


def text(chooser: random.Random) -> str:
    letters = chooser.choices("ab 5é€😀\"',;\n{[\\", k=chooser.randrange(8))
    return "".join(letters)


def records(chooser: random.Random) -> list[dict[str, Any]]:
    found = []
    for n in range(chooser.randrange(1, 12)):
        record: dict[str, Any] = {"id": f"t{n}", "uuid": text(chooser), "userName": text(chooser)}
        if chooser.random() < 0.4:
            record["currencyData"] = {"exponent": 2, "exchangeRate": 1.1, "q": text(chooser)}
        if chooser.random() < 0.3:
            record[text(chooser)] = chooser.choice([1, None, [1, {"a": 2.5}], {"b": "c"}, "x"])
        found.append(record)
    return found


def content(kind: str, chooser: random.Random) -> bytes:
    found = records(chooser)
    if kind == "csv":
        out = io.StringIO()
        quoting = chooser.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        writer = csv.writer(out, quoting=quoting, lineterminator=chooser.choice(["\n", "\r\n"]))
        writer.writerow(["transaction_id", "user_name", chooser.choice(["currency", "other"])])
        writer.writerows([one["id"], one["userName"], one["uuid"]] for one in found)
        return out.getvalue().encode()
    if kind == "jsonl":
        return "".join(json.dumps(one) + "\n" for one in found).encode()
    if kind == "json":
        shown = json.dumps(found, indent=chooser.choice([None, 1]), ensure_ascii=False)
        return (f'{{"n": 1, "results": {shown}}}' if chooser.random() < 0.4 else shown).encode()
    return _binary(kind, found)


def _binary(kind: str, found: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    if kind == "parquet":
        columns = {"id": [one["id"] for one in found], "x": [one["uuid"] for one in found]}
        parquet.write_table(pyarrow.table(columns), out)
    else:
        book = Workbook()
        for row in [["Id", "User_Name"], *([one["id"], "x" * n] for n, one in enumerate(found))]:
            book.active.append(row)
        book.save(out)
    return out.getvalue()


def mutated(raw: bytes, chooser: random.Random) -> bytes:
    for _ in range(chooser.choice([0, 1, 1, 2, 4])):
        at = chooser.randrange(len(raw) + 1)
        end = min(len(raw), at + chooser.randrange(1, 12))
        token = chooser.choice(TOKENS).encode("utf-8", "surrogatepass")
        raw = chooser.choice(
            [
                raw[:at] + token + raw[at:],
                raw[:at] + raw[end:],
                raw[:end] + raw[at:],
                raw[:at] + bytes([chooser.randrange(256)]) + raw[at + 1 :],
                raw[:at],
            ]
        )
    return raw


def independent_count(kind: str, raw: bytes) -> int | None:
    """The records of a file that can be read at all; None where there is no other reader."""
    shown = raw.decode("utf-8-sig", "surrogateescape")
    if kind == "csv":
        lines = io.StringIO(shown.replace("\n\ufeff", "\n").replace("\r\ufeff", "\r"), newline="")
        blank = " \t\r\n\x0b\x0c"
        rows = (row for row in csv.reader(lines) if row)
        return sum(bool(row[1:] or row == [""] or row[0].strip(blank)) for row in rows) - 1
    if kind == "jsonl":
        return sum(_values(line.strip(" \t\r\ufeff")) for line in shown.split("\n"))
    if kind == "json":
        try:
            value = json.loads(shown)
        except ValueError:
            return None
        value = value.get("results", value) if isinstance(value, dict) else value
        return len(value) if isinstance(value, list) else 1
    return None


def _values(line: str) -> int:
    """A line's values; one where it is no JSON."""
    at = count = 0
    try:
        while at < len(line):
            _, at = json.JSONDecoder(strict=False).raw_decode(line, at)
            count += 1
            at += len(line[at:]) - len(line[at:].lstrip(" \t\r\ufeff"))
    except ValueError:
        return 1
    return count


def write(folder: Path, kind: str, seed: int) -> tuple[RawFile, bytes]:
    chooser = random.Random(f"{kind} {seed}")
    raw = mutated(content(kind, chooser), chooser)
    path = folder / f"transactions.{kind}"
    path.write_bytes(raw)
    form: Any = "json" if kind == "jsonl" else kind
    return RawFile(path.name, path, form, False, len(raw), path.stat().st_mtime_ns), raw


@pytest.mark.parametrize("kind", MANY)
def test_every_record_is_landed_or_rejected_or_its_file_refused(tmp_path, kind):
    landed = refused = 0
    most = max(1 << 20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # kB
    for seed in range(MANY[kind]):
        file, raw = write(tmp_path, kind, seed)
        try:
            plan = Plan(TABLE, DAY, (scan(file, Mapping(TABLE)),), may_be_empty=True)
            reading = Reading(plan)
            copied = b"".join(reading.pieces(reading.parts))
        except DaybookError as error:
            assert str(error), seed
            refused += 1
            continue
        except Exception as error:
            raise AssertionError(f"{kind}, seed {seed}") from error
        found = reading.read.records[file.path]
        rows = rows_of(copied)
        assert len(rows) + reading.read.rejected == found, seed
        assert [row.number for row in rows] == sorted({row.number for row in rows}), seed
        expected = independent_count(kind, raw)
        assert expected is None or found == max(expected, 0), (seed, raw)
        landed += 1
    assert landed > MANY[kind] // 5
    assert refused > MANY[kind] // 50
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss <= most


@pytest.mark.usefixtures("warehouse")
@pytest.mark.parametrize("kind", MANY)
def test_postgres_takes_what_the_readers_give(tmp_path, db, kind):
    folder = tmp_path / "day1"
    folder.mkdir()
    succeeded = 0
    for seed in SEEDS_OF_POSTGRES:
        write(folder, kind, seed)
        try:
            landed = land_one(tmp_path)
        except DaybookError:
            continue
        if landed.status == "succeeded":
            assert value(db, "select count(*) from bronze.stg_transactions") == landed.rows_landed
            rejected = landed.rows_rejected or 0
            assert landed.rows_in_files == (landed.rows_landed or 0) + rejected
            succeeded += 1
    assert succeeded > len(SEEDS_OF_POSTGRES) // 5
