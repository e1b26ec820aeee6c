"""What reading a table's files comes to: how many records of which kind, and what was put aside."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from loaders.readers.rows import Found, KeylessError

IN_MEMORY = 8 << 20  # characters of rejects; more are kept on disk


@dataclass
class Read:
    """What reading came to: rows that landed, records that were rejected and that landed repaired,
    the records of each file, and what its fields are. `keyed`: the files of which a slice has the
    key; `keyless`: what to say of one where no slice has."""

    landed: int = 0
    rejected: int = 0
    repaired: int = 0
    records: Counter[str] = field(default_factory=Counter)
    found: Found = field(default_factory=Found)
    keyed: set[str] = field(default_factory=set)
    keyless: dict[str, KeylessError] = field(default_factory=dict)

    def add(self, other: Read) -> None:
        """Takes what another has read of the same table."""
        self.landed += other.landed
        self.rejected += other.rejected
        self.repaired += other.repaired
        self.records.update(other.records)
        self.found.add(other.found)
        self.keyed |= other.keyed
        self.keyless = other.keyless | self.keyless

    def check_keys(self) -> None:
        """KeylessError where no slice of a file has the key."""
        for path, error in self.keyless.items():
            if path not in self.keyed:
                raise error


class Rejects:
    """What was put aside, a line of JSON each: path, number, reason, raw text, and whether the
    record landed repaired."""

    def __init__(self) -> None:
        self._lines = tempfile.SpooledTemporaryFile(  # noqa: SIM115
            max_size=IN_MEMORY, mode="w+", encoding="utf-8"
        )

    def add(self, text: str) -> None:
        self._lines.write(text)

    def blocks(self) -> Iterator[str]:
        """All of their text, in pieces."""
        self._lines.seek(0)
        return iter(partial(self._lines.read, IN_MEMORY), "")

    def __iter__(self) -> Iterator[list[Any]]:
        self._lines.seek(0)
        return map(json.loads, self._lines)
