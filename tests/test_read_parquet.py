"""Parquet lands as the text that a CSV of the same rows would have, whoever wrote it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet
from pyarrow.parquet import encryption

from loaders.errors import DaybookError
from loaders.raw_file import RawFile
from loaders.readers.mapping import Mapping
from loaders.readers.parquet_file import read_parquet, scan_parquet
from loaders.readers.parquet_footer import TAIL
from loaders.readers.parquet_values import plain
from loaders.readers.rows import Reject, Row, UnreadableError
from loaders.schema import Column, Table
from tests.raw_days import land_one, statuses
from tests.watching import run_python, tuples, value

IST = timezone(timedelta(hours=5, minutes=30))
MAPPING = Mapping(
    Table(
        "stg_t",
        ("t",),
        "snapshot",
        False,
        ("a_id",),
        (
            Column("a_id", "text", (("id",), ("a_id",))),
            Column("day", "date", (("day",),)),
            Column("mail", "text", (("contact", "mail"), ("mail",))),
        ),
    )
)


def write_parquet(path: Path, columns: dict[str, Any], **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table(columns), path, **options)


def read(path: Path, columns: dict[str, Any], **options: Any) -> list[Row | Reject]:
    write_parquet(path, columns, **options)
    file = RawFile(path.name, path, "parquet", False, path.stat().st_size, 0)
    scan_parquet(file, MAPPING)
    return list(read_parquet(file, MAPPING))


def extra(path: Path, value: Any, **options: Any) -> list[Any]:
    """What each of an undeclared column's values lands as."""
    found = read(path, {"a_id": ["x"] * len(value), "v": value}, **options)
    texts = [row.extra for row in found if isinstance(row, Row)]
    return [text and json.loads(text, parse_float=str, parse_int=str)["v"] for text in texts]


@pytest.mark.usefixtures("warehouse")
def test_values_land_as_text_with_all_their_digits(tmp_path, db):
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
    landed = land_one(tmp_path)
    first, second = db.execute("select * from bronze.stg_transactions order by 1").fetchall()
    assert [first[name] for name in columns if name != "other"] == [
        *("t1", "9007199254740993", "2", "1.10"),
        *("2026-01-05T10:00:00.123456", "2026-01-05T04:30:00.123456Z"),
        *('["a","b"]', None, "true"),
    ]
    assert first["_extra"] == {"other": {"n": 1.5, "d": "2026-01-05"}}
    expected = {"amount_minor": None, "exponent": "0.1", "child_transaction_ids": "[]"}
    assert second.items() >= (expected | {"_extra": None}).items()
    assert landed.drift is not None
    assert landed.drift["unknown"] == ["other"]


@pytest.mark.usefixtures("warehouse")
def test_a_spark_folder_is_one_source(tmp_path, db):
    folder = tmp_path / "day1/transactions"
    for part in range(3):
        ids = [f"t{part}-{n}" for n in range(20_000)]
        write_parquet(folder / f"part-0000{part}.snappy.parquet", {"transaction_id": ids})
    with pytest.raises(DaybookError, match="no _SUCCESS"):
        land_one(tmp_path)
    assert statuses(db) == []
    (folder / "_SUCCESS").touch()
    (folder / ".part-00000.crc").touch()
    landed = land_one(tmp_path)
    assert (landed.rows_in_files, landed.rows_landed) == (60_000, 60_000)
    last = "select _source_row from bronze.stg_transactions where transaction_id = 't2-19999'"
    assert value(db, last) == 20_000


@pytest.mark.usefixtures("warehouse")
def test_a_foreign_file_fails_and_a_missing_key_is_refused(tmp_path, db):
    location = tmp_path / "day1/transactions.parquet"
    location.parent.mkdir()
    for content, message in (
        (b"PAR1 but not really PAR1", "not readable as Parquet"),
        (b"<html>Please sign in</html>", "it is HTML, an error page perhaps: fetch it again"),
        (b"\x1f\x8b\x08 and PAR1", "it is gzip"),
    ):
        location.write_bytes(content)
        with pytest.raises(DaybookError, match=message):
            land_one(tmp_path)
    assert statuses(db) == ["failed"] * 3
    write_parquet(location, {"currency": ["EUR"]})
    with pytest.raises(DaybookError, match=r"key column transaction_id.*Its columns: currency"):
        land_one(tmp_path)


DAMAGED = """
import sys
from pathlib import Path
from loaders.errors import DaybookError
from loaders.raw_file import RawFile
from loaders.readers.parquet_file import read_parquet, scan_parquet
from tests.test_read_parquet import MAPPING

path = Path(sys.argv[1])
good = path.read_bytes()
file = RawFile(path.name, path, "parquet", False, len(good), 0)
footer = int.from_bytes(good[-8:-4], "little") + 8
refused = 0
for at in range(len(good) - footer, len(good)):
    for mask in (0x01, 0x02, 0xFF):
        path.write_bytes(good[:at] + bytes([good[at] ^ mask]) + good[at + 1 :])
        try:
            scan_parquet(file, MAPPING)
            list(read_parquet(file, MAPPING))
        except DaybookError:
            refused += 1
print(refused)
"""


def test_no_damage_of_a_footer_ends_the_process(tmp_path):
    write_parquet(tmp_path / "t.parquet", {"a_id": ["1"], "v": [[1, 2]]}, store_schema=False)
    ended = run_python("-c", DAMAGED, tmp_path / "t.parquet")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert int(ended.stdout) > 300


class Vault(encryption.KmsClient):
    """Keeps every key as it is."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
        return key_bytes.hex()

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        return bytes.fromhex(wrapped_key)


@pytest.mark.parametrize("readable", [True, False])
def test_an_encrypted_file_is_refused(tmp_path, readable):
    """One whose footer is readable would end the process as soon as pyarrow is asked about it."""
    secret = encryption.CryptoFactory(lambda _: Vault()).file_encryption_properties(
        encryption.KmsConnectionConfig(),
        encryption.EncryptionConfiguration(
            "key", column_keys={"key": ["v"]}, plaintext_footer=readable
        ),
    )
    columns = {"a_id": ["1"], "v": ["x"]}
    with pytest.raises(UnreadableError, match=r"not readable as Parquet \(.*[dD]ecrypt"):
        read(tmp_path / "t.parquet", columns, encryption_properties=secret)


def test_a_footer_of_any_size_is_read(tmp_path):
    columns = {"a_id": ["1"]} | {f"a rather long name, {n}": [str(n)] for n in range(900)}
    (row,) = read(tmp_path / "t.parquet", columns)
    assert (tmp_path / "t.parquet").stat().st_size > 2 * TAIL
    assert isinstance(row, Row) and json.loads(row.extra or "")["a rather long name, 899"] == "899"


def test_a_nul_inside_of_a_list_is_repaired_too(tmp_path):
    found = read(tmp_path / "t.parquet", {"a_id": ["1", "2"], "v": [["a\0"], ["b"]]})
    assert found == [
        Reject(1, "nul byte", '{"a_id":"1","v":["a\\u0000"]}', landed=True),
        Row(1, ["1", None, None], '{"v":["a\ufffd"]}'),
        Row(2, ["2", None, None], '{"v":["b"]}'),
    ]


def test_a_nul_is_repaired_and_kept_raw(tmp_path, db):
    ids = [f"t{n}" for n in range(20)] + ["bad\0", "good"]
    rest = [{"x": "y"}] * 21 + [{"x": "\0"}]
    write_parquet(tmp_path / "day1/transactions.parquet", {"transaction_id": ids, "rest": rest})
    landed = land_one(tmp_path)
    assert (landed.rows_landed, landed.rows_rejected, landed.rows_repaired) == (22, 0, 2)
    found = tuples(db, "select source_row, reason, landed from bronze.load_rejects order by 1")
    assert found == [(21, "nul byte", True), (22, "nul byte", True)]
    repaired = "select transaction_id from bronze.stg_transactions where _source_row = 21"
    assert value(db, repaired) == "bad\ufffd"


def test_text_without_its_mark_is_text(tmp_path):
    for kind in (pyarrow.binary(), pyarrow.large_binary(), pyarrow.string()):
        texts = pyarrow.array([b"caf\xc3\xa9", b"\xff"], pyarrow.binary())
        texts = texts.view(kind) if pyarrow.types.is_string(kind) else texts.cast(kind)
        found = read(tmp_path / "t.parquet", {"a_id": texts})
        assert [row.values[0] for row in found if isinstance(row, Row)] == ["café", "\ufffd"]
        (reject,) = [one for one in found if isinstance(one, Reject)]
        assert (reject.reason, reject.landed) == ("not utf-8", True)
    fixed = pyarrow.array([b"ab", b"\x00\xff"], pyarrow.binary(2))
    assert extra(tmp_path / "t.parquet", fixed) == ["ab", "00ff"]


def test_ids_and_numbers_of_foreign_writers(tmp_path):
    for values in ([9001.0, 900101000000.0], [Decimal("9001.00"), Decimal("900101000000.00")]):
        found = read(tmp_path / "t.parquet", {"a_id": pyarrow.array(values)})
        assert [row.values[0] for row in found if isinstance(row, Row)] == ["9001", "900101000000"]
    none = pyarrow.array([9001.0, float("nan"), float("-inf")])
    found = read(tmp_path / "t.parquet", {"a_id": none})
    assert [row.values[0] for row in found if isinstance(row, Row)] == ["9001", None, None]
    lists = pyarrow.array([[1.0, float("nan")]])
    found = read(tmp_path / "t.parquet", {"a_id": ["x"], "day": lists})
    assert [row.values[1] for row in found if isinstance(row, Row)] == ["[1,null]"]
    small = pyarrow.array([1.1, 2.0, 1e20, float("nan"), 16777216.0], pyarrow.float32())
    texts = ["1.1", "2", "100000000000000000000", "nan", "16777216"]
    assert extra(tmp_path / "t.parquet", small) == texts


def test_an_id_that_a_float_has_rounded_is_none(tmp_path):
    doubles = pyarrow.array([2.0**53 - 1, 2.0**53, 1.2345678901234568e17])
    for values, ids in (
        (doubles, ["9007199254740991", "9.007199254740992E+15", "1.23456789012345680E+17"]),
        (pyarrow.array([2.0**24 - 1, 2.0**24], pyarrow.float32()), ["16777215", "1.6777216E+7"]),
    ):
        found = read(tmp_path / "t.parquet", {"a_id": values, "mail": values})
        assert [row.values[0] for row in found if isinstance(row, Row)] == ids
        numbers = [str(int(value.as_py())) for value in values]
        assert [row.values[2] for row in found if isinstance(row, Row)] == numbers


def test_a_uuid_is_one_also_if_its_bytes_are_letters(tmp_path):
    uuids = pyarrow.array([b"abcdefghABCDEFGH", None], pyarrow.uuid())
    shown = ["61626364-6566-6768-4142-434445464748", None]
    for with_schema in (True, False):
        columns = {"a_id": uuids, "v": uuids}
        found = read(tmp_path / "t.parquet", columns, store_schema=with_schema)
        assert [row.values[0] for row in found if isinstance(row, Row)] == shown


def test_a_list_is_one_however_it_is_kept(tmp_path):
    text = pyarrow.string()
    for kind in (pyarrow.list_(text, 2), pyarrow.large_list(text), pyarrow.list_view(text)):
        assert extra(tmp_path / "t.parquet", pyarrow.array([["a", "b"], None], kind)) == [
            ["a", "b"],
            None,
        ]


def test_dates_kept_as_timestamps_are_dates(tmp_path):
    moments = [datetime(2026, 1, 5), datetime(2026, 1, 5, 1)]
    for unit in ("s", "ms", "us", "ns"):
        days = pyarrow.array(moments, pyarrow.timestamp(unit))
        found = read(tmp_path / "t.parquet", {"a_id": ["x", "y"], "day": days})
        texts = [row.values[1] for row in found if isinstance(row, Row)]
        assert texts == ["2026-01-05", "2026-01-05T01:00:00"]


def test_int96_at_any_date(tmp_path):
    moments = [datetime(9999, 12, 31, 23, 59, 59), datetime(1500, 1, 1), datetime(2026, 1, 5)]
    found = extra(
        tmp_path / "t.parquet",
        pyarrow.array(moments, pyarrow.timestamp("us")),
        use_deprecated_int96_timestamps=True,
    )
    assert found == ["9999-12-31T23:59:59", "1500-01-01T00:00:00", "2026-01-05T00:00:00"]


def test_undeclared_values_of_any_range_land(tmp_path):
    path = tmp_path / "t.parquet"
    far = pyarrow.array(
        [253402318799000000, -62135596800000001, -1], pyarrow.timestamp("us", "UTC")
    )
    assert extra(path, far) == [
        "10000-01-01T04:59:59Z",
        "0000-12-31T23:59:59.999999Z",
        "1969-12-31T23:59:59.999999Z",
    ]
    odd = pyarrow.array([0], pyarrow.timestamp("us", "Mars/Olympus"))
    assert extra(path, odd) == ["1970-01-01T00:00:00Z"]
    nanoseconds = pyarrow.array([-1, 1, 1_500], pyarrow.timestamp("ns"))
    assert extra(path, nanoseconds) == [
        "1969-12-31T23:59:59.999999999",
        "1970-01-01T00:00:00.000000001",
        "1970-01-01T00:00:00.0000015",
    ]
    for column in (
        pyarrow.array([2932897, -800000], pyarrow.date32()),
        pyarrow.array([[far[0].value]], pyarrow.list_(pyarrow.timestamp("us", "UTC"))),
        pyarrow.array([{"x": 2**62}], pyarrow.struct([("x", pyarrow.timestamp("us"))])),
        pyarrow.array([[("k", 1)]], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
        pyarrow.array([5], pyarrow.duration("s")),
        pyarrow.array([1], pyarrow.time64("ns")),
        pyarrow.array([None, None], pyarrow.null()),
    ):
        assert len(extra(path, column)) == len(column)


def test_a_column_below_a_struct_is_found(tmp_path):
    contact = [{"mail": "a@x", "fax": "1"}, None]
    found = read(tmp_path / "t.parquet", {"ID": ["1", "2"], "contact": contact})
    assert [(row.values[2], row.extra) for row in found if isinstance(row, Row)] == [
        ("a@x", '{"contact.fax":"1"}'),
        (None, None),
    ]


def test_a_value_over_64_mib_is_refused(tmp_path):
    giant = ["x" * (80 << 20), "y"]
    for compression in ("zstd", "snappy", "none"):
        with pytest.raises(UnreadableError, match="larger than 64 MiB"):
            read(tmp_path / "t.parquet", {"a_id": giant}, compression=compression)


def test_times_keep_their_moment_in_every_zone(tmp_path):
    moments = [datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 5, tzinfo=IST)]
    found = extra(tmp_path / "t.parquet", pyarrow.array(moments))
    assert found == ["2026-01-05T00:00:00Z", "2026-01-04T18:30:00Z"]


def test_of_a_dictionary_only_what_the_rows_have_is_read(tmp_path):
    file = RawFile("t.parquet", tmp_path, "parquet", False, 0, 0)
    known = pyarrow.array(["a", "x" * (65 << 20)])  # which would be too large
    few = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0, None, 0]), known)
    assert plain(few, file) == ["a", None, "a"]
    damaged = pyarrow.DictionaryArray.from_arrays(pyarrow.array([7]), known, safe=False)
    with pytest.raises(UnreadableError, match="is damaged"):
        plain(damaged, file)


def test_a_dictionary_that_its_writer_gave_up_is_not_gathered_for_a_row_group(tmp_path):
    values = [f"{number:0100}" for number in range(300_000)]
    write_parquet(path := tmp_path / "t.parquet", {"id": values})
    file = RawFile(path.name, path, "parquet", False, path.stat().st_size, 0)
    pool = pyarrow.proxy_memory_pool(before := pyarrow.default_memory_pool())
    pyarrow.set_memory_pool(pool)
    try:
        assert [row.values[0] for row in read_parquet(file, MAPPING)] == values
    finally:
        pyarrow.set_memory_pool(before)
    assert pool.max_memory() < 20 << 20


def test_nested_text_is_read_across_row_groups_which_have_a_dictionary_each(tmp_path):
    contacts = [{"mail": f"{number % 3}@example.com"} for number in range(10)]
    columns = {"a_id": list(map(str, range(10))), "contact": contacts, "v": [["x"], ["y"]] * 5}
    found = read(tmp_path / "t.parquet", columns, row_group_size=3)
    values = [[str(n), None, f"{n % 3}@example.com"] for n in range(10)]
    assert [row.values for row in found if isinstance(row, Row)] == values
    assert [row.number for row in found] == list(range(1, 11))


@pytest.mark.parametrize("kind", [pyarrow.string_view(), pyarrow.binary_view()])
def test_views_of_text_are_text(tmp_path, kind):
    values = pyarrow.array(["a", "é"], kind)
    assert extra(tmp_path / "t.parquet", values, use_dictionary=False) == ["a", "é"]
