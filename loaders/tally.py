"""The result of reading a table's files: how many records of which kind, and the rejects."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from loaders.readers.rows import KeylessError, Observed

IN_MEMORY = 8 << 20  # characters of rejects; more are kept on disk


@dataclass
class Read:
    """The counts of a reading, and the fields that it found; `records` counts by file. `keyed`: the
    files of which a slice has the key; `keyless`: for a slice without it, the file's error."""

    landed: int = 0
    rejected: int = 0
    repaired: int = 0
    records: Counter[str] = field(default_factory=Counter)
    observed: Observed = field(default_factory=Observed)
    keyed: set[str] = field(default_factory=set)
    keyless: dict[str, KeylessError] = field(default_factory=dict)

    def add(self, other: Read) -> None:
        """Add what another process has read of the same table."""
        self.landed += other.landed
        self.rejected += other.rejected
        self.repaired += other.repaired
        self.records.update(other.records)
        self.observed.add(other.observed)
        self.keyed |= other.keyed
        self.keyless = other.keyless | self.keyless

    def check_keys(self) -> None:
        """KeylessError where no slice of a file has the key."""
        for path, error in self.keyless.items():
            if path not in self.keyed:
                raise error


class Rejects:
    """Rejects, each a line of JSON: path, record number, reason, raw text, whether it landed
    repaired."""

    def __init__(self) -> None:
        self._lines = tempfile.SpooledTemporaryFile(  # noqa: SIM115
            max_size=IN_MEMORY, mode="w+", encoding="utf-8"
        )

    def add(self, text: str) -> None:
        self._lines.write(text)

    def blocks(self) -> Iterator[str]:
        """All lines as text, in pieces."""
        self._lines.seek(0)
        return iter(partial(self._lines.read, IN_MEMORY), "")

    def __iter__(self) -> Iterator[list[Any]]:
        self._lines.seek(0)
        return map(json.loads, self._lines)
