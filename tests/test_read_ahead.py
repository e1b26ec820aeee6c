"""Part files are read ahead of COPY: all of them, a little at a time, and errors come through."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from loaders.raw_file import RawFile
from loaders.readers import parquet_file


class Pieces:
    """Counts what was made, and what of it was not taken yet."""

    def __init__(self, many: int, error: Exception | None = None) -> None:
        self.many, self.error = many, error
        self.made = self.taken = self.most = 0
        self.closed = False

    def source(self) -> Generator[bytes]:
        try:
            for piece in range(self.many):
                self.made += 1
                self.most = max(self.most, self.made - self.taken)
                yield f"{piece} ".encode()
            if self.error:
                raise self.error
        finally:
            self.closed = True

    def read(self) -> Generator[bytes]:
        for piece in parquet_file.read_ahead(self.source()):
            self.taken += 1
            yield piece


def test_all_is_read_in_order_and_little_of_it_ahead() -> None:
    pieces = Pieces(300)
    assert b"".join(pieces.read()).decode().split() == [str(n) for n in range(300)]
    assert pieces.most <= 2
    assert list(Pieces(0).read()) == []


def test_what_is_wrong_with_a_part_is_raised() -> None:
    before = set(threading.enumerate())
    pieces = Pieces(3, OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        list(pieces.read())
    assert (pieces.taken, pieces.closed) == (3, True)
    assert set(threading.enumerate()) <= before


def test_a_reading_that_is_given_up_ends() -> None:
    pieces = Pieces(1000)
    before = set(threading.enumerate())
    with closing(pieces.read()) as taken:
        next(taken)
    assert pieces.made <= 2
    assert set(threading.enumerate()) <= before


def test_a_large_part_is_read_in_small_pieces(tmp_path: Path) -> None:
    """However few its row groups are."""
    many = 4 * parquet_file.BATCH
    path = tmp_path / "part.parquet"
    parquet.write_table(pyarrow.table({"b": ["x,y"] * many, "a": [None] * many}), path)
    file = RawFile("part", path, "parquet", False, path.stat().st_size, 0)
    read: list[int] = []
    pieces = list(parquet_file.csv_of([file], ["a", "b"], read.append))
    assert [piece.count(b"\n") for piece in pieces] == [parquet_file.BATCH] * 4
    assert pieces[0].startswith(b',"x,y"\n')
    assert read == [file.bytes]
