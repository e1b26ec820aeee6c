"""The tables that land, as `models/bronze/_bronze__sources.yml` declares them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

PROJECT = Path(__file__).resolve().parent.parent
SOURCES_FILE = PROJECT / "models" / "bronze" / "_bronze__sources.yml"


@dataclass(frozen=True)
class Column:
    """A landed column: its name, the type it has once typed, and its path in a JSON record."""

    name: str
    data_type: str
    json_path: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A `stg_*` table: what it is found under in a day's folder and how it is landed."""

    name: str
    found_under: tuple[str, ...]
    kind: Literal["snapshot", "delta"]
    required: bool
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    max_reject_share: float

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


@cache
def declared_tables() -> dict[str, Table]:
    """Every declared table by name, in the order of the sources file."""
    import yaml

    declared = yaml.safe_load(SOURCES_FILE.read_text(encoding="utf-8"))
    (bronze,) = declared["sources"]
    return {entry["name"]: _table(entry) for entry in bronze["tables"]}


def _table(entry: dict[str, Any]) -> Table:
    meta = entry["config"]["meta"]
    return Table(
        name=entry["name"],
        found_under=tuple(meta["found_under"]),
        kind=meta["kind"],
        required=meta["required"],
        key=tuple(meta["key"]),
        columns=tuple(_column(column) for column in entry["columns"]),
        max_reject_share=meta.get("max_reject_share", 0.10),
    )


def _column(entry: dict[str, Any]) -> Column:
    path = entry.get("config", {}).get("meta", {}).get("json", entry["name"])
    return Column(entry["name"], entry["data_type"], tuple(path.split(".")))
