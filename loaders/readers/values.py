"""What landing does to a single value: what a foreign writer did to it, and what is declared."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from loaders.errors import UsageError
from loaders.readers.rows import Digits
from loaders.schema import Column, Table

HASH_KEY = "DAYBOOK_HASH_KEY"
SHORTEST_KEY = 16  # characters: a shorter one is soon guessed, and with it each name
Treat = Callable[[str | None], str | None]

_WHOLE = re.compile(r"[ \t]*([+-]?[0-9]+)\.0+[ \t]*")
_MIDNIGHT = re.compile(
    r"([0-9]{4,}-[0-9]{2}-[0-9]{2})[T ]00:00(?::00(?:\.0+)?)?(?:Z|[+-]00:?(?:00)?)?"
)
NUMBERS = ("bigint", "integer", "numeric")
EPOCHS = {"%s": "seconds", "%Q": "milliseconds"}  # since 1970


def whole_id(text: str | None) -> str | None:
    """An id that went through a float: 9001.0 is 9001, and a float that is no number is none.
    Everything else stays as it is, the text `nan` too."""
    if isinstance(text, Digits) and not text.finite:
        return None
    return found[1] if text and (found := _WHOLE.fullmatch(text)) else text


def plain_date(text: str | None) -> str | None:
    """A date that was kept as midnight: 2026-01-05T00:00:00Z is 2026-01-05."""
    return found[1] if text and (found := _MIDNIGHT.fullmatch(text)) else text


def _mapped(values: dict[str, str], text: str | None) -> str | None:
    if text is None:
        return None
    return values.get(text, values.get(text.strip(), text))


def _decimal_point(written: re.Pattern[str], text: str | None) -> str | None:
    """1.234,50 as 1234.50 where that is how numbers are written; what is no number by these rules
    stays as it is, and what a file has as a number, not as its text."""
    found = text and not isinstance(text, Digits) and written.fullmatch(text)
    if not found:
        return text
    sign, whole, part = found.group("sign", "whole", "part")
    return sign + re.sub("[^0-9]", "", whole) + (f".{part}" if part else "")


def _written(decimal: str) -> re.Pattern[str]:
    """How numbers are written with this sign before a fraction: another one between thousands, and
    perhaps a currency's before or behind it."""
    between = ".,'\u2019 \u00a0\u202f".replace(decimal, "")
    whole = rf"[0-9]+|[0-9]{{1,3}}(?P<by>[{between}])[0-9]{{3}}((?P=by)[0-9]{{3}})*"
    return re.compile(
        rf"\s*(?P<sign>[+-]?)\s*[$€£¥]?\s*(?P<whole>{whole})([{decimal}](?P<part>[0-9]+))?\s*[$€£¥]?\s*"
    )


def _scaled(places: int, text: str | None) -> str | None:
    """12.5 as 1250 where the point moves two places: by its digits, so it is exact."""
    found = text and re.fullmatch(r"\s*([+-]?[0-9]+)(?:\.([0-9]+))?([eE][+-]?[0-9]{1,9})?\s*", text)
    if not found:
        return text
    whole, part, power = found.groups(default="")
    if power:
        return f"{whole}.{part or 0}e{int(power[1:]) + places}"
    part = part.ljust(places, "0")
    rest = part[places:].rstrip("0")
    return re.sub("^([+-]?)0+(?=[0-9])", r"\1", whole + part[:places]) + (
        f".{rest}" if rest else ""
    )


def _iso(formats: Sequence[str], date_only: bool, text: str | None) -> str | None:
    for form in formats if text else ():
        try:
            if unit := EPOCHS.get(form):
                moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(**{unit: float(str(text))})
            else:
                moment = datetime.strptime(str(text).strip(), form)
        except (ValueError, OverflowError):
            continue
        if date_only or not re.search("%[HIMScXTRpsQ]", form):
            return moment.date().isoformat()
        return moment.isoformat()
    return text


def _default(default: str, text: str | None) -> str | None:
    return text if text and text.strip() else default


def hashed(text: str | None) -> str | None:
    """The value's HMAC-SHA256 by DAYBOOK_HASH_KEY, as hex: equal for equal values, whatever table
    has them and whatever blanks are around them. UsageError without a key that is long enough."""
    key = os.environ.get(HASH_KEY, "").encode()
    if len(key) < SHORTEST_KEY:
        raise UsageError(
            f"The declaration has columns hashed: {HASH_KEY} has to be set, to {SHORTEST_KEY}"
            " characters or more that nobody guesses."
        )
    value = (text or "").strip()
    return hmac.digest(key, value.encode(), "sha256").hex() if value else None


def _chain(steps: Sequence[Treat], text: str | None) -> str | None:
    for step in steps:
        text = step(text)
    return text


def suspect(habits: Mapping[int, Treat], delimiter: str) -> re.Pattern[bytes] | None:
    """What finds in bytes of cells what one of the habits may change."""
    end = re.escape(delimiter.encode())
    marks = {whole_id: rb"\.0+[ \t]*(?:[\"\r\n%b]|$)" % end, plain_date: rb"[T ]00:00"}
    looks = [mark for habit, mark in marks.items() if habit in habits.values()]
    return re.compile(b"|".join(looks)) if looks else None


def habit_of(table: Table, column: Column) -> Treat | None:
    """What puts right that a foreign writer made an id a float, or a date a moment."""
    if table.is_id(column):
        return whole_id
    return plain_date if column.data_type == "date" else None


def declared_of(table: Table, column: Column) -> Treat | None:
    """What the declaration asks for, in the order in which it is done."""
    steps: list[Treat] = []
    if column.values:
        steps.append(partial(_mapped, dict(column.values)))
    if table.decimal and column.data_type in NUMBERS:
        steps.append(partial(_decimal_point, _written(table.decimal)))
    if column.scale:
        steps.append(partial(_scaled, column.scale))
    if column.formats:
        steps.append(partial(_iso, column.formats, column.data_type == "date"))
    if column.default is not None:
        steps.append(partial(_default, column.default))
    if column.hash:
        steps.append(hashed)
    return chained(*steps)


def chained(*steps: Treat | None) -> Treat | None:
    """One after the other; None of none."""
    wanted = [step for step in steps if step]
    if len(wanted) < 2:
        return wanted[0] if wanted else None
    return partial(_chain, wanted)
