"""Raw days as tests want them: the required entities filled in, the rest as given."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

AGENTS = [{"id": 1, "contact": {"email": "a@example.com", "name": "A"}}]
GROUPS = [{"id": 10, "name": "G", "agent_ids": [1]}]


def write(root: Path, path: str, content: Any) -> Path:
    """Writes bytes, text, or anything else as JSON; `.gz` is compressed."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        content = content.encode()
    elif not isinstance(content, bytes):
        content = json.dumps(content).encode()
    target.write_bytes(gzip.compress(content) if path.endswith(".gz") else content)
    return target


def write_day(root: Path, day: str = "day1", **files: Any) -> Path:
    """A day that lands; `files` are contents by path, given as `**{"roles.json": …}`."""
    folder = root / day
    write(folder, "agents.json", AGENTS)
    write(folder, "groups.json", GROUPS)
    write(folder, "transactions.json", [])
    for path, content in files.items():
        write(folder, path, content)
    return folder
