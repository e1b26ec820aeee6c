"""The tables that land, as `models/bronze/_bronze__sources.yml` and an overlay declare them."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from loaders.declaration import build
from loaders.errors import UsageError
from loaders.schema import Table

PROJECT = Path(__file__).resolve().parent.parent
SOURCES_FILE = PROJECT / "models" / "bronze" / "_bronze__sources.yml"
SETTING = "DAYBOOK_SOURCES"


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
