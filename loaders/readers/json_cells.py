"""Cells of COPY's CSV from JSON's own bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from loaders.readers.json_shape import ABSENT, NULL, Shape

# What jsonb can't hold as it is, or only perhaps.
_BIG = re.compile(rb"[eE][+-]?[0-9]{4}")
_LONG = re.compile(rb"[0-9]{2000}")
# A NUL or half of a pair, written as an escape: Postgres can store neither.
_UNSTORABLE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_SPACED = re.compile(rb"[ \t\n\r]")


def any_there(records: list[Any], look: Callable[[Any], Any], without: Any = NULL) -> bool:
    """Whether a record has what `look` looks for; `without` stands where one has not."""
    for one in records:
        try:
            if look(one) is not without:
                return True
        except AttributeError:
            continue
    return False


def has_key(one: Any, looks: Sequence[Callable[[Any], Any]]) -> bool:
    try:
        return all(bytes(look(one))[:1] not in (b"n", b"{", b"[") for look in looks)
    except AttributeError:
        return False


def list_cell(value: bytes) -> bytes:
    """A list's JSON as a cell, as it is where that may hold objects or escapes: those are odd."""
    if value == b"[]" or b"{" in value or b"\\" in value:
        return value
    if _SPACED.search(value):
        value = msgspec.json.format(value, indent=-1)
    return b'"' + value.replace(b'"', b'""') + b'"'


def extra_cell(rest: Sequence[Any], shape: Shape) -> bytes | None:
    """Undeclared fields as a cell; None when jsonb may not hold them as they are, or a column has
    two places."""
    if rest[len(shape.keys) :] != shape.absent[len(shape.keys) :]:
        return None
    parts: list[bytes] = []
    holder = b""
    for prefix, key, value in zip(shape.prefixes, shape.keys, rest, strict=False):
        if value is ABSENT:
            continue
        if prefix == holder:
            parts.append(key + value)
            continue
        if holder:
            parts[-1] += b"}"
        parts.append(b'"%s":{' % prefix + key + value)
        holder = prefix
    if holder:
        parts[-1] += b"}"
    text = b",".join(parts)
    if _BIG.search(text) or (len(text) > 2000 and _LONG.search(text)):
        return None
    if b"\\u" in text and _UNSTORABLE.search(text):
        return None
    return b'"{' + text.replace(b'"', b'""') + b'}"'
