"""What COPY's CSV says, read back: an unquoted null is none, a quoted one is a word."""

from __future__ import annotations

import re

from loaders.readers.rows import Row

_CELL = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\n]*))([,\n])')


def rows_of(copied: bytes) -> list[Row]:
    """The rows, their file's name left out."""
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
