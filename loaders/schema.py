"""A landed table and its columns: what a declaration comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# A field inside of others: ("contact", "email").
FieldPath = tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """A landed column: its name, the type it has once typed, and how a raw file gives it.

    `places` are the names or paths tried in order, or taken together where they `join`;
    `shared`: another column has them too; `values` is theirs → ours; `formats` are strptime's, of a
    date or a time;
    `scale`: how far a number's point moves to the right; `pii`: whether it names an agent or a card
    `user`, or says something `personal` of the one whom the record names; `hash`: it lands hashed;
    `switches_off` is the value by which a record switches off what it names.
    """

    name: str
    data_type: str
    places: tuple[FieldPath, ...]
    default: str | None = None
    values: tuple[tuple[str, str], ...] = ()
    formats: tuple[str, ...] = ()
    shared: bool = False
    join: bool = False
    scale: int = 0
    pii: str = ""
    hash: bool = False
    switches_off: str = ""

    @property
    def json_path(self) -> FieldPath:
        """The first of its places."""
        return self.places[0]


@dataclass(frozen=True)
class Table:
    """A `stg_*` table: what it is found under in a day's folder and how its files are read.

    `records` is the path to a page's list where it is not `results`, `decimal` the sign before a
    number's fraction where numbers are written as people do.
    """

    name: str
    found_under: tuple[str, ...]
    kind: Literal["snapshot", "delta"]
    required: bool
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    max_reject_share: float = 0.10
    records: FieldPath = ()
    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = ""

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def hashes(self) -> bool:
        """Whether a column lands hashed: then nothing is kept or shown that nobody declared."""
        return any(column.hash for column in self.columns)

    @property
    def entity(self) -> str:
        """What keeps its records: agent_details are agents."""
        return "agents" if self.name == "stg_agent_details" else self.name.removeprefix("stg_")

    def is_id(self, column: Column) -> bool:
        """Whether the column names a thing: part of the key, or another table's."""
        in_key = column.name in self.key and column.data_type != "date"
        return in_key or column.name.endswith("_id")
