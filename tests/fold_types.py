"""The oracle's parsers: from a landed text to (value, whether the text is valid for the type)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

Parsed = tuple[Any, bool]
INVALID: Parsed = (None, False)
INTEGER = re.compile(r"([-+]?[0-9]+)(\.0+)?")
NUMERIC = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
WHOLE_NUMBER = re.compile(r"[+]?(-?[0-9]+)(\.0*)?")
SHEET_ERROR = re.compile(r"#(N/[A-Z]|NV|DIV/0!|[A-Z]+[!?])")
SCIENTIFIC = re.compile(r"[-+]?[0-9]+([.,][0-9]+[eE][-+]?|[eE][-+])[0-9]+")
TIMESTAMP = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"([Tt ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})"
    r"(:(?P<second>[0-9]{2})(\.(?P<fraction>[0-9]+))?)?"
    r"([Zz]| ?UTC"
    r"| ?(?P<sign>[+-])(?P<off_hour>[0-9]{2})(:?(?P<off_minute>[0-5][0-9]))?)?)?"
)


def is_blank(text: str | None) -> bool:
    return text is None or not text.strip()


def _text(text: str) -> Parsed:
    return text, True


def _id(text: str) -> Parsed:
    """Trimmed text; a whole number without its plus sign and `.0`. Scientific notation, a
    spreadsheet's error values, and JSON lists and objects are invalid: the id is lost in them."""
    bare = text.strip()
    if isinstance(_jsonb(bare)[0], list | dict):
        return INVALID
    if SCIENTIFIC.fullmatch(bare) or SHEET_ERROR.fullmatch(bare) or len(text.encode()) > 1000:
        return INVALID
    whole = WHOLE_NUMBER.fullmatch(bare)
    return (whole[1] if whole else bare), True


def _bigint(text: str) -> Parsed:
    whole = INTEGER.fullmatch(text)
    value = int(whole[1]) if whole else None
    return (value, True) if value is not None and -(2**63) <= value < 2**63 else INVALID


def _integer_of_any_size(text: str) -> Parsed:
    return (Decimal(text), True) if INTEGER.fullmatch(text) else INVALID


def _exponent(text: str) -> Parsed:
    value, is_valid = _bigint(text)
    return (value, True) if is_valid and 0 <= value <= 8 else INVALID


def _numeric(text: str) -> Parsed:
    return (Decimal(text), True) if NUMERIC.fullmatch(text) else INVALID


def _boolean(text: str) -> Parsed:
    return {"true": (True, True), "false": (False, True)}.get(text.lower(), INVALID)


def _timestamptz(text: str) -> Parsed:
    found = TIMESTAMP.fullmatch(text)
    if not found or int(found["off_hour"] or 0) > 15:
        return INVALID
    part = {name: int(found[name] or 0) for name in ("hour", "minute", "second")}
    fraction = int((found["fraction"] or "").ljust(6, "0")[:6])
    offset = timedelta(hours=int(found["off_hour"] or 0), minutes=int(found["off_minute"] or 0))
    try:
        start = datetime.strptime(found["day"], "%Y-%m-%d")
        zone = timezone(-offset if found["sign"] == "-" else offset)
        moment = start.replace(**part, tzinfo=zone) + timedelta(microseconds=fraction)
    except ValueError:
        return INVALID
    return moment.astimezone(UTC), True


def _date(text: str) -> Parsed:
    value, is_valid = _timestamptz(text)
    return (value.date(), True) if is_valid and len(text) == 10 else INVALID


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _jsonb(text: str) -> Parsed:
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse), True
    except ValueError:
        return INVALID


def _array(text: str) -> Parsed:
    """A JSON array, or JSON null."""
    value, is_valid = _jsonb(text)
    return (value, True) if is_valid and (value is None or isinstance(value, list)) else INVALID


def _children(text: str) -> Parsed:
    """A JSON array of numbers, texts and nulls, or JSON null."""
    parsed = _array(text)
    is_list = all(type(item) in (int, str, Decimal, type(None)) for item in parsed[0] or [])
    return parsed if is_list else INVALID


def _lenient(text: str) -> Parsed:
    """A group's list of agents: a malformed one is null, and its record stays valid."""
    return (None if list_of_ids(text) is None else _jsonb(text)[0]), True


def _ids(text: str) -> Parsed:
    """An array of ids; invalid if any element is no id."""
    parsed = _array(text)
    return parsed if parsed[0] is None or list_of_ids(text) is not None else INVALID


def list_of_ids(text: str | None) -> list[str] | None:
    """The ids of a JSON array of numbers and texts; None if any element is no id."""
    value, _ = (None, False) if is_blank(text) else _jsonb(text)
    if not isinstance(value, list):
        return None
    ids = []
    for item in value:
        is_scalar = isinstance(item, int | str | Decimal) and not isinstance(item, bool)
        if not is_scalar or is_blank(str(item)):
            return None
        found, is_valid = _id(str(item))
        if not is_valid:
            return None
        ids.append(found)
    return ids


PARSERS: dict[str, Callable[[str], Parsed]] = {
    "text": _text,
    "id": _id,
    "integer_of_any_size": _integer_of_any_size,
    "exponent": _exponent,
    "numeric": _numeric,
    "boolean": _boolean,
    "timestamptz": _timestamptz,
    "date": _date,
    "array": _array,
    "children": _children,
    "ids": _ids,
    "lenient": _lenient,
}
