"""The tables that land, as `models/bronze/_bronze__sources.yml` and an overlay declare them."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from loaders.declaration import build
from loaders.errors import UsageError
from loaders.schema import Table

PROJECT = Path(__file__).resolve().parent.parent
SOURCES_FILE = PROJECT / "models" / "bronze" / "_bronze__sources.yml"
SETTING = "DAYBOOK_SOURCES"
_BaseLoader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def declared_tables(sources: str | Path | None = None) -> dict[str, Table]:
    """Every declared table by name, in the order of the sources file.

    `sources` (or DAYBOOK_SOURCES) is an overlay: it says only what differs in how files are read.
    UsageError lists every problem when a declaration can't be used.
    """
    overlay = str(sources or os.environ.get(SETTING) or "")
    overlay = str(Path(overlay).absolute()) if overlay else ""
    try:
        return _declared(overlay, Path(overlay).stat().st_mtime_ns if overlay else 0)
    except (OSError, UnicodeDecodeError) as error:
        if not overlay or str(getattr(error, "filename", overlay)) != overlay:
            raise
        why = getattr(error, "strerror", "it is not UTF-8")
        named = "--sources" if sources else SETTING
        raise UsageError(f"{named}: {overlay} can't be read: {why}.") from None


@lru_cache(maxsize=8)
def _declared(overlay: str, _mtime: int) -> dict[str, Table]:
    problems: list[str] = []
    files = [SOURCES_FILE, *([Path(overlay)] if overlay else [])]
    return build([(file, _read(file, problems)) for file in files], problems)


def _read(path: Path, problems: list[str]) -> Any:
    """The file's content, with every scalar as text: `no` stays no, 1.10 stays 1.10."""
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        loader.file, loader.problems = path.name, problems
        return loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UsageError(
            f"{path}{where}: this is no YAML; a name with one of []{{}},:#* in it stands in quotes."
        ) from None


class _Loader(_BaseLoader):  # type: ignore[misc]
    """Adds names that a mapping has twice to `problems`: YAML keeps the last and says nothing."""

    file: str
    problems: list[str]

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        known: set[str] = set()
        for key, _ in node.value:
            if (name := str(key.value)) in known:
                line = key.start_mark.line + 1
                self.problems.append(f"{name}: it is said again in {self.file}, line {line}.")
            known.add(name)
        return super().construct_mapping(node, deep)
