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

import codecs
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from loaders.errors import UsageError, guess
from loaders.schema import Column, FieldPath, Table

DELIMITERS = {"tab": "\t", "\\t": "\t", "semicolon": ";", "comma": ",", "pipe": "|"}
# dbt's own words for tables and columns; landing doesn't read them.
DBT = {"name", "description", "config", "meta", "tags", "data_tests", "tests"}
DBT_TABLE = DBT | {"columns", "freshness", "loaded_at_field", "loaded_at_query", "identifier"}
DBT_TABLE |= {"quoting", "external"}
DBT_COLUMN = DBT | {"quote", "constraints"}
NULLS = ("", "~", "null", "Null", "NULL")
NAME = r"[^.]*[^.\s][^.]*"
PATH = rf"{NAME}(\.{NAME})*"
HEADER = r"(?s).*\S.*"  # dots may be anywhere: Budget-Nr. and Amount..USD.


def _no(kind: str, word: object, allowed: Iterable[str], more: Iterable[str] = ()) -> str:
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
            raise ValueError(_no(kind, value, allowed))
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
        raise ValueError(_no("encoding", value, known)) from None


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
        lambda value: tuple(_path(one, HEADER) for one in _texts(value)),
    ),
    "default": (
        "default is one value",
        lambda value: None if value in NULLS else _text(value, r"(?s).*\S.*"),
    ),
    "values": ("values says what each of theirs is here: {theirs: ours}", _values),
    "format": (FORMAT, _formats),
    "scale": (
        "scale is how many places a number's point moves, from 1 to 8",
        lambda value: int(_text(value, "[0-8]")),
    ),
    **{word: (f"{word} is true or false", _flag) for word in ("shared", "join", "hash")},
    "pii": ("", _one_of("kind of pii", "agent", "user", "personal")),
    "switches_off": ("switches_off is one value", lambda value: _text(value, r"(?s).*\S.*")),
}
# The words that a base table must have, with what stands in for a missing one.
REQUIRED: dict[str, Any] = {"found_under": (), "kind": "snapshot", "required": False, "key": ()}


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
                self.add(table, _no("declared table", table, self.words))
                continue
            words = self._read(table, table_entry, TABLE if is_base else READING, is_base)
            self.words[table] = self.words.get(table, {}) | words
            known = self.columns.setdefault(table, {})
            columns = (isinstance(table_entry, dict) and table_entry.get("columns")) or {}
            for name, entry in self._by_name("columns", table, columns).items():
                where = f"{table}.{name}"
                if not is_base and name not in known:
                    self.add(where, _no("column of the table", name, known))
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
                self.add(where, _no(f"word for a {kind}", word, words, dbts))
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
                self.add(name, _no(what, part, columns))
        for file in words["found_under"]:
            if (other := self._table_under.setdefault(file, name)) != name:
                self.add(name, f"{other} is found under {file!r} too.")
        return Table(name=name, columns=tuple(self._columns_of(name, columns)), **words)

    def _columns_of(self, table: str, columns: dict[str, dict[str, Any]]) -> Iterable[Column]:
        owners = {(name,): name for name, words in columns.items() if not words.pop("moved", 0)}
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
            if words.get("format") and data_type not in ("date", "timestamptz", "text", ""):
                self.add(where, f"format is for a date or a time, and it is {data_type}.")
            if words.get("scale") and data_type not in ("bigint", "integer", "numeric", ""):
                self.add(where, f"scale is for a number, and it is {data_type}.")
            if words.get("hash") and (data_type != "text" or words.get("pii", "agent") == "agent"):
                self.add(where, "hash is for text with pii: user or personal.")
            places, formats = words.pop("from"), words.pop("format", ())
            own = (name,)  # the landed name counts too
            if not words.get("join") and own not in places and owners.get(own, name) == name:
                places += (own,)
            yield Column(name, places=places, formats=formats, **words)
