"""The tables that land, as `models/bronze/_bronze__sources.yml` and an overlay declare them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from loaders.errors import UsageError

PROJECT = Path(__file__).resolve().parent.parent
SOURCES_FILE = PROJECT / "models" / "bronze" / "_bronze__sources.yml"
SETTING = "DAYBOOK_SOURCES"

Path_ = tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """A landed column: its name, the type it has once typed, and how a raw file gives it.

    `places` are the names or paths tried in order; `shared`: another column has them too;
    `values` is theirs → ours; `formats` are strptime's, of a date or a time;
    `scale`: how far a number's point moves to the right.
    """

    name: str
    data_type: str
    places: tuple[Path_, ...]
    default: str | None = None
    values: tuple[tuple[str, str], ...] = ()
    formats: tuple[str, ...] = ()
    shared: bool = False
    scale: int = 0

    @property
    def json_path(self) -> Path_:
        """The first of its places."""
        return self.places[0]


@dataclass(frozen=True)
class Table:
    """A `stg_*` table: what it is found under in a day's folder and how its files are read.

    `records` is the path to a page's list where it is not `results`, `decimal` the sign before a
    number's fraction.
    """

    name: str
    found_under: tuple[str, ...]
    kind: Literal["snapshot", "delta"]
    required: bool
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    max_reject_share: float = 0.10
    records: Path_ = ()
    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def is_id(self, column: Column) -> bool:
        """Whether the column names a thing: part of the key, or another table's."""
        in_key = column.name in self.key and column.data_type != "date"
        return in_key or column.name.endswith("_id")


def declared_tables(sources: str | Path | None = None) -> dict[str, Table]:
    """Every declared table by name, in the order of the sources file.

    `sources` (or DAYBOOK_SOURCES) is an overlay: it says only what differs in how files are read.
    UsageError, with all that is wrong in one message, when a declaration can't be used.
    """
    overlay = str(sources or os.environ.get(SETTING) or "")
    if overlay:
        overlay = str(Path(overlay).absolute())
    return _declared(overlay, _changed(overlay))


def _changed(overlay: str) -> int:
    try:
        return Path(overlay).stat().st_mtime_ns if overlay else 0
    except OSError as error:
        raise UsageError(f"{overlay}: the sources can't be read: {error.strerror}.") from None


@lru_cache(maxsize=8)
def _declared(overlay: str, _mtime: int) -> dict[str, Table]:
    from loaders.declaration import build

    declared = [(SOURCES_FILE, _read(SOURCES_FILE))]
    if overlay:
        declared.append((Path(overlay), _read(Path(overlay))))
    return build(declared)


def _read(path: Path) -> Any:
    """The file's content, every scalar as it is written: `no` stays no, 1.10 stays 1.10."""
    import yaml

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: the sources can't be read: {type(error).__name__}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{path}{where}: this is no YAML.") from None
