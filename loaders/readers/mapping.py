"""From what a raw file calls things to what lands: the same rules for every format."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

from loaders.readers.rows import Found, Row, has_value, is_key, json_text, text_of
from loaders.readers.values import Treat, chained, declared_of, habit_of
from loaders.schema import FieldPath, Table


class Mapping:
    """A table's declaration, made ready for reading.

    `habits` are what a foreign writer does to ids and dates, by column: nearly all files have
    nothing of it. `declared` are the treatments somebody asked for. `treats` are both.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.names = table.column_names
        self.width = len(table.columns)
        self.habits: dict[int, Treat] = {}
        self.declared: dict[int, Treat] = {}
        self.treats: dict[int, Treat] = {}
        for place, column in enumerate(table.columns):
            habit, declared = habit_of(table, column), declared_of(table, column)
            for treats, treat in (
                (self.habits, habit),
                (self.declared, declared),
                (self.treats, chained(habit, declared)),
            ):
                if treat:
                    treats[place] = treat
        self.key = [table.column_names.index(name) for name in table.key]
        self._headers: dict[tuple[str, ...], Header] = {}
        self.shape: Any = None  # what of JSON's records was learnt
        self.tree = Node()
        for place, column in enumerate(table.columns):
            for rank, path in enumerate(column.places):
                self.tree.add(path, place, rank, column.data_type == "jsonb")

    def header(self, names: Sequence[str]) -> Header:
        """What the names of a file's header stand for; worked out once for all files with them."""
        known = tuple(names)
        if known not in self._headers:
            self._headers[known] = Header(known, self)
        return self._headers[known]

    def habits_of(self, columns: Sequence[str]) -> dict[int, Treat]:
        """By their place in a file with these columns."""
        habits = {self.names[place]: habit for place, habit in self.habits.items()}
        return {i: habits[name] for i, name in enumerate(columns) if name in habits}

    def record(self, number: int, record: dict[str, Any], found: Found) -> Row:
        """A JSON record, as json reads it, as it lands; what it has is noted in `found`."""
        given: dict[int, list[tuple[int, FieldPath, Any]]] = {}
        extra = _spread(record, self.tree, (), given, found)
        taken: dict[int, Any] = {}
        used: set[FieldPath] = set()
        others: list[tuple[int, FieldPath, Any]] = []
        for column, places in given.items():
            places.sort(key=itemgetter(0))
            full = [place for place in places if has_value(place[2])] or places[:1]
            many, taken[column] = self.taken(column, [value for *_, value in full])
            used.update(path for _, path, _ in full[:many])
            others += full[many:]
        for _, path, value in others:
            if path not in used:
                found.note_field(".".join(path))
                holder = extra
                for name in path[:-1]:
                    holder = holder.setdefault(name, {})
                holder[path[-1]] = value
        never = dict(enumerate(self.names)) if found.never is None else found.never
        found.never = {at: name for at, name in never.items() if at not in taken}
        values = [taken.get(at) for at in range(self.width)]
        found.keyed = found.keyed or all(is_key(values[at]) for at in self.key)
        return self.row(number, [text_of(value) for value in values], extra)

    def taken(self, column: int, given: Sequence[Any]) -> tuple[int, Any]:
        """How many of the values that its places have a column takes, and what these come to."""
        if self.table.columns[column].join and given[1:]:
            return len(given), " ".join(str(text_of(value)).strip() for value in given)
        return 1, given[0]

    def row(self, number: int, values: list[str | None], extra: dict[str, Any]) -> Row:
        """The record as it lands, once what the file calls its values is settled."""
        for place, treat in self.treats.items():
            values[place] = treat(values[place])
        kept = extra and not self.table.hashes
        return Row(number, values, json_text(extra, for_jsonb=True) if kept else None)


class Header:
    """Which column each name of a CSV, a sheet or a Parquet file stands for."""

    def __init__(self, names: Sequence[str], mapping: Mapping) -> None:
        self.names = tuple(names)
        self._mapping = mapping
        at: dict[str, int] = {}
        for index, name in enumerate(names):
            at.setdefault(folded(name), index)
        for index, name in enumerate(names):
            at[name.strip()] = index  # the very name before one in another case
        self.places: list[list[int]] = []
        used: set[int] = set()  # by a column that shares it with none
        for column in mapping.table.columns:
            said = [".".join(path) for path in column.places]
            found = [at.get(name, at.get(folded(name), -1)) for name in said]
            indexes = list(dict.fromkeys(index for index in found if index >= 0))
            self.places.append([i for i in indexes if column.shared or i not in used])
            used.update(indexes if not column.shared else ())
        known = {index for indexes in self.places for index in indexes}
        self.unknown = [(name, i) for i, name in enumerate(names) if i not in known]
        self._several = [(place, found) for place, found in enumerate(self.places) if found[1:]]
        self._alone = {found[0] for found in self.places if len(found) == 1}
        self._first = [found[0] if found else None for found in self.places]

    @cached_property
    def streamed(self) -> tuple[str, ...] | None:
        """The columns to COPY a CSV's bytes into as they are: every name is one column's, and
        nothing is to be changed. None for a single one, of which COPY takes a blank line for a
        record."""
        columns: dict[int, str] = {}
        for name, found in zip(self._mapping.names, self.places, strict=True):
            if found[1:] or (found and columns.setdefault(found[0], name) != name):
                return None
        changes = self._mapping.declared or self._mapping.table.encoding != "utf-8"
        if changes or len(columns) < max(2, len(self.names)):
            return None
        return tuple(columns[index] for index in range(len(self.names)))

    def missing_key(self) -> list[str]:
        """The columns of the key that no name stands for and that have no default."""
        columns = self._mapping.table.columns
        return [
            columns[place].name
            for place in self._mapping.key
            if not self.places[place] and columns[place].default is None
        ]

    def note(self, found: Found) -> None:
        """What the header lacks and has beyond the declaration."""
        for column, indexes in zip(self._mapping.table.columns, self.places, strict=True):
            if not indexes and column.default is None:
                found.absent.add(column.name)
        for name, _ in self.unknown:
            found.note_field(name)

    def row(self, number: int, fields: Sequence[Any]) -> Row:
        """A record's fields (text, or None) as it lands."""
        values = [None if i is None else fields[i] or None for i in self._first]
        extra = {name: fields[i] for name, i in self.unknown if fields[i] not in (None, "")}
        if self._several:
            taken, others = set(self._alone), []
            for place, indexes in self._several:
                full = [i for i in indexes if has_value(fields[i])] or indexes[:1]
                many, value = self._mapping.taken(place, [fields[i] for i in full])
                values[place] = value or None
                taken.update(full[:many])
                others += full[many:]
            extra |= {
                self.names[i]: fields[i] for i in others if has_value(fields[i]) and i not in taken
            }
        return self._mapping.row(number, values, extra)


def folded(name: str) -> str:
    """A header's name whatever its case and the blanks around it."""
    return " ".join(name.split()).casefold()


class Node:
    """A step of declared paths: what is below it, and the columns that it gives."""

    def __init__(self) -> None:
        self.below: dict[str, Node] = {}
        self.columns: list[tuple[int, int]] = []  # place and rank of each
        self.takes_lists = True  # whether all columns below are lists

    def add(self, path: tuple[str, ...], place: int, rank: int, is_list: bool) -> None:
        """Says that the path ends at the column at `place`, as one of the places tried for it."""
        node = self
        for name in path:
            node.takes_lists &= is_list
            node = node.below.setdefault(name, Node())
        node.columns.append((place, rank))

    @property
    def is_tried_late(self) -> bool:
        """Whether no column has this place for its first."""
        return bool(self.columns) and all(rank for _, rank in self.columns)


def _spread(
    record: dict[str, Any],
    node: Node,
    path: FieldPath,
    given: dict[int, list[tuple[int, FieldPath, Any]]],
    found: Found,
) -> dict[str, Any]:
    """Adds what the columns are given: rank, path and value; what nobody declared is left."""
    rest: dict[str, Any] = {}
    objects: dict[str, Any] = {}
    for name, value in record.items():
        below, own = node.below.get(name), (*path, name)
        if below and below.below and isinstance(value, dict):
            if inner := _spread(value, below, own, given, found):
                objects[name] = inner
        elif below and below.below and below.takes_lists and is_list_of_objects(value):
            _each(value, below, own, given)
            if any(inners := [_spread(one, below, own, {}, found) for one in value]):
                objects[name] = inners
        elif below and below.columns:
            for column, rank in below.columns:
                given.setdefault(column, []).append((rank, own, value))
        elif below is None or value is not None:
            found.note_field(".".join(own))
            rest[name] = value
    return rest | objects


def is_list_of_objects(value: Any) -> bool:
    """Whether it is a list, and of objects where it has anything."""
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _each(
    objects: list[Any],
    node: Node,
    path: FieldPath,
    given: dict[int, list[tuple[int, FieldPath, Any]]],
) -> None:
    """Adds what a list's objects give below `node`: to each column a list, null where one has
    nothing."""
    for name, below in node.below.items():
        values = [one.get(name) if isinstance(one, dict) else None for one in objects]
        for column, rank in below.columns:
            given.setdefault(column, []).append((rank, (*path, name), values))
        _each(values, below, (*path, name), given)
