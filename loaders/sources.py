"""The tables that land, as `models/bronze/_bronze__sources.yml` and an overlay declare them."""

from __future__ import annotations

import os
from collections.abc import Iterator
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


def declared_tables(sources: str | Path | None = None) -> dict[str, Table]:
    """Every declared table by name, in the order of the sources file.

    `sources` (or DAYBOOK_SOURCES) is an overlay: it says only what differs in how files are read.
    UsageError lists every problem when a declaration can't be used.
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
    problems: list[str] = []
    files = [SOURCES_FILE, *([Path(overlay)] if overlay else [])]
    return build([(file, _read(file, problems)) for file in files], problems)


def _read(path: Path, problems: list[str]) -> Any:
    """The file's content, with every scalar as text: `no` stays no, 1.10 stays 1.10. Names that a
    mapping has twice are added to `problems`, since YAML keeps the last and says nothing."""
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        text = path.read_text(encoding="utf-8")
        problems += _repeated(yaml.compose(text, Loader=loader), "", path.name, set())
        return yaml.load(text, Loader=loader)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: the sources can't be read: {type(error).__name__}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UsageError(
            f"{path}{where}: this is no YAML; a name with one of []{{}},:# in it stands in quotes."
        ) from None


def _repeated(node: Any, where: str, file: str, seen: set[int]) -> Iterator[str]:
    """A message, with file and line, for each name that a mapping in the node repeats."""
    inner: list[Any] = node.value if node and isinstance(node.value, list) else []
    if id(node) in seen or not inner:
        return
    seen.add(id(node))  # a YAML alias is the same node again
    known: set[str] = set()
    for child in inner:
        if not isinstance(child, tuple):  # an entry of a list, which dbt names by `name:`
            entry = child.value if child.id == "mapping" else ()
            names = [v.value for k, v in entry if k.value == "name" and v.id == "scalar"]
            suffix = "".join(f".{name}" for name in names[:1])
            yield from _repeated(child, where + suffix, file, seen)
            continue
        key, value = child
        name = f"{where}.{key.value}".lstrip(".")
        if name in known:
            yield f"{name}: it is said again in {file}, line {key.start_mark.line + 1}."
        known.add(name)
        yield from _repeated(value, name, file, seen)
