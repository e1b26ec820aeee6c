"""The declaration, checked as a whole: one message names all that is wrong in it.

A file is dbt's sources file, or shorter, as an overlay is written:

    stg_agents:
      found_under: users
      records: data
      columns:
        agent_id: {from: id}
        name: {from: [profile.displayName, profile.login]}

Every scalar comes as text, as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from loaders.errors import UsageError
from loaders.schema import Column, Table
from loaders.words import COLUMN, FOR, READING, REQUIRED, TABLE, Words, no_such

# dbt's own words for tables and columns; landing doesn't read them.
DBT = {"name", "description", "config", "meta", "tags", "data_tests", "tests"}
DBT_TABLE = DBT | {"columns", "freshness", "loaded_at_field", "loaded_at_query", "identifier"}
DBT_TABLE |= {"quoting", "external"}
DBT_COLUMN = DBT | {"quote", "constraints"}


def build(declared: list[tuple[Path, Any]], problems: Iterable[str] = ()) -> dict[str, Table]:
    """The tables of the base file, which comes first, with the changes of the overlays after it.
    UsageError lists every problem, `problems` from before first: its table and column, what is
    allowed, and the nearest match."""
    declaration = _Declaration()
    declaration.problems += problems
    for number, (path, content) in enumerate(declared):
        declaration.read(path, content, is_base=number == 0)
    tables = {name: declaration.table(name) for name in declaration.words}
    if declaration.problems:
        head = f"{declared[-1][0]}: the declaration can't be used."
        raise UsageError("\n".join([head, *dict.fromkeys(declaration.problems)]))
    return tables


class _Declaration:
    """Reads files one after the other, and collects their problems.

    `words`: by table, word → value; `columns`: by table and column, word → value."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.words: dict[str, dict[str, Any]] = {}
        self.columns: dict[str, dict[str, dict[str, Any]]] = {}
        self._table_under: dict[str, str] = {}

    def add(self, where: str, what: object) -> None:
        self.problems.append(f"{where}: {what}")

    def read(self, path: Path, content: Any, *, is_base: bool) -> None:
        """Read the tables of a file; an overlay's words replace the base's."""
        sources = content.get("sources") if isinstance(content, dict) else None
        if sources is not None:
            sources = [source for source in sources if isinstance(source, dict)]
            content = [table for source in sources for table in source.get("tables") or ()]
        entries = self._by_name("tables", path.name, content)
        if not entries:
            self.add(path.name, "no tables are declared in it.")
        for table, table_entry in entries.items():
            if not is_base and table not in self.words:
                self.add(table, no_such("declared table", table, self.words))
                continue
            words = self._read(table, table_entry, TABLE if is_base else READING, is_base)
            self.words[table] = self.words.get(table, {}) | words
            known = self.columns.setdefault(table, {})
            columns = (isinstance(table_entry, dict) and table_entry.get("columns")) or {}
            for name, entry in self._by_name("columns", table, columns).items():
                where = f"{table}.{name}"
                if not is_base and name not in known:
                    self.add(where, no_such("column of the table", name, known))
                    continue
                entry = {"from": entry} if isinstance(entry, (str, list)) else entry
                words = self._read(where, entry, COLUMN, is_base)
                if "from" in words and not is_base:
                    words["moved"] = True
                before = known.get(name, {})
                known[name] = before | words
                if before.get("data_type") not in (None, known[name].get("data_type")):
                    self.add(where, "an overlay can't change a type.")

    def _by_name(self, what: str, where: str, content: Any) -> dict[str, Any]:
        """Entries by name, from dbt's form (a list) or the short one (a mapping)."""
        if isinstance(content, dict):
            return content
        if not isinstance(content, list) or not all(isinstance(one, dict) for one in content):
            self.add(
                where, f"{what} are names, and what is said of each: {{name: {{from: mail}}}}."
            )
            return {}
        names = [str(entry.get("name", "")) for entry in content]
        for name in {name for name in names if names.count(name) > 1}:
            self.add(name if what == "tables" else f"{where}.{name}", "it is declared twice.")
        return dict(zip(names, content, strict=True))

    def _read(self, where: str, entry: Any, words: Words, is_base: bool) -> dict[str, Any]:
        """The values of an entry's words: of all in its meta, and of those that are not dbt's."""
        if not isinstance(entry, dict):
            self.add(where, "words and what they mean are expected here.")
            return {}
        config = entry.get("config")
        metas = [entry.get("meta"), config.get("meta") if isinstance(config, dict) else None]
        kind, dbts, needed = "table here", DBT_TABLE, [*REQUIRED]
        if words is COLUMN:
            kind, dbts, needed = "column", DBT_COLUMN, ["data_type"]
        ours = {word: value for word, value in entry.items() if word not in dbts}
        for meta in metas:
            ours |= meta if isinstance(meta, dict) else {}
        for word in needed if is_base else ():
            if word not in ours:
                self.add(where, f"{word} is missing.")
        values = {}
        for word, value in ours.items():
            if word not in words:
                self.add(where, no_such(f"word for a {kind}", word, words, dbts))
                continue
            allowed, read = words[word]
            try:
                values[word] = read(value)
            except ValueError as error:
                self.add(where, str(error) or f"{allowed}, not {value!r}.")
        return values

    def table(self, name: str) -> Table:
        """The table, made of the words that can be used; notes problems between words."""
        words, columns = REQUIRED | self.words[name], self.columns[name]
        if not re.fullmatch("stg_[a-z][a-z0-9_]{0,40}", name):
            self.add(name, "a table is called stg_ and then small letters, digits and _.")
        if not columns:
            self.add(name, "it has no columns.")
        for part in words["key"] if columns else ():
            if part not in columns:
                what = "column of the table, so it can't be in the key"
                self.add(name, no_such(what, part, columns))
        if words["key"] and all(columns.get(n, {}).get("file_name") for n in words["key"]):
            self.add(name, "file_name stands for its whole key: the files must bring a part of it.")
        for file in words["found_under"]:
            if (other := self._table_under.setdefault(file, name)) != name:
                self.add(name, f"{other} is found under {file!r} too.")
        return Table(name=name, columns=tuple(self._columns_of(name, columns)), **words)

    def _columns_of(self, table: str, columns: dict[str, dict[str, Any]]) -> Iterable[Column]:
        owners = {(name,): name for name, words in columns.items() if "moved" not in words}
        for name, words in columns.items():
            words.setdefault("from", ((name,),))
            for path in () if words.get("shared") else words["from"]:
                if owners.setdefault(path, name) != name:
                    what = f"it comes from {'.'.join(path)!r}, and so does {owners[path]}. If that"
                    more = f"is meant, say shared: true here, else where {owners[path]} is."
                    self.add(f"{table}.{name}", f"{what} {more}")
        for name, words in columns.items():
            where, data_type = f"{table}.{name}", words.setdefault("data_type", "")
            if not re.fullmatch("[a-z][a-z0-9_]*", name):
                self.add(where, "a column is called by small letters, digits and _.")
            for word, (what, types) in FOR.items():
                if words.get(word) and data_type not in (*types, ""):
                    self.add(where, f"{word} is for {what}, and it is {data_type}.")
            if words.get("hash") and (data_type != "text" or words.get("pii", "agent") == "agent"):
                self.add(where, "hash is for text with pii: user or personal.")
            if words.get("file_name") and (words.get("hash") or words.get("default") is not None):
                self.add(where, "file_name has no hash and no default beside it.")
            places, formats = words.pop("from"), words.pop("format", ())
            own = (name,)  # the landed name counts too
            if not words.get("join") and own not in places and owners.get(own, name) == name:
                places += (own,)
            yield Column(name, places=places, formats=formats, **words)
