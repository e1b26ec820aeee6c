"""A landed table and its columns, as declarations give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# The names that lead to a nested field: ("contact", "email").
FieldPath = tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """A landed column: its name, its type in silver, and where its value is in a raw file.

    `places`: the names or paths that are tried in order, or, with `join`, are joined; `moved`: an
    overlay says them. `shared`: another column may have the same places. `values`: theirs → ours.
    `formats`: strptime's, for a date or a time; `timezone`: of those without an offset.
    `separator`: between the parts of a list that is text. `scale`: by how many places a number's
    point moves to the right. `negate`: its sign turns. `file_name`: that of the file stands in for
    a missing value. `pii`: `agent` or `user` when it names one, `personal` when it tells something
    else of a person. `hash`: it lands hashed. `switches_off`: a record with this value switches off
    the thing that it names.
    """

    name: str
    data_type: str
    places: tuple[FieldPath, ...]
    moved: bool = False
    default: str | None = None
    values: tuple[tuple[str, str], ...] = ()
    formats: tuple[str, ...] = ()
    shared: bool = False
    join: bool = False
    scale: int = 0
    negate: bool = False
    file_name: bool = False
    separator: str = ""
    timezone: str = ""
    pii: str = ""
    hash: bool = False
    switches_off: str = ""

    @property
    def has_stand_in(self) -> bool:
        """Whether a record without a value gets one all the same."""
        return self.file_name or self.default is not None


@dataclass(frozen=True)
class Table:
    """A `stg_*` table: the names of its files in a day's folder, and how they are read.

    `records`: the path to a page's list of records, when it is not `results`. `decimal`: the sign
    before a number's fraction, for files whose numbers are formatted; else empty. `skip_lines`: how
    many lines with content a CSV or a sheet has above its header.
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
    skip_lines: int = 0

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def key_in_files(self) -> list[Column]:
        """The columns of the key that files have to bring: all, where each has a stand-in."""
        key = [self.columns[self.column_names.index(name)] for name in self.key]
        return [column for column in key if not column.has_stand_in] or key

    @property
    def hashes(self) -> bool:
        """Whether a column lands hashed: then undeclared values are neither kept nor shown."""
        return any(column.hash for column in self.columns)

    @property
    def entity(self) -> str:
        """The entity that its records belong to: agent_details are agents."""
        return "agents" if self.name == "stg_agent_details" else self.name.removeprefix("stg_")

    def is_id(self, column: Column) -> bool:
        """Whether the column is an id: part of the key, or another table's key."""
        in_key = column.name in self.key and column.data_type != "date"
        return in_key or column.name.endswith("_id")
