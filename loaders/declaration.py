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

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loaders.errors import UsageError
from loaders.schema import Column, FieldPath, Table
from loaders.words import COLUMN, DBT_COLUMN, DBT_TABLE, NEEDED, READING, TABLE, TYPES, Words, no


@dataclass
class _Said:
    """What is said of a table or a column: its words, read, and its columns."""

    words: dict[str, Any] = field(default_factory=dict)
    data_type: str | None = None
    columns: dict[str, _Said] = field(default_factory=dict)


class _Declaration:
    """Reads files one after the other, and collects what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.tables: dict[str, _Said] = {}
        self._under: dict[str, str] = {}

    def add(self, where: str, what: object) -> None:
        self.problems.append(f"{where}: {what}")

    def read(self, path: Path, content: Any, *, base: bool) -> None:
        """The tables of a file; those of an overlay change what the base says."""
        entries = _entries(content)
        if not entries:
            self.add(path.name, "no tables are declared in it.")
        for name, entry in entries:
            if base and name in self.tables:
                self.add(name, "it is declared twice.")
            elif base and not re.fullmatch("stg_[a-z][a-z0-9_]{0,40}", name):
                self.add(name, "a table is called stg_ and then small letters, digits and _.")
            elif base:
                self.tables[name] = self._table(name, entry, TABLE)
            elif (known := self.tables.get(name)) is None:
                self.add(name, no("declared table", name, self.tables))
            else:
                self._change(name, known, self._table(name, entry, READING))

    def _table(self, name: str, entry: Any, words: Words) -> _Said:
        if not isinstance(entry, dict):
            self.add(name, "words and what they mean are expected here.")
            return _Said()
        needed = NEEDED if words is TABLE else ()
        kind = "word for a table here"
        said = _Said(self._words(name, kind, entry, words, DBT_TABLE, needed))
        columns = entry.get("columns") or {}
        if isinstance(columns, list) and all(isinstance(column, dict) for column in columns):
            columns = [(str(column.get("name", "")), column) for column in columns]
        elif isinstance(columns, dict):
            columns = list(columns.items())
        else:
            self.add(name, "columns are names, and what is said of each: {email: {from: mail}}.")
            columns = []
        for column, about in columns:
            where = f"{name}.{column}"
            about = {"from": about} if isinstance(about, (str, list)) else about
            if column in said.columns:
                self.add(where, "it is declared twice.")
            elif not isinstance(about, dict):
                self.add(where, "words and what they mean are expected here.")
            else:
                read = self._words(where, "word for a column", about, COLUMN, DBT_COLUMN)
                said.columns[column] = _Said(read, about.get("data_type"))
        return said

    def _words(
        self,
        where: str,
        kind: str,
        said: dict[str, Any],
        words: Words,
        of_dbt: set[str],
        needed: Iterable[str] = (),
    ) -> dict[str, Any]:
        """Ours among an entry's words: those in its meta, and those that are none of dbt's."""
        config = said.get("config")
        metas = [config.get("meta") if isinstance(config, dict) else None, said.get("meta")]
        found = {word: value for word, value in said.items() if word not in of_dbt}
        for meta in metas:
            found |= meta if isinstance(meta, dict) else {}
        for word in needed:
            if word not in found:
                self.add(where, f"{word} is missing.")
        read = {}
        for word, value in found.items():
            if word not in words:
                self.add(where, no(kind, word, words, of_dbt))
                continue
            try:
                read[word] = words[word](value)
            except ValueError as error:
                self.add(where, error)
        return read

    def _change(self, name: str, base: _Said, over: _Said) -> None:
        base.words |= over.words
        for column, said in over.columns.items():
            if (known := base.columns.get(column)) is None:
                self.add(f"{name}.{column}", no("column of the table", column, base.columns))
                continue
            if said.data_type not in (None, known.data_type):
                self.add(f"{name}.{column}", "an overlay can't change a type.")
            known.words |= said.words

    def table(self, name: str, said: _Said) -> Table:
        """The table, as far as its words can be used."""
        words: dict[str, Any] = {
            "found_under": (),
            "kind": "snapshot",
            "required": False,
            "key": (),
        }
        words |= said.words
        if not said.columns:
            self.add(name, "it has no columns.")
        for part in words["key"] if said.columns else ():
            if part not in said.columns:
                what = "column of the table, so it can't be in the key"
                self.add(name, no(what, part, said.columns))
        for file in words["found_under"]:
            if (other := self._under.setdefault(file, name)) != name:
                self.add(name, f"{other} is found under {file!r} too.")
        return Table(name=name, columns=tuple(self._columns(name, said.columns)), **words)

    def _columns(self, table: str, columns: dict[str, _Said]) -> Iterable[Column]:
        taken: dict[FieldPath, str] = {}
        for name, said in columns.items():
            said.words.setdefault("from", ((name,),))
            for path in () if said.words.get("shared") else said.words["from"]:
                if path in taken:
                    what = f"it comes from {'.'.join(path)!r}, and so does {taken[path]}."
                    self.add(f"{table}.{name}", f"{what} If that is meant, say shared: true here.")
                taken[path] = name
        for name, said in columns.items():
            where, kind, words = f"{table}.{name}", said.data_type, said.words
            if not re.fullmatch("[a-z][a-z0-9_]*", name):
                self.add(where, "a column is called by small letters, digits and _.")
            if kind not in TYPES:
                self.add(where, no("type", kind or "", TYPES))
            if words.get("format") and kind not in ("date", "timestamptz", "text"):
                self.add(where, f"format is for a date or a time, and it is {kind}.")
            if words.get("scale") and kind not in ("bigint", "integer", "numeric"):
                self.add(where, f"scale is for a number, and it is {kind}.")
            if words.get("hash") and (kind != "text" or words.get("pii", "agent") == "agent"):
                self.add(where, "hash is for text with pii: user or personal.")
            places, formats = words.pop("from"), words.pop("format", ())
            if (name,) not in places and (name,) not in taken:
                places += ((name,),)  # the landed name counts too
            yield Column(name, str(kind), places, formats=formats, **words)


def _entries(content: Any) -> list[tuple[str, Any]]:
    """What is said of each table, in dbt's form or the short one."""
    if isinstance(content, dict) and isinstance(content.get("sources"), list):
        tables = [
            table
            for source in content["sources"]
            for table in (isinstance(source, dict) and source.get("tables")) or ()
        ]
        return [(str(table.get("name")), table) for table in tables if isinstance(table, dict)]
    if isinstance(content, dict) and isinstance(content.get("tables"), dict):
        content = content["tables"]
    return list(content.items()) if isinstance(content, dict) else []


def build(declared: list[tuple[Path, Any]]) -> dict[str, Table]:
    """The tables of the base file, as the overlays after it change them. UsageError, naming each
    table, column, what is allowed and the nearest match, when any of it can't be used."""
    found = _Declaration()
    for number, (path, content) in enumerate(declared):
        found.read(path, content, base=number == 0)
    tables = {name: found.table(name, said) for name, said in found.tables.items()}
    if found.problems:
        head = f"{declared[-1][0]}: the declaration can't be used."
        raise UsageError("\n".join([head, *dict.fromkeys(found.problems)]))
    return tables
