"""Guesses what a file that can't be used probably is, in words that say what to do."""

from __future__ import annotations

import re
from typing import Any

from loaders.raw_file import RawFile, opened
from loaders.readers.json_blocks import as_bytes
from loaders.readers.rows import UNSTORABLE, UnreadableError
from loaders.schema import Column, Table

SHOWN = 60
HEADER_SHOWN = 200
TITLE_LINES = 20  # a header is looked for below as many lines
ENDS_SO = "ends with a delimiter, write the file without it"
_EXCELS = re.compile(r'"?sep=(.)?"?[,;|\t]*\s*', re.IGNORECASE)
_COMPLAINTS = {"message", "error", "errors", "code", "detail", "details", "status"}
_ERRORS = {"message", "error", "errors"}  # beside a bare key they make an error message
_DELIMITERS = (";", "\t", "|", ",")
# by what such a file begins with
_KINDS = {
    b"\x1f\x8b": "it is gzip: unzip it, or give a file of text the ending .gz",
    b"PK\x03\x04": "it is a zip or an Excel file: name it .xlsx, or unzip it",
    b"\xd0\xcf\x11\xe0": "it is Excel's .xls, or has a password: save it as .xlsx without one",
    b"PAR1": "it is Parquet: name it .parquet",
    b"\xff\xfe\0\0": "it is UTF-32: save it as UTF-8, or declare encoding: utf-32",
    b"\0\0\xfe\xff": "it is UTF-32: save it as UTF-8, or declare encoding: utf-32",
    b"BZh": "it is bzip2: unpack it",
    b"(\xb5/\xfd": "it is zstd: unpack it",
    b"\xfd7zXZ": "it is xz: unpack it",
    b"%PDF": "it is a PDF: export it as .csv",
}


def begins(text: str, table: Table, shown: int = SHOWN) -> str:
    """The first `shown` characters on one line; nothing where the table has hashed columns."""
    if table.hashes:
        return "(not shown: it may have what is to be hashed)"
    line = " ".join(UNSTORABLE.sub("\ufffd", text.lstrip("\ufeff")[: 4 * shown]).split())
    return line if len(line) <= shown else line[:shown] + "…"


def kind_of_bytes(head: bytes) -> str | None:
    """What a file with these first bytes is, if no text of records, and what to do about it."""
    if kind := next((kind for start, kind in _KINDS.items() if head.startswith(start)), None):
        return kind
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or (
        len(head) > 8 and b"\0" in head[:64] and head[:64].count(b"\0") >= len(head[:64]) // 3
    ):
        return "it is UTF-16: save it as UTF-8, or declare encoding: utf-16"
    text = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<"):
        kind = "HTML" if b"<html" in text or b"<!doctype html" in text else "XML or HTML"
        return f"it is {kind}, an error page perhaps: fetch it again"
    return None


def kind_of_file(file: RawFile, own: bytes) -> str | None:
    """The same of a file that should have no text; None when it begins as its format does, with
    `own`."""
    with opened(file) as stream:
        head = stream.read(512)
    return None if head.startswith(own) else kind_of_bytes(head.replace(b"\0", b""))


def of_header(names: tuple[str, ...], line: str, delimiter: str, table: Table) -> str:
    """What is probably wrong with a header that lacks the key, and what to do about it."""
    if "\ufeff" in line:
        return "it begins with a second BOM: save it as UTF-8 with one, or without"
    if line.lstrip().startswith(("{", "[")):
        return "it is JSON: name it .json"
    if len(names) == 1:
        counts = {mark: line.count(mark) for mark in _DELIMITERS if mark != delimiter}
        best = max(counts, key=lambda mark: counts[mark])
        if counts[best]:
            return f"its delimiter is probably {_quoted(best)}: declare delimiter: {_quoted(best)}"
    key = ", ".join(column.name for column in table.key_in_files)
    return f"declare from what is {key} there, in the sources file or an overlay (--sources)"


def excels_line(line: str, delimiter: str) -> str | None:
    """What to do about a first line `sep=;` for Excel; None where it is another line."""
    if not (match := _EXCELS.fullmatch(line)):
        return None
    is_declared = match[1] in (None, '"', delimiter)
    what = "" if is_declared else f", and declare delimiter: {_quoted(match[1])}"
    return f"its first line is Excel's sep=: delete that line{what}"


def _quoted(delimiter: str) -> str:
    return '"\\t"' if delimiter == "\t" else repr(delimiter)


def refuse_page(file: RawFile, table: Table, first: Any, text: str) -> UnreadableError:
    """The error for a JSON file none of whose records has the key. `first` is the file's first
    value, None when there is none; `text` is what the file begins with."""
    shown = f"It begins with {begins(text, table)}" if text.strip() else "It has no bytes."
    keys = ", ".join(map(_described, table.key_in_files))
    kind = kind_of_bytes(as_bytes(text)) if first is None else None
    return UnreadableError(
        f"{file.path}: none of its records has the key {keys}; {kind or meaning(first, table)}.",
        shown,
    )


def _described(column: Column) -> str:
    """A column by its first place: `id (agent_id)`."""
    path = ".".join(column.places[0])
    return path if path == column.name else f"{path} ({column.name})"


def meaning(first: Any, table: Table) -> str:
    """What the first value of a file without keys probably is, and what to do about it."""
    if isinstance(first, dict):
        path = list_in(first)
        if path is None and not _declared(first, table):
            path = next((name for name, value in first.items() if value == []), None)
        if path and path.partition(".")[0] not in _COMPLAINTS:
            return f"its list is under `{path}`: declare records: {path}"
        is_nested = all(isinstance(value, (dict, list)) for value in first.values())
        if len(first) > 1 and is_nested and not _ERRORS & set(first):
            return "it is no list of objects: write it as one (in pandas with orient='records')"
        keys = table.key_in_files
        if all(any(path[0] in first for path in column.places) for column in keys):
            places = [path[0] for column in keys for path in column.places if len(path) == 1]
            for name in places:
                inner = first.get(name)
                for field in inner if isinstance(inner, dict) else ():
                    if re.fullmatch(r"[$_a-z]\w{,30}", field, re.ASCII | re.IGNORECASE):
                        return f"{name} is an object: declare from: {name}.{field}"
            return "it is there without a value: is the file another table's?"
        shown = ", ".join(list(first)[:5])
        # a record may have a status or a code: of an error message nothing else is declared
        signs = _ERRORS if _declared(first, table) else _COMPLAINTS
        if signs & set(map(str.lower, first)):
            return f"it is an error message ({shown}): fetch it again"
        if table.records and table.records[0] in first:
            path = ".".join(table.records)
            return f"records: {path} is declared, and no list of objects is there: is it elsewhere?"
        return f"its fields are {shown or 'none'}: is it another table's, or must `from` be said?"
    if first is None:
        return "it is no page of records: fetch it again"
    return "it is no list of objects: fetch it again"


def list_in(value: dict[str, Any], depth: int = 3) -> str | None:
    """The dotted path to an object's first list of objects, at most `depth` objects down, where
    `records` can say it: no name in it is empty or has a dot."""
    fields = {name: inner for name, inner in value.items() if name and "." not in name}
    for name, inner in fields.items():
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            return str(name)
    for name, inner in fields.items():
        if isinstance(inner, dict) and depth and (path := list_in(inner, depth - 1)):
            return f"{name}.{path}"
    return None


def no_record(record: dict[str, Any], table: Table, *, alone: bool) -> str | None:
    """Why an object that has the key is no record after all; None when it is one.

    It is an envelope when its list, which no column has, has elements with more declared fields
    than itself. `alone` in its file, without any but the key, it may be an error message."""
    path = list_in(record) or ""
    own = {"", *_COMPLAINTS, *_top_fields(table)}
    if path.partition(".")[0] not in own and path != ".".join(table.records):
        inner: Any = record
        for name in path.split("."):
            inner = inner[name]
        if len(_declared(inner[0], table)) > len(_declared(record, table)):
            return f"it is an envelope, its list is under `{path}`: declare records: {path}"
    keys = {path[0] for column in table.key_in_files for path in column.places}
    declared = _declared(record, table)
    has_more = declared - keys or keys >= _top_fields(table)
    if alone and declared and not has_more and any(record.get(name) for name in _ERRORS - keys):
        return f"it is an error message ({', '.join(list(record)[:5])}): fetch it again"
    return None


def _declared(record: dict[str, Any], table: Table) -> set[str]:
    return _top_fields(table) & set(record)


def _top_fields(table: Table) -> set[str]:
    return {path[0] for column in table.columns for path in column.places}
