"""From the names in a raw file to the columns that land: the same rules for every format."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

from loaders.readers.rows import Observed, Row, has_value, is_key, json_text, text_of
from loaders.readers.values import Treat, chained, declared_of, habit_of
from loaders.schema import FieldPath, Table

Candidate = tuple[int, FieldPath, Any]  # a value for a column, with the rank and path of its place
Candidates = dict[int, list[Candidate]]  # by the column's place


class Mapping:
    """A table's declaration, made ready for reading.

    By a column's place, `habits` undo what a foreign writer does to ids and dates (few files have
    it), `declared` do what the declaration asks for, and `treats` do both.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.names = table.column_names
        self.width = len(table.columns)
        habits = [habit_of(table, column) for column in table.columns]
        declared = [
            chained(self._named if column.file_name else None, declared_of(table, column))
            for column in table.columns
        ]
        treats = map(chained, habits, declared)
        self.habits = {place: treat for place, treat in enumerate(habits) if treat}
        self.declared = {place: treat for place, treat in enumerate(declared) if treat}
        self.treats = {place: treat for place, treat in enumerate(treats) if treat}
        self.expected = {
            place: column.name
            for place, column in enumerate(table.columns)
            if column.moved or not column.has_stand_in
        }
        self.key = [table.columns.index(column) for column in table.key_in_files]
        self.file_name = ""  # of the file that is read, without folder and ending
        self._headers: dict[tuple[str, ...], Header] = {}
        self.tree = Node()
        for place, column in enumerate(table.columns):
            # an outermost name may have dots itself: in flattened JSON, or in SCIM's extensions
            spelt = (
                (".".join(path[:n]), *path[n:])
                for path in column.places
                for n in range(1, len(path) + 1)
            )
            for rank, path in enumerate(spelt):
                self.tree.add(path, place, rank, column.data_type == "jsonb")

    def _named(self, text: str | None) -> str | None:
        return text if text and text.strip() else self.file_name

    def header(self, names: Sequence[str]) -> Header:
        """What the names of a file's header stand for; computed once for all files with them."""
        key = tuple(names)
        if key not in self._headers:
            self._headers[key] = Header(key, self)
        return self._headers[key]

    def habits_of(self, columns: Sequence[str]) -> dict[int, Treat]:
        """The habits, by place in a file that has these columns."""
        habits = {self.names[place]: habit for place, habit in self.habits.items()}
        return {i: habits[name] for i, name in enumerate(columns) if name in habits}

    def record(self, number: int, record: dict[str, Any], observed: Observed) -> Row:
        """The row of a JSON record as Python's json parsed it; `observed` notes its fields."""
        candidates: Candidates = {}
        extra = _spread(record, self.tree, (), candidates, observed)
        landed: dict[int, Any] = {}
        used: set[FieldPath] = set()
        unused: list[Candidate] = []
        for column, places in candidates.items():
            places.sort(key=itemgetter(0))
            full = [place for place in places if has_value(place[2])] or places[:1]
            count, landed[column] = self.combined(column, [value for *_, value in full])
            used.update(path for _, path, _ in full[:count])
            unused += full[count:]
        for _, path, value in unused:
            if path not in used:
                observed.note_field(".".join(path))
                _put(extra, path, value)
        never = self.expected if observed.never is None else observed.never
        observed.never = {place: name for place, name in never.items() if place not in landed}
        values = [landed.get(place) for place in range(self.width)]
        observed.keyed = observed.keyed or all(is_key(values[place]) for place in self.key)
        return self.row(number, [text_of(value) for value in values], extra)

    def combined(self, column: int, values: Sequence[Any]) -> tuple[int, Any]:
        """A column's value from those that its places have: how many of them it uses, and the value
        itself. It is the first of them, or all, joined by blanks or by the separator, where the
        column has `join`."""
        if (declared := self.table.columns[column]).join and values[1:]:
            texts = (str(text_of(value)).strip() for value in values)
            return len(values), (declared.separator or " ").join(texts)
        return 1, values[0]

    def row(self, number: int, values: list[str | None], extra: dict[str, Any]) -> Row:
        """The row of a record whose values are in the columns' order; they are treated here."""
        for place, treat in self.treats.items():
            values[place] = treat(values[place])
        keep_extra = extra and not self.table.hashes
        return Row(number, values, json_text(extra, for_jsonb=True) if keep_extra else None)


class Header:
    """Which column each name of a CSV, a sheet or a Parquet file stands for."""

    def __init__(self, names: Sequence[str], mapping: Mapping) -> None:
        self.names = tuple(names)
        self._mapping = mapping
        index_of: dict[str, int] = {}
        for index, name in enumerate(names):
            index_of.setdefault(folded(name), index)
        for index, name in enumerate(names):
            index_of[name.strip()] = index  # an exact name wins over one in another case
        self.places: list[list[int]] = []  # of each column, the names' indexes in the header
        used: set[int] = set()  # by a column that does not share it
        for column in mapping.table.columns:
            paths = [".".join(path) for path in column.places]
            matches = [index_of.get(path, index_of.get(folded(path), -1)) for path in paths]
            indexes = list(dict.fromkeys(index for index in matches if index >= 0))
            self.places.append([i for i in indexes if column.shared or i not in used])
            used.update(indexes if not column.shared else ())
        known = {index for indexes in self.places for index in indexes}
        self.unknown = [(name, i) for i, name in enumerate(names) if i not in known]
        self._several = [(at, indexes) for at, indexes in enumerate(self.places) if indexes[1:]]
        self._single = {indexes[0] for indexes in self.places if len(indexes) == 1}
        self._first = [indexes[0] if indexes else None for indexes in self.places]

    @cached_property
    def streamed(self) -> tuple[str, ...] | None:
        """The columns, in the file's order, for COPY of a CSV's unchanged bytes. None unless every
        name is one column's and no value has to be changed, and for a single column: there COPY
        takes a blank line for a record."""
        columns: dict[int, str] = {}
        for name, indexes in zip(self._mapping.names, self.places, strict=True):
            if indexes[1:] or (indexes and columns.setdefault(indexes[0], name) != name):
                return None
        table = self._mapping.table
        changes = self._mapping.declared or table.encoding != "utf-8" or table.skip_lines
        if changes or len(columns) < max(2, len(self.names)):
            return None
        return tuple(columns[index] for index in range(len(self.names)))

    def missing_key(self) -> list[str]:
        """The key columns that are not in the header and have no stand-in."""
        columns = self._mapping.table.columns
        missing = [columns[place] for place in self._mapping.key if not self.places[place]]
        return [column.name for column in missing if not column.has_stand_in]

    def note(self, observed: Observed) -> None:
        """Note in `observed` which columns the header lacks, and which names nobody declared."""
        for place, name in self._mapping.expected.items():
            if not self.places[place]:
                observed.absent.add(name)
        for name, _ in self.unknown:
            observed.note_field(name)

    def row(self, number: int, fields: Sequence[Any]) -> Row:
        """The row of a record with these fields (text, or None), in the header's order."""
        values = [None if i is None else fields[i] or None for i in self._first]
        extra = {name: fields[i] for name, i in self.unknown if fields[i] not in (None, "")}
        if self._several:
            used, unused = set(self._single), []
            for place, indexes in self._several:
                full = [i for i in indexes if has_value(fields[i])] or indexes[:1]
                count, value = self._mapping.combined(place, [fields[i] for i in full])
                values[place] = value or None
                used.update(full[:count])
                unused += full[count:]
            extra |= {
                self.names[i]: fields[i] for i in unused if has_value(fields[i]) and i not in used
            }
        return self._mapping.row(number, values, extra)


def folded(name: str) -> str:
    """A header's name without regard to case, surrounding blanks, and how accents are composed."""
    return unicodedata.normalize("NFC", " ".join(name.split()).casefold())


class Node:
    """A name in the tree of all declared paths: the names below it, and the columns it is for."""

    def __init__(self) -> None:
        self.children: dict[str, Node] = {}
        # a column's place in the table, and this path's rank among those tried for it
        self.columns: list[tuple[int, int]] = []
        # whether all columns below are lists, but for elements; None when there is none
        self.takes_lists: bool | None = None

    def add(self, path: FieldPath, place: int, rank: int, is_list: bool) -> None:
        """Add a path of the column at `place`: the `rank`th that is tried for it, from 0."""
        node = self
        for name in path:
            if not name.isdecimal():
                node.takes_lists = is_list and node.takes_lists is not False
            node = node.children.setdefault(name, Node())
        node.columns.append((place, rank))

    @cached_property
    def has_elements(self) -> bool:
        """Whether a path takes an element of a list by its number, from 0."""
        return any(map(str.isdecimal, self.children))

    @cached_property
    def firsts(self) -> list[tuple[str, int]]:
        """The names below it that are the first choice of one column and of no other, with that."""
        return [
            (name, child.columns[0][0])
            for name, child in self.children.items()
            if not child.children and [rank for _, rank in child.columns] == [0]
        ]


def _spread(
    record: dict[str, Any], node: Node, path: FieldPath, candidates: Candidates, observed: Observed
) -> dict[str, Any]:
    """Add an object's values to the columns' candidates; returns its undeclared fields."""
    undeclared: dict[str, Any] = {}
    objects: dict[str, Any] = {}
    for name, value in record.items():
        child, field = node.children.get(name), (*path, name)
        if child and child.has_elements and isinstance(value, list):
            # the list stays whole for what else takes it, or among the undeclared
            elements = {str(n): one for n, one in enumerate(value) if str(n) in child.children}
            _spread(elements, child, field, candidates, Observed())
        if child and child.children and isinstance(value, dict):
            if inner := _spread(value, child, field, candidates, observed):
                objects[name] = inner
        elif child and child.children and child.takes_lists and is_list_of_objects(value):
            _spread_list(value, child, field, candidates)
            if any(inners := [_spread(one, child, field, {}, observed) for one in value]):
                objects[name] = inners
        elif child and child.columns:
            for column, rank in child.columns:
                candidates.setdefault(column, []).append((rank, field, value))
        elif child is None or value is not None:
            observed.note_field(".".join(field))
            undeclared[name] = value
    return undeclared | objects


def _put(extra: dict[str, Any], path: FieldPath, value: Any) -> None:
    """Add a declared place's value to a record's undeclared fields: under its dotted name where
    these are in a list of objects."""
    holder: Any = extra
    for name in path[:-1]:
        holder = holder.setdefault(name, {})
        if isinstance(holder, list):
            holder, path = extra, (".".join(path),)
            break
    holder[path[-1]] = value


def is_list_of_objects(value: Any) -> bool:
    """Whether it is a list with nothing but objects in it, or with nothing."""
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _spread_list(objects: list[Any], node: Node, path: FieldPath, candidates: Candidates) -> None:
    """Add the values of a list of objects to the candidates of the columns below `node`. A column
    gets a list with an element for each object, null where the object has no value."""
    for name, child in node.children.items():
        if name.isdecimal():  # an element of the list itself
            continue
        values = [one.get(name) if isinstance(one, dict) else None for one in objects]
        for column, rank in child.columns:
            candidates.setdefault(column, []).append((rank, (*path, name), values))
        _spread_list(values, child, (*path, name), candidates)
