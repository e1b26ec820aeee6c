"""Parquet lands as the text that a CSV of the same rows would have."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from loaders.days import parse_day
from loaders.errors import DaybookError
from loaders.landing import Landed, land_day

pytestmark = pytest.mark.usefixtures("warehouse")
IST = timezone(timedelta(hours=5, minutes=30))


def write_parquet(path: Path, columns: dict[str, Any]) -> None:
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table(columns), path)


def land(root: Path) -> Landed:
    (landed,) = land_day(root, parse_day("day1"), tables=["stg_transactions"])
    return landed


def test_values_land_as_text_with_all_their_digits(tmp_path: Path, db: psycopg.Connection) -> None:
    import pyarrow

    moment = datetime(2026, 1, 5, 10, 0, 0, 123456)
    columns = {
        "transaction_id": ["t1", "t2"],
        "amount_minor": pyarrow.array([2**53 + 1, None]),
        "exponent": pyarrow.array([2.0, 0.1]),
        "exchange_rate": pyarrow.array([Decimal("1.10"), Decimal("0.05")]),
        "occurred_time": pyarrow.array([moment, None], pyarrow.timestamp("ns")),
        "updated_time": pyarrow.array(
            [moment.replace(tzinfo=IST), None], pyarrow.timestamp("us", "Asia/Kolkata")
        ),
        "child_transaction_ids": [["a", "b"], []],
        "user_name": pyarrow.array(["", "é"]).dictionary_encode(),
        "card_id": pyarrow.array([True, False]),
        "other": [{"n": 1.5, "d": date(2026, 1, 5)}, None],
    }
    write_parquet(tmp_path / "day1/transactions.parquet", columns)
    landed = land(tmp_path)
    first, second = db.execute("select * from bronze.stg_transactions order by 1").fetchall()
    assert [first[name] for name in columns if name != "other"] == [
        "t1",
        "9007199254740993",
        "2",
        "1.10",
        "2026-01-05T10:00:00.123456",
        "2026-01-05T04:30:00.123456Z",
        '["a","b"]',
        None,
        "true",
    ]
    assert first["_extra"] == {"other": {"n": 1.5, "d": "2026-01-05"}}
    assert [second[name] for name in ("amount_minor", "exponent", "child_transaction_ids")] == [
        None,
        "0.1",
        "[]",
    ]
    assert second["_extra"] is None
    assert landed.drift is not None
    assert landed.drift["unknown"] == ["other"]


def test_a_spark_folder_is_one_source(tmp_path: Path, db: psycopg.Connection) -> None:
    folder = tmp_path / "day1/transactions"
    for part in range(3):
        ids = [f"t{part}-{n}" for n in range(20_000)]
        write_parquet(folder / f"part-0000{part}.snappy.parquet", {"transaction_id": ids})
    with pytest.raises(DaybookError, match="no _SUCCESS"):
        land(tmp_path)
    assert db.execute("select count(*) as n from bronze.load_batches").fetchone() == {"n": 0}
    (folder / "_SUCCESS").touch()
    (folder / ".part-00000.crc").touch()
    landed = land(tmp_path)
    assert (landed.rows_in_files, landed.rows_landed) == (60_000, 60_000)
    found = db.execute(
        "select _source_row as row from bronze.stg_transactions where transaction_id = 't2-19999'"
    ).fetchone()
    assert found == {"row": 20_000}


def test_a_foreign_file_fails_and_a_missing_key_is_refused(
    tmp_path: Path, db: psycopg.Connection
) -> None:
    location = tmp_path / "day1/transactions.parquet"
    location.parent.mkdir()
    location.write_bytes(b"PAR1 but not really PAR1")
    with pytest.raises(DaybookError, match="not readable as Parquet"):
        land(tmp_path)
    statuses = db.execute("select status from bronze.load_batches").fetchall()
    assert statuses == [{"status": "failed"}]
    write_parquet(location, {"currency": ["EUR"]})
    with pytest.raises(DaybookError, match="key column transaction_id"):
        land(tmp_path)


def test_a_nul_is_rejected(tmp_path: Path, db: psycopg.Connection) -> None:
    ids = [f"t{n}" for n in range(20)] + ["bad\0", "good"]
    rest = [{"x": "y"}] * 21 + [{"x": "\0"}]
    write_parquet(tmp_path / "day1/transactions.parquet", {"transaction_id": ids, "rest": rest})
    landed = land(tmp_path)
    assert (landed.rows_landed, landed.rows_rejected) == (20, 2)
    found = db.execute("select source_row, reason from bronze.load_rejects order by 1").fetchall()
    assert [(r["source_row"], r["reason"]) for r in found] == [(21, "nul byte"), (22, "nul byte")]


def test_times_keep_their_moment_in_every_zone() -> None:
    from loaders.read_parquet import _plain

    assert _plain(datetime(2026, 1, 5, tzinfo=UTC)) == "2026-01-05T00:00:00Z"
    assert _plain(datetime(2026, 1, 5, tzinfo=IST)) == "2026-01-04T18:30:00Z"
    assert _plain(datetime(2026, 1, 5)) == "2026-01-05T00:00:00"
