"""What a file that can't be used probably is: the words that tell people what to do."""

from __future__ import annotations

import re
from typing import Any

from loaders.raw_file import RawFile
from loaders.readers.rows import UNSTORABLE, KeylessError
from loaders.schema import Table

SHOWN = 60
HEADER_SHOWN = 200
TITLE_LINES = 20  # so many may stand above a header that is looked for
ENDS_SO = "ends with a delimiter, write the file without it"
_EXCELS = re.compile(r'"?sep=(.)?"?[,;|\t]*\s*', re.IGNORECASE)
_COMPLAINTS = {"message", "error", "errors", "code", "detail", "details", "status"}
_ERRORS = {"message", "error", "errors"}  # what no record has that says nothing but its key
_DELIMITERS = (";", "\t", "|", ",")


def begins(text: str, table: Table, shown: int = SHOWN) -> str:
    """What the file begins with, on one line; nothing of a table's that has columns hashed."""
    if table.hashes:
        return "(not shown: it may have what is to be hashed)"
    line = " ".join(UNSTORABLE.sub("\ufffd", text.lstrip("\ufeff")[: 4 * shown]).split())
    return line if len(line) <= shown else line[:shown] + "…"


def kind_of_bytes(head: bytes) -> str | None:
    """What bytes that are no text of records probably are, and what to do about it."""
    if head[:2] == b"\x1f\x8b":
        return "it is gzip: give it the ending .gz, or unzip it"
    if head[:4] == b"PK\x03\x04":
        return "it is a zip or an Excel file: name it .xlsx, or unzip it"
    if head[:4] == b"PAR1":
        return "it is Parquet: name it .parquet"
    if head[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return "it is UTF-32: save it as UTF-8, or declare encoding: utf-32"
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or (
        len(head) > 8 and b"\0" in head[:64] and head[:64].count(b"\0") >= len(head[:64]) // 3
    ):
        return "it is UTF-16: save it as UTF-8, or declare encoding: utf-16"
    text = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<"):
        kind = "HTML" if b"<html" in text or b"<!doctype html" in text else "XML or HTML"
        return f"it is {kind}, an error page perhaps: fetch it again"
    return None


def of_header(names: tuple[str, ...], line: str, delimiter: str, table: Table) -> str:
    """What is probably meant by a header that lacks the key."""
    if "\ufeff" in line.lstrip("\ufeff") or line.startswith("\ufeff"):
        return "it begins with a second BOM: save it as UTF-8 with one, or without"
    if line.lstrip().startswith(("{", "[")):
        return "it is JSON: name it .json"
    if len(names) == 1:
        counts = {mark: line.count(mark) for mark in _DELIMITERS if mark != delimiter}
        best = max(counts, key=lambda mark: counts[mark])
        if counts[best]:
            return f"its delimiter is probably {_mark(best)}: declare delimiter: {_mark(best)}"
    key = ", ".join(table.key)
    return f"declare from what is {key} there, in the sources file or an overlay (--sources)"


def excels_line(line: str, delimiter: str) -> str | None:
    """What to do about a first line that tells Excel what the delimiter is."""
    if not (found := _EXCELS.fullmatch(line)):
        return None
    told = found[1] in (None, '"', delimiter)
    what = "" if told else f", and declare delimiter: {_mark(found[1])}"
    return f"its first line is Excel's sep=: delete that line{what}"


def _mark(delimiter: str) -> str:
    return '"\\t"' if delimiter == "\t" else repr(delimiter)


def refuse_page(file: RawFile, table: Table, first: Any, text: str) -> KeylessError:
    """Why a JSON file none of whose records has the key can't be used; `first` is its first
    value, None when there is none."""
    shown = f"It begins with {begins(text, table)}" if text.strip() else "It has no bytes."
    keys = ", ".join(_said(table, name) for name in table.key)
    return KeylessError(
        f"{file.path}: none of its records has the key {keys}; {meaning(first, table)}.", shown
    )


def _said(table: Table, name: str) -> str:
    column = next(column for column in table.columns if column.name == name)
    paths = [".".join(path) for path in column.places]
    return paths[0] if paths[0] == name else f"{paths[0]} ({name})"


def meaning(first: Any, table: Table) -> str:
    """What a page is, where it is no record."""
    if isinstance(first, dict):
        path = list_in(first)
        if path is None and not _declared(first, table):
            path = next((name for name, value in first.items() if value == []), None)
        if path and path.partition(".")[0] not in _COMPLAINTS:
            return f"its list is under `{path}`: declare records: {path}"
        if first and all(isinstance(value, dict) for value in first.values()):
            names = {name for value in first.values() for name in value}
            if all(name.isdigit() for name in names):
                return "it is pandas' column-wise JSON: write it with orient='records'"
            if len(first) > 1:
                return "its records stand below names: write them as a list"
        if {"columns", "data"} <= set(first):
            return "it is pandas' split JSON: write it with orient='records'"
        keys = [column for column in table.columns if column.name in table.key]
        if all(any(path[0] in first for path in column.places) for column in keys):
            if len(first) > 1 and all(isinstance(value, list) for value in first.values()):
                return "it is column-wise JSON: write it as a list of objects"
            return "it is there without a value: is the file another table's?"
        shown = ", ".join(list(first)[:5])
        if _COMPLAINTS & set(map(str.lower, first)):
            return f"it is an error message ({shown}): fetch it again"
        if table.records and table.records[0] in first:
            there = ".".join(table.records)
            return (
                f"records: {there} is declared, and no list of objects is there: is it elsewhere?"
            )
        return f"its fields are {shown or 'none'}: is it another table's, or must `from` be said?"
    if first is None:
        return "it is no page of records: fetch it again"
    return "it is no list of objects: fetch it again"


def list_in(value: dict[str, Any], depth: int = 3) -> str | None:
    """The path to the first list of objects in an envelope, but for the one that is read anyhow."""
    for name, inner in value.items():
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            return str(name)
    for name, inner in value.items():
        if isinstance(inner, dict) and depth and (path := list_in(inner, depth - 1)):
            return f"{name}.{path}"
    return None


def no_record(record: dict[str, Any], table: Table, *, alone: bool) -> str | None:
    """What an object with the key may be all the same: an envelope, when its list's elements are
    more of a record than it is itself, or, `alone` in its file, an error message, when it says
    nothing else of what the table has."""
    path = list_in(record)
    if path is not None and path != ".".join(table.records):
        found: Any = record
        for name in path.split("."):
            found = found[name]
        if len(_declared(found[0], table)) > len(_declared(record, table)):
            return f"it is an envelope, its list is under `{path}`: declare records: {path}"
    keys = {path[0] for one in table.columns if one.name in table.key for path in one.places}
    declared = _declared(record, table)
    says_more = declared - keys or keys >= _tops(table)
    if alone and declared and not says_more and any(record.get(name) for name in _ERRORS - keys):
        return f"it is an error message ({', '.join(list(record)[:5])}): fetch it again"
    return None


def _declared(record: dict[str, Any], table: Table) -> set[str]:
    return _tops(table) & set(record)


def _tops(table: Table) -> set[str]:
    return {path[0] for column in table.columns for path in column.places}
