"""What Spark takes apart of JSON lines by itself is what the loaders' reader makes of them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.raw_days import write_day
from benchmarks.spark import as_json_lines
from loaders.files import RawFile
from loaders.plan import Scanned
from loaders.readers.json_strict import Strict
from loaders.readers.mapping import Mapping
from loaders.readers.rows import Found, Reject, Row
from loaders.sources import PROJECT, Table, declared_tables
from loaders.spark import lines, session
from loaders.spark.shapes import NAMES, Shape, find_shapes, needs_python
from loaders.spark.tasks import LEFT

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
TABLE = declared_tables()["stg_transactions"]

PLAIN = [
    *("1.10", "1e5", "1E+30", "-0", "-0.0", "0", "9007199254740993", "123456789012345678901.10"),
    *("true", "false", "null", '"x"', '""', '" "', '"null"', '"[1, 2]"', '"$1"', '"a:1,{}[]"'),
    *('"Zoë 😀"', '"\x7f\u2028\ufeff"', "[]", "[ ]", "[1, 2.50 ,\t-0]", '["a, b" , null,true]'),
    *('[[1 , "x"],[ ]]', "[" + ",".join(map(str, range(5000))) + "]"),
]
DOUBTFUL = [
    *(r'"\u00e9"', r'"\u0000"', r'"\ud800"', r'"a\"b"', r'"\/"', '"a\tb"', '"\x01"', '"\0"'),
    *("NaN", "Infinity", "-", "01", "-01", "1.", ".5", "+1", "1e", "0x1", "nul", "True", "'x'"),
    *(
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1",
        "1]",
        "[[[1]]]",
        '[{"a": 1, "a": 2}]',
        "{",
        "}",
        '"',
        "",
        "{,}",
    ),
    *("1e99999", "9" * 20_000, '{"a": 1, "a": 2}', '{"a": {"b": 1}}', '{"a": 1} {"b": 2}'),
    *(b'"caf\xe9"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\xf5\x80\x80\x80"', b'"\xff"'),
]


def line(values: Iterator[bytes], blank: Any) -> bytes:
    """A record as an API gives it, with undeclared fields at every depth, one with a dollar."""

    def pair(name: str, value: bytes) -> bytes:
        return blank() + f'"{name}"'.encode() + blank() + b":" + blank() + value + blank()

    def record(*pairs: bytes) -> bytes:
        return b"{" + b",".join(pairs) + b"}"

    inner = record(
        pair("exponent", next(values)),
        pair("cost$1", next(values)),
        pair("deep", record(pair("ä", next(values)), pair("empty", record()))),
        pair("exchangeRate", next(values)),
    )
    return record(
        pair("id", next(values)),
        pair("currencyData", inner),
        pair("userName", next(values)),
        pair("user_name", next(values)),
        pair("childTransactionIds", next(values)),
        pair("userUuid", record(pair("of", next(values)))),
    )


def generated(count: int) -> list[bytes]:
    """Lines whose values are mostly plain, and some that are broken or have another shape."""
    chance = random.Random(6)

    def value() -> bytes:
        one = chance.choice(DOUBTFUL if chance.random() < 0.03 else PLAIN)
        return one if isinstance(one, bytes) else one.encode()

    def blank() -> bytes:
        return chance.choice([b" ", b"\t", b" \r "]) if chance.random() < 0.05 else b""

    found = []
    for _ in range(count):
        made = line(iter(value, None), blank)
        at, end = sorted(chance.choices(range(len(made)), k=2))
        match chance.randrange(30):
            case 0:
                made = made[:at] + chance.choice([b",", b"}", b"{", b'"', b":", b"]"]) + made[at:]
            case 1:
                made = made[:at] + made[end:]
            case 2:
                made = made[:-1] + b',"id":2}'
            case 3:
                made = made[:-1] + b',"status":"new"}'
            case 4:
                made = b'{"currencyData":null,"id":' + value() + b"}\r"
            case 5:
                made = b'{"currencyData":' + value() + b',"id":1}'
        found.append(made.replace(b"\n", b""))
    return found


def strictly(raw: bytes, table: Table, found: Found) -> list[Row | Reject]:
    """The line by the reader that decides what a record is."""
    return list(Strict(Mapping(table), found).line(raw.decode("utf-8", "surrogateescape")))


def is_record(raw: bytes) -> bool:
    """Whether the line is one record, good or bad."""
    return raw[:1] == b"{" and len(strictly(raw, TABLE, Found())) == 1


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_MASTER", "local[2]")
        patch.setitem(session.SETTINGS, "spark.driver.memory", "1g")
        with session.session("shapes") as made:
            yield made


def shapes_of(path: Path, content: list[bytes], table: Table = TABLE) -> list[Shape]:
    path.write_bytes(b"\n".join(content))
    file = RawFile(path.name, path, "json", False, path.stat().st_size, 0)
    return find_shapes([Scanned(file, "")], table)


def by_spark(
    spark: SparkSession, content: list[bytes], shapes: list[Shape], table: Table = TABLE
) -> dict[int, tuple[Shape, list[str | None], str | None]]:
    """What Spark makes of the lines that it doesn't leave to Python, by their place."""
    import pyarrow

    numbered = {"raw": content, "path": ["p"] * len(content), "number": range(len(content))}
    frame = spark.createDataFrame(pyarrow.table(numbered))
    # a cast leaves the bytes as they are, as a text file's lines are
    frame = frame.selectExpr("cast(raw as string) as value", "path", "number")
    found = lines.json_rows(frame, table, shapes).collect()
    left = frame.where(needs_python(shapes)).count()
    assert left == sum(row.kind == LEFT for row in found)
    width = len(table.columns)
    return {
        row._source_row: (shapes[row._shape], row[:width], row._extra)
        for row in found
        if row.kind != LEFT
    }


def check_as_python(
    raw: bytes, made: tuple[Shape, list[str | None], str | None], table: Table = TABLE
) -> None:
    fields = Found()
    (row,) = strictly(raw, table, fields)
    assert isinstance(row, Row), raw
    shape, values, extra = made
    assert list(values) == list(row.values), raw
    assert digits(extra) == digits(row.extra), raw
    assert (shape.seen, shape.unknown) == (fields.seen, fields.unknown), raw


def digits(text: str | None) -> Any:
    """As jsonb keeps it: without blanks, with every digit."""
    return text and json.loads(text, parse_float=lambda n: [n], parse_int=lambda n: [n])


@pytest.mark.parametrize("inside", [False, True])
def test_each_value_goes_where_it_should(spark: SparkSession, tmp_path: Path, inside: bool) -> None:
    form = b'{"id":"t","currencyData":{"odd":%s}}' if inside else b'{"budgetId": %s ,"id":"t"}'
    shapes = shapes_of(tmp_path / "t.json", [form % b"1"])
    values = [one if isinstance(one, bytes) else one.encode() for one in (*PLAIN, *DOUBTFUL)]
    content = [form % value for value in values]
    found = by_spark(spark, content, shapes)
    assert set(found) == set(range(len(PLAIN)))
    for place, made in found.items():
        check_as_python(content[place], made)


def test_real_records_need_no_python(spark: SparkSession, tmp_path: Path) -> None:
    """The lines that are measured, and the records of the sample days."""
    path = as_json_lines(write_day(tmp_path, 0, transactions=range(50)))
    kinds = {"stg_transactions": path.read_bytes().splitlines()}
    # Java's stack holds a pattern of so many names
    wide = {f"n{n}": [n] for n in range(NAMES)}
    kinds["stg_roles"] = [json.dumps(wide).encode(), json.dumps(wide | {"n0": None}).encode()]
    for name in ("agent_details", "cards"):
        for place in PROJECT.glob(f"tests/sample/day1/{name}/*"):
            page = json.loads(place.read_text())
            records = page["results"] if isinstance(page, dict) else page
            plain = [one for one in map(json.dumps, records) if "\\" not in one]
            kinds.setdefault(f"stg_{name}", []).extend(one.encode() for one in plain)
    for name, content in kinds.items():
        table = declared_tables()[name]
        found = by_spark(spark, content, shapes_of(tmp_path / name, content, table), table)
        assert len(found) == len(content) > 1, name
        for place, made in found.items():
            check_as_python(content[place], made, table)


@pytest.mark.parametrize(
    "record",
    [
        *('{"id":1,"id":2}', '{"a":{"b":1,"b":2}}', '{"a\\"":1}', '{"\\ud800":1}', "[1]", "1", "{"),
        *('{"currencyData":[]}', "[" * 100_000, json.dumps({str(n): n for n in range(300)})),
    ],
)
def test_no_shape_is_made_of_odd_records(tmp_path: Path, record: str) -> None:
    assert shapes_of(tmp_path / "t.json", [record.encode()]) == []
