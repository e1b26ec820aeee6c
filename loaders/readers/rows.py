"""What readers return: rows as text or as bytes for COPY, rejects, and the fields they found."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from loaders.errors import DaybookError

# A record or a value larger than this is a broken file (an open quote, a missing bracket).
RECORD_LIMIT = 64 << 20
RAW_TEXT_LIMIT = 1 << 20
# Field names can be data (a map keyed by ids): the ledger needs some of them, not all.
UNKNOWN_LIMIT = 100
IN_MEMORY = 8 << 20  # characters of rejects; more are kept on disk
PIECE = 1 << 18  # bytes of rows in one piece for COPY


class UnreadableError(DaybookError):
    """A file's content can't be used at all: its table fails, and the ledger says so.

    `begins` quotes what the file begins with: people see it, ledgers and webhooks don't get it.
    """

    def __init__(self, message: str, begins: str = "") -> None:
        super().__init__(f"{message} {begins}".rstrip())
        self.public, self.begins = message, begins

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.public, self.begins)


class Row(NamedTuple):
    """A record to land: its number in the file, its columns' text, its other fields as JSON."""

    number: int
    values: Sequence[str | None]
    extra: str | None


@dataclass(frozen=True)
class Reject:
    """A record whose raw text is kept: it can't land, or it has `landed` with repaired values."""

    number: int
    reason: str
    raw: str
    landed: bool = False


Records = Iterator[Row | Reject]
# Rows as CSV for COPY, in which NULL is a bare null, and the number of rows.
Pieces = Iterator[tuple[bytes, int]]


def nowhere(_reject: Reject) -> None:
    """Drop a reject."""


@dataclass
class Observed:
    """What reading a table's files found besides rows. Rejects go to `put_aside`.

    `records`: how many, by file. `never`: the expected columns that no JSON record had, by their
    index; None before the first record. `absent`: those that a header lacks. `unknown`:
    undeclared fields. For the file being read, `keyed`: a record has the key; `blank`: it has no
    content. `with_key`: the JSON files of which a slice has the key; `keyless`: for a slice without
    it, the file's error.
    """

    put_aside: Callable[[Reject], None] = nowhere
    never: dict[int, str] | None = None
    absent: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    keyed: bool = False
    blank: bool = False
    landed: int = 0
    rejected: int = 0
    repaired: int = 0
    records: Counter[str] = field(default_factory=Counter)
    with_key: set[str] = field(default_factory=set)
    keyless: dict[str, UnreadableError] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "put_aside": nowhere}

    def add(self, other: Observed) -> None:
        """Add what was found in other files or slices of the table, maybe by another process."""
        self.landed += other.landed
        self.rejected += other.rejected
        self.repaired += other.repaired
        self.records.update(other.records)
        self.with_key |= other.with_key
        self.keyless = other.keyless | self.keyless
        if self.never is None or other.never is None:
            self.never = other.never if self.never is None else self.never
        else:
            self.never = dict(self.never.items() & other.never.items())
        self.absent |= other.absent
        for name in sorted(other.unknown):
            self.note_field(name)

    def note_field(self, name: str) -> None:
        """Add an undeclared field; after UNKNOWN_LIMIT none is kept."""
        if len(self.unknown) < UNKNOWN_LIMIT:
            self.unknown.add(name)

    def missing(self) -> set[str]:
        """The declared columns that a header lacks or that no JSON record had."""
        return self.absent | set((self.never or {}).values())

    def check_keys(self) -> None:
        """UnreadableError where no slice of a file has the key."""
        for path, error in self.keyless.items():
            if path not in self.with_key:
                raise error


class Rejects:
    """Rejects, each a line of JSON: path, record number, reason, raw text, whether it landed
    repaired."""

    def __init__(self) -> None:
        self._lines = tempfile.SpooledTemporaryFile(  # noqa: SIM115
            max_size=IN_MEMORY, mode="w+", encoding="utf-8"
        )

    def add(self, text: str) -> None:
        self._lines.write(text)

    def blocks(self) -> Iterator[str]:
        """All lines as text, in pieces."""
        self._lines.seek(0)
        return iter(partial(self._lines.read, IN_MEMORY), "")

    def __iter__(self) -> Iterator[list[Any]]:
        self._lines.seek(0)
        return map(json.loads, self._lines)


class Digits(str):
    """A JSON number as the file wrote it: 1.10 stays 1.10, and 2^53 + 1 keeps its last digit. NaN
    and Infinity, which JSON lacks, are such numbers too."""

    __slots__ = ()

    @property
    def finite(self) -> bool:
        return not self[-1:].isalpha()


class Rounded(Digits):
    """A whole number that is too large for a float to have all its digits, and went through one."""

    __slots__ = ()


def is_key(value: Any) -> bool:
    """Whether a JSON value can be (part of) a key."""
    if isinstance(value, Digits):
        return value.finite
    return value is not None and not isinstance(value, (dict, list))


def has_value(value: Any) -> bool:
    """Whether a value is more than null or blank text."""
    return value is not None and not (isinstance(value, str) and not value.strip())


UNSTORABLE = re.compile("[\0\ud800-\udfff]")
# Stands for a NUL in JSON text: json accepts no control character inside a string.
NUL = "\udc00"
_WHY = {"\0": "nul byte", NUL: "nul byte"}


def why_unstorable(text: str) -> str | None:
    """Why Postgres can't store `text`, or None; bad bytes are \\udc80 to \\udcff in it."""
    if not (bad := UNSTORABLE.search(text)):
        return None
    return _WHY.get(bad[0]) or ("not utf-8" if "\udc80" <= bad[0] <= "\udcff" else "lone surrogate")


def repaired(value: Any) -> Any:
    """`value` with U+FFFD for each character that Postgres can't store, in all its strings."""
    if isinstance(value, Digits) or value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [repaired(item) for item in value]
    return {UNSTORABLE.sub("\ufffd", name): repaired(item) for name, item in value.items()}


def raw_text(raw: str) -> str:
    """`raw` as Postgres can store it: bad bytes and NULs shown escaped, cut at 1 MiB."""
    kept = raw[:RAW_TEXT_LIMIT].replace(NUL, "\0").encode("utf-8", "surrogateescape")
    text = kept.decode("utf-8", "backslashreplace").replace("\0", "\\x00")
    return text[:RAW_TEXT_LIMIT]


def json_text(value: Any, *, for_jsonb: bool = False) -> str:
    """`value` as JSON, numbers with their own digits. NaN and Infinity become null. For jsonb they,
    and numbers that it can't hold, become text."""
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, Digits):
        if for_jsonb:
            return value if value.finite and _fits_jsonb(value) else f'"{value}"'
        return value if value.finite else "null"
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, list):
        return "[" + ",".join([json_text(item, for_jsonb=for_jsonb) for item in value]) + "]"
    pairs = [
        f"{encode_basestring(name)}:{json_text(item, for_jsonb=for_jsonb)}"
        for name, item in value.items()
    ]
    return "{" + ",".join(pairs) + "}"


def text_of(value: Any) -> str | None:
    """The text that lands for a value: lists and objects as JSON."""
    return value if value is None or isinstance(value, str) else json_text(value)


_EXPONENT = re.compile(r"[eE]([+-]?[0-9]+)$")


def _fits_jsonb(number: str) -> bool:
    # numeric holds 131072 digits before and 16383 behind the point
    if len(number) > 10_000:
        return False
    exponent = _EXPONENT.search(number)
    return exponent is None or (len(exponent[1]) < 9 and abs(int(exponent[1])) < 5_000)


def cell(text: str | None) -> str:
    """A value as a cell of COPY's CSV."""
    return "null" if text is None else '"' + text.replace('"', '""') + '"'


def line(row: Row) -> bytes:
    """A row's cells, without its lineage."""
    return ",".join([*map(cell, row.values), cell(row.extra)]).encode()


def line_end(path: str) -> bytes:
    """The lineage that ends each line of a file, with %d for the record's number."""
    return f",{cell(path)},".replace("%", "%%").encode() + b"%d\n"


def pieces(records: Records, path: str, observed: Observed) -> Pieces:
    """Rows as bytes for COPY; rejects go to `observed`."""
    end = line_end(path)
    lines: list[bytes] = []
    size = 0
    for record in records:
        if isinstance(record, Reject):
            observed.put_aside(record)
            continue
        lines.append(line(record) + end % record.number)
        size += len(lines[-1])
        if size > PIECE:
            yield b"".join(lines), len(lines)
            lines, size = [], 0
    if lines:
        yield b"".join(lines), len(lines)
