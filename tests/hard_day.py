"""Transactions that are hard to read: odd values, broken lines, every layout of a file."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

PLAIN = [
    *("1.10", "1e5", "1E+30", "-0", "-0.0", "0", "9007199254740993", "123456789012345678901.10"),
    *("true", "false", "null", '"x"', '""', '" "', '"null"', '"[1, 2]"', '"$1"', '"a:1,{}[]"'),
    *('"Zoë 😀"', '"\x7f\u2028\ufeff"', "[]", "[ ]", "[1, 2.50 ,\t-0]", '["a, b" , null,true]'),
    *('[[1 , "x"],[ ]]', "[" + ",".join(map(str, range(5000))) + "]"),
]
DOUBTFUL = [
    *(r'"\u00e9"', r'"\u0000"', r'"\ud800"', r'"a\"b"', r'"\/"', '"a\tb"', '"\x01"', '"\0"'),
    *("NaN", "Infinity", "-", "01", "-01", "1.", ".5", "+1", "1e", "0x1", "nul", "True", "'x'"),
    *("[1,]", "[,1]", "[1 2]", "[1", "1]", "[[[1]]]", '[{"a": 1, "a": 2}]'),
    *("{", "}", '"', "", "{,}"),
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


def csv(count: int, end: str = "\n", *, quotes: bool = True, broken: bool = False) -> str:
    lines = ["amount_minor,transaction_id,odd,user_name,currency"]
    for n in range(count):
        names = ["Zoë", '"a, b"', '"say ""x"""', "", 'mid"d, le"x', '""', "a'b"]
        name = (names if quotes else ["Zoë", "", "a'b", " x "])[n % (7 if quotes else 4)]
        lines.append(f"{n},t{n},{'' if n % 3 else n},{name},EUR")
        if n % 100 == 50:
            lines.append("   " if n % 200 == 50 else "")
        if broken and n % 40 == 3:
            lines[-1] += ",more" if n % 80 == 3 else "\0"
    return end.join(lines) + end


def one_each(lines: list[bytes]) -> list[bytes]:
    """The lines that are one record each, good or broken."""
    single = []
    for one in lines:
        text = one.decode("utf-8", "surrogateescape")
        try:
            end = json.JSONDecoder().raw_decode(text)[1]
        except ValueError:
            end = len(text)
        if text[:1] == "{" and not text[end:].strip():
            single.append(one)
    return single


PLAIN_LINE = b'{"id":"t","status":"new"}'
# Files whose lines are their records: those that can be cut.
LINES: dict[str, str | bytes] = {
    "lines.jsonl": "\n".join(records(2000)),
    "broken lines.jsonl": "\n".join(
        line[:-1] + ',"x":}' if n % 50 == 7 else "\n" + line if n % 50 == 8 else line
        for n, line in enumerate(records(1000))
    )
    + "\n",
    "of many shapes.jsonl": b"\n".join(one_each(generated(600))),
    "bad utf-8.jsonl": "\n".join(records(100)).encode() + b'\n{"id": "caf\xe9"}\n',
    "byte order mark.json": b"\xef\xbb\xbf" + "\n".join(records(100)).encode(),
    "a line of lists.json": '{"id": "t", "tags": [{"a": 1}, {"b": "}x"}]} \r\n' * 200,
    "blanks before.jsonl": "\n \t".join([*records(80), '{"a": [}', *records(80)]) + "\r\n",
    "two columns.csv": "transaction_id,user_name\n" + "t,x\n" * 3000 + "t\n",
    "no quotes.csv": csv(2000, quotes=False),
    "carriage returns.csv": "\ufeff" + csv(700, "\r\n", quotes=False)[:-2],
    "broken.csv": csv(1500, quotes=False, broken=True)[:-1].encode() + b"\n1,caf\xe9,,,",
    "a blank line before the header.csv": "\n" + csv(600, quotes=False),
    "a byte order mark and a blank line.csv": "\ufeff \r\n" + csv(600, quotes=False),
}
# Files where a line may be no record, or more than one.
WHOLE: dict[str, str | bytes] = {
    "clean.csv": csv(3000),
    "broken with quotes.csv": csv(1500, broken=True),
    "a header alone.csv": "transaction_id\n",
    "anything.jsonl": b"\n".join([PLAIN_LINE, *generated(600), PLAIN_LINE]),
    "two objects in a line.jsonl": "\n".join([*records(300), *["{}{}"] * 3]),
    "a page in a line.jsonl": "\n".join([*records(100), '{"results": []}']),
    "a list like a page's.jsonl": "\n".join([*records(100), '{"id": "t", "results": [1]}']),
    "a page in another writing.jsonl": "\n".join([*records(100), r'{"r\u0065sults": []}']),
    "not an object.jsonl": "\n".join([*records(100), "7", *records(100)]),
    "page.json": '{"results": [' + ",".join(records(100)) + "]}",
    "array.json": "[" + ",\n".join(records(100)) + "]",
    "array.json.gz": "[" + ",\n".join(records(30)) + "]",
    "many lines a record.json": "\n".join(
        json.dumps(json.loads(one), indent=1) for one in records(100)
    ),
    "odd + {na*me} é.json": json.dumps({"id": "x", "n": 1.5}),
    "old line ends.csv": csv(300, "\r", quotes=False),
    "a mark in the middle.csv": csv(300, quotes=False) + "\ufeff" + csv(300, quotes=False),
    "line ends in fields.csv": csv(100) + '1,t,,"a\nb",EUR\n',
    "zipped.csv.gz": csv(20),
    "a long line.csv": csv(9, quotes=False) + "1,t,,EUR," + "x" * (2 << 20) + "\n",
}
# Snapshots that are refused.
REFUSED: dict[str, str | bytes] = {
    "budgets.jsonl": '{"budget": "b", "name": "B"}\n' * 900,
    "roles.jsonl": "".join(f'{{"id": "r{n}", "name": "R"}}\n' for n in range(900))
    + '{"id": "r", "na',
}
