"""How the fold reads landed texts: each reader gives (value, whether the text is of the type)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

Read = tuple[Any, bool]
NOT_ONE: Read = (None, False)
INTEGER = re.compile(r"([-+]?[0-9]+)(\.0+)?")
NUMERIC = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
WHOLE = re.compile(r"[+]?(-?[0-9]+)(\.0*)?")
SHEET_ERROR = re.compile(r"#(N/[A-Z]|NV|DIV/0!|[A-Z]+[!?])")
SHORTENED = re.compile(r"[-+]?[0-9]+([.,][0-9]+)?[eE][-+][0-9]+")
MOMENT = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"([Tt ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})"
    r"(:(?P<second>[0-9]{2})(\.(?P<fraction>[0-9]+))?)?"
    r"([Zz]| ?UTC"
    r"| ?(?P<sign>[+-])(?P<off_hour>[0-9]{2})(:?(?P<off_minute>[0-5][0-9]))?)?)?"
)


def blank(text: str | None) -> bool:
    return text is None or not text.strip()


def _text(text: str) -> Read:
    return text, True


def _id(text: str) -> Read:
    """Text without outer blanks; of a whole number neither a plus nor `.0`; nothing shortened, no
    spreadsheet's error."""
    bare = text.strip()
    if SHORTENED.fullmatch(bare) or SHEET_ERROR.fullmatch(bare) or len(text.encode()) > 1000:
        return NOT_ONE
    whole = WHOLE.fullmatch(bare)
    return (whole[1] if whole else bare), True


def _bigint(text: str) -> Read:
    whole = INTEGER.fullmatch(text)
    value = int(whole[1]) if whole else None
    return (value, True) if value is not None and -(2**63) <= value < 2**63 else NOT_ONE


def _integer_of_any_size(text: str) -> Read:
    return (Decimal(text), True) if INTEGER.fullmatch(text) else NOT_ONE


def _exponent(text: str) -> Read:
    value, is_valid = _bigint(text)
    return (value, True) if is_valid and 0 <= value <= 8 else NOT_ONE


def _numeric(text: str) -> Read:
    return (Decimal(text), True) if NUMERIC.fullmatch(text) else NOT_ONE


def _boolean(text: str) -> Read:
    return {"true": (True, True), "false": (False, True)}.get(text.lower(), NOT_ONE)


def _timestamptz(text: str) -> Read:
    found = MOMENT.fullmatch(text)
    if not found or int(found["off_hour"] or 0) > 15:
        return NOT_ONE
    part = {name: int(found[name] or 0) for name in ("hour", "minute", "second")}
    fraction = int((found["fraction"] or "").ljust(6, "0")[:6])
    offset = timedelta(hours=int(found["off_hour"] or 0), minutes=int(found["off_minute"] or 0))
    try:
        start = datetime.strptime(found["day"], "%Y-%m-%d")
        zone = timezone(-offset if found["sign"] == "-" else offset)
        moment = start.replace(**part, tzinfo=zone) + timedelta(microseconds=fraction)
    except ValueError:
        return NOT_ONE
    return moment.astimezone(UTC), True


def _date(text: str) -> Read:
    value, is_valid = _timestamptz(text)
    return (value.date(), True) if is_valid and len(text) == 10 else NOT_ONE


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _jsonb(text: str) -> Read:
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse), True
    except ValueError:
        return NOT_ONE


def _array(text: str) -> Read:
    """JSON null says nothing; whatever else is no array is invalid."""
    value, is_valid = _jsonb(text)
    return (value, True) if is_valid and (value is None or isinstance(value, list)) else NOT_ONE


def _lenient(text: str) -> Read:
    """A list of members: a malformed one is null, and no fault of its record."""
    return (None if list_of_ids(text) is None else _jsonb(text)[0]), True


def _ids(text: str) -> Read:
    """An array of ids; with what is none it is invalid."""
    read = _array(text)
    return read if read[0] is None or list_of_ids(text) is not None else NOT_ONE


def list_of_ids(text: str | None) -> list[str] | None:
    """The ids of a JSON array of numbers and texts; None when one of them is no id."""
    value, _ = (None, False) if blank(text) else _jsonb(text)
    if not isinstance(value, list):
        return None
    ids = []
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int | str | Decimal) or blank(str(item)):
            return None
        found, is_valid = _id(str(item))
        if not is_valid:
            return None
        ids.append(found)
    return ids


READERS: dict[str, Callable[[str], Read]] = {
    "text": _text,
    "id": _id,
    "integer_of_any_size": _integer_of_any_size,
    "exponent": _exponent,
    "numeric": _numeric,
    "boolean": _boolean,
    "timestamptz": _timestamptz,
    "date": _date,
    "array": _array,
    "ids": _ids,
    "lenient": _lenient,
}
