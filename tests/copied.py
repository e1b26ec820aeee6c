"""The bytes that readers give to COPY as rows again; and JSON read by Python's json alone."""

from __future__ import annotations

import re
from typing import Any
from unittest.mock import Mock, patch

import msgspec

from loaders.readers import json_blocks, json_cells, json_file
from loaders.readers.rows import Row

_CELL = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\n]*))([,\n])')


def rows_of(copied: bytes) -> list[Row]:
    """The rows without their file's name. An unquoted null is None, a quoted one is a word."""
    text, at, cells, found = copied.decode(), 0, [], []
    while at < len(text):
        match = _CELL.match(text, at)
        assert match, text[at : at + 100]
        bare = None if match[2] == "null" else match[2]
        cells.append(match[1].replace('""', '"') if match[1] is not None else bare)
        at = match.end()
        if match[3] == "\n":
            *values, extra, _, number = cells
            found.append(Row(int(number or 0), values, extra))
            cells = []
    return found


def by_python(*arguments: Any) -> list[tuple[bytes, int]]:
    """`read_json` without msgspec, which refuses everything."""
    refused = Mock(side_effect=msgspec.DecodeError)
    with (
        patch.object(json_blocks, "_elements", refused),
        patch.object(json_cells.Cells, "line", return_value=None),
    ):
        return list(json_file.read_json(*arguments))
