"""Changes to single values: they undo a foreign writer's habits and do what is declared."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from zoneinfo import ZoneInfo

from loaders.errors import UsageError
from loaders.readers.rows import Digits, Rounded, json_text
from loaders.schema import Column, Table

HASH_KEY = "DAYBOOK_HASH_KEY"
SHORTEST_KEY = 16  # characters: if a shorter one is guessed, so is each name
Treat = Callable[[str | None], str | None]

_WHOLE = re.compile(r"[ \t]*([+-]?[0-9]+)\.0+[ \t]*")
_MIDNIGHT = re.compile(
    r"([0-9]{4,}-[0-9]{2}-[0-9]{2})[T ]00:00(?::00(?:\.0+)?)?(?:Z|[+-]00:?(?:00)?)?"
)
_NO_OFFSET = re.compile(r"\s*([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]+)\s*")
NUMBERS = ("bigint", "integer", "numeric")
EPOCHS = {"%s": "seconds", "%Q": "milliseconds"}  # since 1970


def whole_id(text: str | None) -> str | None:
    """An id that went through a float: 9001.0 becomes 9001, a float NaN or Infinity null, and what
    has lost digits gets an exponent, with which it is no id. The text `nan` stays."""
    if isinstance(text, Digits) and not text.finite:
        return None
    if isinstance(text, Rounded):
        return f"{Decimal(text):E}"
    return match[1] if text and (match := _WHOLE.fullmatch(text)) else text


def plain_date(text: str | None) -> str | None:
    """A date that was kept as midnight: 2026-01-05T00:00:00Z becomes 2026-01-05."""
    return match[1] if text and (match := _MIDNIGHT.fullmatch(text)) else text


def _mapped(values: dict[str, str], text: str | None) -> str | None:
    """Theirs becomes ours; a value that is not among them becomes the `*`'s where there is one."""
    if text is None or not text.strip():
        return text
    is_none = isinstance(text, Digits) and not text.finite
    other = text if is_none else values.get("*", text)
    return values.get(text, values.get(text.strip(), other))


def _decimal_point(pattern: re.Pattern[str], text: str | None) -> str | None:
    """1.234,50 becomes 1234.50. What the pattern does not match stays, and so does a value that is
    a number in the file, and not text."""
    match = text and not isinstance(text, Digits) and pattern.fullmatch(text)
    if not match:
        return text
    sign, whole, part = match.group("sign", "whole", "part")
    is_negative = sign in ("-", "\u2212") or match["open"] or match["after"]
    return "-" * bool(is_negative) + re.sub("[^0-9]", "", whole) + (f".{part}" if part else "")


def _number_pattern(decimal: str) -> re.Pattern[str]:
    """Matches a number as text: with this decimal sign, another sign between thousands, and perhaps
    a currency's before or after it. Less than zero is -1, accountants' (1) or SAP's 1-."""
    between = ".,'\u2019 \u00a0\u202f".replace(decimal, "")
    whole = rf"[0-9]+|[0-9]{{1,3}}(?P<by>[{between}])[0-9]{{3}}((?P=by)[0-9]{{3}})*"
    # possessive: a million blanks are tried in one way
    return re.compile(
        rf"\s*+(?P<currency>[$€£¥])?+\s*+((?P<open>\()|(?P<sign>[-+\u2212]))?+\s*+"
        rf"(?(currency)|[$€£¥]?+)\s*+(?P<whole>{whole})([{decimal}](?P<part>[0-9]+))?"
        r"\s*+[$€£¥]?+\s*+(?(open)\)|(?(sign)|(?P<after>-)?+))\s*+"
    )


def _scaled(places: int, text: str | None) -> str | None:
    """12.5 becomes 1250 where the point moves two places: exact, as only digits move."""
    match = text and re.fullmatch(r"\s*([+-]?[0-9]+)(?:\.([0-9]+))?([eE][+-]?[0-9]{1,9})?\s*", text)
    if not match:
        return text
    whole, part, power = match.groups(default="")
    if power:
        return f"{whole}.{part or 0}e{int(power[1:]) + places}"
    part = part.ljust(places, "0")
    rest = part[places:].rstrip("0")
    return re.sub("^([+-]?)0+(?=[0-9])", r"\1", whole + part[:places]) + (
        f".{rest}" if rest else ""
    )


def _negated(text: str | None) -> str | None:
    """12.50 becomes -12.50, and -12.50 becomes 12.50."""
    match = text and re.fullmatch(r"\s*([+-]?)([0-9][0-9.]*([eE][+-]?[0-9]+)?)\s*", text)
    return ("" if match[1] == "-" else "-") + match[2] if match else text


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


def _with_offset(zone: ZoneInfo, text: str | None) -> str | None:
    """A time without an offset gets the zone's: of an hour that comes twice the first is meant.
    A date alone stays, as in UTC it could be the day before."""
    if not (match := _NO_OFFSET.fullmatch(text or "")):
        return text
    try:
        moment = datetime.fromisoformat(match[1]).replace(tzinfo=zone)
        in_utc = moment.astimezone(UTC)  # fails outside of the years that typing takes
    except (ValueError, OverflowError):
        return text
    local = moment.isoformat()
    # before there was standard time an offset had seconds, which typing does not take
    return local if local[-6] in "+-" else in_utc.isoformat()


def _listed(separator: str, text: str | None) -> str | None:
    """9001; 9002 becomes ["9001","9002"], and what has no part null. JSON stays."""
    if text and text.lstrip().startswith(("[", '{"', "{}")):
        return text
    parts = [part.strip() for part in f" {whole_id(text) or ''} ".split(separator)]
    return json_text([part for part in parts if part]) if any(parts) else None


def _default(default: str, text: str | None) -> str | None:
    return text if text and text.strip() else default


def hashed(text: str | None) -> str | None:
    """The value's HMAC-SHA256 by DAYBOOK_HASH_KEY, as hex. Blanks around a value don't count, so
    equal values are equal in all tables. UsageError without a key that is long enough."""
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
    """A pattern that finds, in bytes of cells, values that a habit may change; None without any."""
    end = re.escape(delimiter.encode())
    marks = {whole_id: rb"\.0+[ \t]*(?:[\"\r\n%b]|$)" % end, plain_date: rb"[T ]00:00"}
    looks = [mark for habit, mark in marks.items() if habit in habits.values()]
    return re.compile(b"|".join(looks)) if looks else None


def habit_of(table: Table, column: Column) -> Treat | None:
    """What undoes a foreign writer's habit: ids as floats, dates as moments."""
    if table.is_id(column):
        return whole_id
    return plain_date if column.data_type == "date" else None


def declared_of(table: Table, column: Column) -> Treat | None:
    """What the declaration asks for, as one function; None for nothing."""
    decimal = table.decimal if column.data_type in NUMBERS else ""
    return chained(
        partial(_mapped, dict(column.values)) if column.values else None,
        partial(_decimal_point, _number_pattern(decimal)) if decimal else None,
        partial(_scaled, column.scale) if column.scale else None,
        _negated if column.negate else None,
        partial(_iso, column.formats, column.data_type == "date") if column.formats else None,
        partial(_with_offset, ZoneInfo(column.timezone)) if column.timezone else None,
        partial(_listed, column.separator) if column.separator else None,
        partial(_default, column.default) if column.default is not None else None,
        hashed if column.hash else None,
    )


def chained(*steps: Treat | None) -> Treat | None:
    """One function that does the steps in order; None when there are none."""
    wanted = [step for step in steps if step]
    if len(wanted) < 2:
        return wanted[0] if wanted else None
    return partial(_chain, wanted)
