"""The words of the declaration: what each may say, and how its value is read."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from loaders.errors import guess
from loaders.schema import FieldPath

DELIMITERS = {"tab": "\t", "\\t": "\t", "\\n": "\n", "semicolon": ";", "comma": ",", "pipe": "|"}
NULLS = ("", "~", "null", "Null", "NULL")
NAME = r"[^.]*[^.\s][^.]*"
PATH = rf"{NAME}(\.{NAME})*"
FULL = r"(?s).*\S.*"
known_zones = cache(available_timezones)


def no_such(kind: str, word: object, allowed: Iterable[str], more: Iterable[str] = ()) -> str:
    """The message that `word` is not allowed, with the nearest of `allowed` and `more`."""
    known = list(allowed)
    message = f"{word!r} is no {kind}; there are {', '.join(known)}."
    return message + guess(str(word), [*known, *more], 0.5)


# Each of these reads the value of a word. When it raises a ValueError without a text, the message
# is the word's own, from the tables of words below.


def _texts(value: Any, pattern: str = "(?s).+") -> tuple[str, ...]:
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(t, str) and re.fullmatch(pattern, t) for t in texts):
        raise ValueError
    return tuple(texts)


def _text(value: Any, pattern: str = "(?s).+") -> str:
    return _texts([value], pattern)[0]


def _flag(value: Any) -> bool:
    return _text(value, "(?i)true|false").lower() == "true"


def _path(value: Any, pattern: str = PATH) -> FieldPath:
    return tuple(_text(value, pattern).split("."))


def _one_of(kind: str, *allowed: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in allowed:
            raise ValueError(no_such(kind, value, allowed))
        return str(value)

    return read


def _delimiter(value: Any) -> str:
    text = _text(value)
    return _text(DELIMITERS.get(text, text), r'[^"\r\n\x80-\U0010ffff]')


def _encoding(value: Any) -> str:
    try:
        "".encode(str(value))  # base64 and the like are codecs, and no encodings
        return codecs.lookup(str(value)).name
    except LookupError:
        known = ("utf-8", "utf-16", "cp1252", "latin-1")
        raise ValueError(no_such("encoding", value, known)) from None


def _timezone(value: Any) -> str:
    if (zone := str(value)) not in (known := known_zones()):
        what = f"timezone is one of the {len(known)} names, such as Europe/Berlin, that this system"
        raise ValueError(f"{what} or tzdata has, not {zone!r}.{guess(zone, known, 0.5)}")
    return zone


def _values(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise ValueError
    if not all(theirs.strip() for theirs in value):
        raise ValueError("values is for values that are there: say default for an empty one.")
    return tuple((theirs, "" if ours in NULLS else _text(ours)) for theirs, ours in value.items())


def _formats(value: Any) -> tuple[str, ...]:
    formats = _texts(value, "(?s).*%.*")
    for form in formats:  # no %Z: strptime gives no offset for it
        if unknown := re.search("%[^aAbBcdfGHIjmMpSuUVwWxXyYz%]", re.sub("^%[sQ]$|%%", "", form)):
            raise ValueError(f"{FORMAT}; {unknown[0]!r} is no part of one.")
    return formats


FORMAT = "format is written as in '%d.%m.%Y %H:%M', or '%s', '%Q' (seconds, ms from 1970)"
FLAGS = ("shared", "join", "negate", "file_name", "hash")
# word → (the message of what it may say, the function that reads its value)
Words = dict[str, tuple[str, Callable[[Any], Any]]]
READING: Words = {
    "found_under": (
        "found_under is what a day's files are called, without folder and ending",
        # files named otherwise are passed over, and an ending begins at the first dot
        lambda value: _texts(value, r"[^\s_~#./\\]([^./\\]*[^\s./\\])?"),
    ),
    "records": (
        "records is where a page keeps its list: a name or a dotted path",
        lambda value: _path(value) if value else (),
    ),
    "delimiter": (r"delimiter is one character, such as ';' or '\t'", _delimiter),
    "encoding": ("", _encoding),
    "decimal": ("", _one_of("sign for a fraction", ".", ",")),
    "skip_lines": (
        "skip_lines is how many lines stand above the header, from 0 to 99",
        lambda value: int(_text(value, "[0-9]{1,2}")),
    ),
    "max_reject_share": (
        "max_reject_share is a number from 0 to 1",
        lambda value: float(_text(value, r"0?\.[0-9]+|[01](\.0*)?")),
    ),
    "required": ("required is true or false", _flag),
}
# In the base file alone: an overlay can't change what a table is.
TABLE: Words = READING | {
    "kind": ("", _one_of("kind", "snapshot", "delta")),
    "key": ("key is the name of a column, or a list of them", _texts),
}
TYPES = ("text", "bigint", "integer", "numeric", "boolean", "date", "timestamptz", "jsonb")
COLUMN: Words = {
    "data_type": ("", _one_of("type", *TYPES)),
    "from": (
        "from is a name, a dotted path, or a list of them",
        # dots may be anywhere in a header: Budget-Nr. and Amount..USD.
        lambda value: tuple(_path(one, FULL) for one in _texts(value)),
    ),
    "default": (
        "default is one value",
        lambda value: None if value in NULLS else _text(value, FULL),
    ),
    "values": ("values says what each of theirs is here: {theirs: ours}", _values),
    "format": (FORMAT, _formats),
    "timezone": ("", _timezone),
    "separator": (
        "separator is what stands between the parts of a list, such as ';'",
        lambda value: DELIMITERS.get(str(value)) or _text(value),
    ),
    "scale": (
        "scale is how many places a number's point moves, from 1 to 8",
        lambda value: int(_text(value, "[0-8]")),
    ),
    **{word: (f"{word} is true or false", _flag) for word in FLAGS},
    "pii": ("", _one_of("kind of pii", "agent", "user", "personal")),
    "switches_off": ("switches_off is one value", lambda value: _text(value, FULL)),
}
# The words that are for some types of column alone, and what those are.
FOR = {
    "format": ("a date or a time", ("date", "timestamptz", "text")),
    "timezone": ("a moment", ("timestamptz",)),
    "separator": ("a list", ("jsonb",)),
    **dict.fromkeys(("scale", "negate"), ("a number", ("bigint", "integer", "numeric"))),
    "file_name": ("text", ("text",)),
}
# The words that a base table must have, with what stands in for a missing one.
REQUIRED: dict[str, Any] = {"found_under": (), "kind": "snapshot", "required": False, "key": ()}
