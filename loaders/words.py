"""The words of the declaration, and what may be said of each."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from loaders.errors import guess
from loaders.schema import FieldPath

TYPES = ("text", "bigint", "integer", "numeric", "boolean", "date", "timestamptz", "jsonb")
ENCODINGS = ("utf-8", "utf-16", "cp1252", "latin-1")
DELIMITERS = {"tab": "\t", "\\t": "\t", "semicolon": ";", "comma": ",", "pipe": "|"}
# What dbt says of a table or a column: nothing that landing reads.
DBT = {"name", "description", "config", "meta", "tags", "data_tests", "tests"}
DBT_TABLE = DBT | {"columns", "freshness", "loaded_at_field", "loaded_at_query", "identifier"}
DBT_TABLE |= {"quoting", "external"}
DBT_COLUMN = DBT | {"data_type", "quote", "constraints"}
Words = dict[str, Callable[[Any], Any]]


def no(kind: str, word: object, allowed: Iterable[str], more: Iterable[str] = ()) -> str:
    """`word` is none of what is allowed; what it is like may be one of `more`, too."""
    known = list(allowed)
    said = f"{word!r} is no {kind}; there are {', '.join(known)}."
    return said + guess(str(word), [*known, *more], 0.5)


# Each reads what is said of a word; its ValueError is what people are told.


def _texts(what: str, said: Any) -> tuple[str, ...]:
    texts = said if isinstance(said, list) else [said]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise ValueError(what)
    return tuple(texts)


def _files(said: Any) -> tuple[str, ...]:
    what = "found_under is what a day's files are called, without folder and ending."
    names = _texts(what, said)
    if any(re.search(r"[/\\]|\.(csv|jsonl?|ndjson|parquet|xlsx|gz)$", name) for name in names):
        raise ValueError(what)
    return names


def _paths(what: str, said: Any) -> tuple[FieldPath, ...]:
    # a header may have dots anywhere: Budget-Nr.
    return tuple(tuple(text.split(".")) for text in _texts(what, said))


def _records(said: Any) -> FieldPath:
    what = "records is where a page keeps its list: a name or a dotted path."
    if said and not isinstance(said, str):
        raise ValueError(what)
    return _paths(what, said)[0] if said else ()


def _one_of(kind: str, allowed: Sequence[str], said: Any) -> Any:
    if said not in allowed:
        raise ValueError(no(kind, said, allowed))
    return said


def _flag(word: str, said: Any) -> bool:
    if str(said).lower() not in ("true", "false"):
        raise ValueError(f"{word} is true or false, not {said!r}.")
    return str(said).lower() == "true"


def _share(said: Any) -> float:
    try:
        share = float(said)
    except (TypeError, ValueError):
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError("max_reject_share is a number from 0 to 1.")
    return share


def _delimiter(said: Any) -> str:
    mark = DELIMITERS.get(str(said), str(said))
    if len(mark) != 1 or mark in '"\r\n' or not mark.isascii():
        raise ValueError("delimiter is one character, such as ';' or '\\t'.")
    return mark


def _encoding(said: Any) -> str:
    try:
        "".encode(str(said))  # base64 and the like are codecs, and no encodings
        return codecs.lookup(str(said)).name
    except LookupError:
        raise ValueError(no("encoding", said, ENCODINGS)) from None


def _values(said: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(said, dict) or not all(isinstance(ours, str) for ours in said.values()):
        raise ValueError("values says what each of theirs is here: {theirs: ours}.")
    return tuple(said.items())


def _formats(said: Any) -> tuple[str, ...]:
    what = "format is written as in '%d.%m.%Y %H:%M'"
    forms = _texts(f"{what}.", said)
    for form in forms:
        if "%" not in form:
            raise ValueError(f"{what}.")
        if unknown := re.search("%[^aAbBcdfGHIjmMpSuUVwWxXyYzZ%]", form.replace("%%", "")):
            raise ValueError(f"{what}; {unknown[0]!r} is no part of one.")
    return forms


def _scale(said: Any) -> int:
    if str(said) not in map(str, range(9)):
        raise ValueError("scale is how many places a number's point moves, from 1 to 8.")
    return int(said)


def _default(said: Any) -> str | None:
    if not isinstance(said, str):
        raise ValueError("default is one value.")
    return said or None


READING: Words = {
    "found_under": _files,
    "records": _records,
    "delimiter": _delimiter,
    "encoding": _encoding,
    "decimal": partial(_one_of, "sign for a fraction", (".", ",")),
    "max_reject_share": _share,
    "required": partial(_flag, "required"),
}
# What a table is can't be said otherwise by an overlay.
TABLE: Words = READING | {
    "kind": partial(_one_of, "kind", ("snapshot", "delta")),
    "key": partial(_texts, "key is the name of a column, or a list of them."),
}
NEEDED = ("found_under", "kind", "required", "key")
COLUMN: Words = {
    "from": partial(_paths, "from is a name, a dotted path, or a list of them."),
    "default": _default,
    "values": _values,
    "format": _formats,
    "scale": _scale,
    "shared": partial(_flag, "shared"),
    "pii": partial(_one_of, "kind of pii", ("agent", "user", "personal")),
    "hash": partial(_flag, "hash"),
}
