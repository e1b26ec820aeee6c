"""The declaration, checked as a whole: one message names all that is wrong in it.

A file is dbt's sources file, or shorter, as an overlay is written:

    stg_agents:
      found_under: users
      records: data
      columns:
        agent_id: {from: id}
        name: {from: [profile.displayName, profile.login]}
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loaders.errors import UsageError, guess
from loaders.schema import Column, FieldPath, Table

TYPES = ("text", "bigint", "integer", "numeric", "boolean", "date", "timestamptz", "jsonb")
NUMBERS = ("bigint", "integer", "numeric")
KINDS = ("snapshot", "delta")
READING = ("found_under", "records", "delimiter", "encoding", "decimal")
TABLE_WORDS = (*READING, "kind", "required", "key", "max_reject_share")
COLUMN_WORDS = ("from", "default", "values", "format", "scale", "shared", "pii")
PII = ("agent", "user", "personal")
# What dbt says of a table or a column: nothing that landing reads.
DBT_BOTH = ("name", "description", "config", "meta", "tags", "data_tests", "tests")
DBT_FRESH = ("freshness", "loaded_at_field", "loaded_at_query")
DBT_TABLE = (*DBT_BOTH, *DBT_FRESH, "columns", "identifier", "quoting", "external")
DBT_COLUMN = (*DBT_BOTH, "data_type", "quote", "constraints")


@dataclass
class _Problems:
    file: Path
    found: list[str] = field(default_factory=list)

    def add(self, where: str, what: str) -> None:
        self.found.append(f"{where}: {what}")

    def unknown(self, where: str, kind: str, word: str, allowed: Iterable[str]) -> None:
        known = list(allowed)
        said = f"{word!r} is no {kind}; there are {', '.join(known)}."
        self.add(where, said + guess(word, known, 0.5))


def build(declared: list[tuple[Path, Any]]) -> dict[str, Table]:
    """The tables of the base file, as the overlays after it change them. UsageError, naming each
    table, column, what is allowed and the nearest match, when any of it can't be used."""
    (base, content), *overlays = declared
    problems = _Problems(base)
    entries = _entries(content, problems)
    for name, entry in entries.items():
        _check_words(name, entry, problems, base=True)
    for path, overlay in overlays:
        problems.file = path
        for name, entry in _entries(overlay, problems).items():
            if name not in entries:
                problems.unknown(name, "declared table", name, entries)
                continue
            _check_words(name, entry, problems, base=False)
            _merge(name, entries[name], entry, problems)
    tables = {name: _table(name, entry, problems) for name, entry in entries.items()}
    _check_names(tables, problems)
    if problems.found:
        files = " and ".join(str(path) for path, _ in declared[-1:])
        raise UsageError(
            "\n".join([f"{files}: the declaration can't be used.", *dict.fromkeys(problems.found)])
        )
    return tables


def _entries(content: Any, problems: _Problems) -> dict[str, dict[str, Any]]:
    """Tables by name: {"words": …, "columns": {name: {"words": …, "data_type": …}}}."""
    if isinstance(content, dict) and "sources" in content:
        content = {
            str(table.get("name")): table
            for source in _list(content["sources"])
            for table in _list(source.get("tables") if isinstance(source, dict) else None)
            if isinstance(table, dict)
        }
    elif isinstance(content, dict) and isinstance(content.get("tables"), dict):
        content = content["tables"]
    if not isinstance(content, dict) or not content:
        problems.add(str(problems.file.name), "no tables are declared in it.")
        return {}
    return {name: _entry(name, said, problems) for name, said in content.items()}


def _entry(name: str, said: Any, problems: _Problems) -> dict[str, Any]:
    if not isinstance(said, dict):
        problems.add(name, "words and what they mean are expected here.")
        return {"words": {}, "columns": {}}
    columns = said.get("columns") or {}
    if isinstance(columns, list):
        columns = {str(c.get("name")): c for c in columns if isinstance(c, dict)}
    found = {}
    for column, words in columns.items() if isinstance(columns, dict) else ():
        words = {"from": words} if isinstance(words, (str, list)) else words
        if not isinstance(words, dict):
            problems.add(f"{name}.{column}", "words and what they mean are expected here.")
            continue
        entry = {"words": _words(words, DBT_COLUMN), "data_type": words.get("data_type")}
        found[column] = entry
    return {"words": _words(said, DBT_TABLE), "columns": found}


def _words(said: dict[str, Any], of_dbt: tuple[str, ...]) -> dict[str, Any]:
    """Ours among an entry's words: those in its meta, and those that are none of dbt's."""
    config = said.get("config")
    metas = [config.get("meta") if isinstance(config, dict) else None, said.get("meta")]
    found = {word: value for word, value in said.items() if word not in of_dbt}
    for meta in metas:
        found |= meta if isinstance(meta, dict) else {}
    return found


def _check_words(name: str, entry: dict[str, Any], problems: _Problems, *, base: bool) -> None:
    allowed = TABLE_WORDS if base else (*READING, "max_reject_share", "required")
    for word in entry["words"]:
        if word not in allowed:
            problems.unknown(name, "word for a table here", word, allowed)
    for column, words in entry["columns"].items():
        for word in words["words"]:
            if word not in COLUMN_WORDS:
                problems.unknown(f"{name}.{column}", "word for a column", word, COLUMN_WORDS)
    for word in ("found_under", "kind", "required", "key") if base else ():
        if word not in entry["words"]:
            problems.add(name, f"{word} is missing.")


def _merge(name: str, base: dict[str, Any], over: dict[str, Any], problems: _Problems) -> None:
    base["words"] |= over["words"]
    for column, said in over["columns"].items():
        if column not in base["columns"]:
            problems.unknown(f"{name}.{column}", "column of the table", column, base["columns"])
            continue
        if said["data_type"] not in (None, base["columns"][column]["data_type"]):
            problems.add(f"{name}.{column}", "an overlay can't change a type.")
        base["columns"][column]["words"] |= said["words"]


def _table(name: str, entry: dict[str, Any], problems: _Problems) -> Table:
    words, columns = entry["words"], entry["columns"]
    if (kind := words.get("kind", KINDS[0])) not in KINDS:
        problems.unknown(name, "kind", str(kind), KINDS)
    required = str(words.get("required", "false")).lower()
    if required not in ("true", "false"):
        problems.add(name, f"required is true or false, not {required!r}.")
    key = tuple(_list(words.get("key")))
    for part in key:
        if part not in columns:
            problems.unknown(name, "column of the table, so it can't be in the key", part, columns)
    if not columns:
        problems.add(name, "it has no columns.")
    delimiter = str(words.get("delimiter", ",")).replace("\\t", "\t")
    delimiter = {"tab": "\t", "semicolon": ";", "comma": ",", "pipe": "|"}.get(delimiter, delimiter)
    if len(delimiter) != 1 or delimiter in '"\r\n' or not delimiter.isascii():
        problems.add(name, "delimiter is one character, such as ';' or '\\t'.")
        delimiter = ","
    encoding = str(words.get("encoding", "utf-8"))
    try:
        encoding = codecs.lookup(encoding).name
    except LookupError:
        problems.unknown(name, "encoding", encoding, ("utf-8", "utf-16", "cp1252", "latin-1"))
    if (decimal := words.get("decimal", ".")) not in (".", ","):
        problems.unknown(name, "sign for a fraction", str(decimal), (".", ","))
    share = _share(name, words.get("max_reject_share", "0.10"), problems)
    return Table(
        name,
        tuple(map(str, _list(words.get("found_under")))),
        "delta" if kind == "delta" else "snapshot",
        required == "true",
        key,
        tuple(_columns(name, columns, problems)),
        share,
        _path(str(words["records"])) if words.get("records") else (),
        delimiter,
        encoding,
        str(decimal),
    )


def _share(name: str, said: Any, problems: _Problems) -> float:
    try:
        share = float(said)
    except (TypeError, ValueError):
        share = -1.0
    if not 0 <= share <= 1:
        problems.add(name, "max_reject_share is a number from 0 to 1.")
    return share


def _columns(table: str, columns: dict[str, Any], problems: _Problems) -> Iterable[Column]:
    taken: dict[FieldPath, str] = {}
    froms: dict[str, list[FieldPath]] = {}
    for name, entry in columns.items():
        words, where = entry["words"], f"{table}.{name}"
        said = _list(words.get("from", name))
        if not said or not all(isinstance(one, str) and one for one in said):
            problems.add(where, "from is a name, a dotted path, or a list of them.")
        froms[name] = [_path(str(one)) for one in said if one]
        for path in froms[name] if not _true(words.get("shared")) else ():
            if path in taken:
                problems.add(
                    where,
                    f"it comes from {'.'.join(path)!r}, and so does {taken[path]}. If that is "
                    "meant, say shared: true here.",
                )
            taken[path] = name
    for name, entry in columns.items():
        words, where = entry["words"], f"{table}.{name}"
        if entry["data_type"] not in TYPES:
            problems.unknown(where, "type", str(entry["data_type"]), TYPES)
        own = (name,)
        if own not in froms[name] and own not in taken:
            froms[name].append(own)  # the landed name counts too
        values = words.get("values", {})
        if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
            problems.add(where, "values says what each of theirs is here: {theirs: ours}.")
            values = {}
        formats = tuple(map(str, _list(words.get("format"))))
        if formats and entry["data_type"] not in ("date", "timestamptz", "text"):
            problems.add(where, f"format is for a date or a time, and it is {entry['data_type']}.")
        if any("%" not in one for one in formats):
            problems.add(where, "format is written as in '%d.%m.%Y %H:%M'.")
        if (scale := str(words.get("scale", "0"))) not in map(str, range(9)):
            problems.add(where, "scale is how many places a number's point moves, from 1 to 8.")
        elif scale != "0" and entry["data_type"] not in NUMBERS:
            problems.add(where, f"scale is for a number, and it is {entry['data_type']}.")
        if (pii := str(words.get("pii", ""))) not in ("", *PII):
            problems.unknown(where, "kind of pii", pii, PII)
        if not isinstance(default := words.get("default"), (str, type(None))):
            problems.add(where, "default is one value.")
            default = None
        yield Column(
            name,
            str(entry["data_type"]),
            tuple(froms[name]) or (own,),
            default or None,
            tuple(values.items()),
            formats,
            _true(words.get("shared")),
            int(scale) if scale.isdigit() else 0,
            pii,
        )


def _check_names(tables: dict[str, Table], problems: _Problems) -> None:
    under: dict[str, str] = {}
    for table in tables.values():
        for name in table.found_under:
            if under.setdefault(name, table.name) != table.name:
                problems.add(table.name, f"{under[name]} is found under {name!r} too.")


def _true(said: Any) -> bool:
    return str(said).lower() == "true"


def _list(said: Any) -> list[Any]:
    if said is None:
        return []
    return said if isinstance(said, list) else [said]


def _path(text: str) -> FieldPath:
    return tuple(text.split("."))
