"""Part files are read ahead of COPY: all of them, a little at a time, and errors come through."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from loaders import partition
from loaders.raw_file import RawFile


class Parts:
    """Sources of pieces that count what was made of them, and how many were closed."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.made = self.taken = self.most = self.closed = 0
        self.lock = threading.Lock()

    def source(self, number: int) -> Generator[bytes]:
        try:
            for piece in range(self.sizes[number]):
                with self.lock:
                    self.made += 1
                    self.most = max(self.most, self.made - self.taken)
                yield f"{number}.{piece} ".encode()
        finally:
            self.closed += 1

    def read(self) -> Generator[bytes]:
        for piece in partition._read_ahead(map(self.source, range(len(self.sizes)))):
            with self.lock:
                self.taken += 1
            yield piece


def test_all_is_read_and_little_of_it_ahead() -> None:
    parts = Parts([0, 40, 1, 300, 0, 7, 120])
    found = b"".join(parts.read()).decode().split()
    assert len(found) == len(set(found)) == sum(parts.sizes)
    for number, size in enumerate(parts.sizes):
        mine = [name for name in found if name.startswith(f"{number}.")]
        assert mine == [f"{number}.{piece}" for piece in range(size)]
    assert parts.most <= partition.PARTS_AHEAD
    assert list(partition._read_ahead(iter([]))) == []


def test_what_is_wrong_with_a_part_is_raised() -> None:
    def broken() -> Generator[bytes]:
        yield b"1"
        raise OSError("gone")

    parts = Parts([100])
    before = set(threading.enumerate())
    with pytest.raises(OSError, match="gone"):
        list(partition._read_ahead(iter([parts.source(0), broken()])))
    assert parts.closed == 1
    assert set(threading.enumerate()) <= before


def test_a_reading_that_is_given_up_ends() -> None:
    parts = Parts([1000] * 9)
    before = set(threading.enumerate())
    with closing(parts.read()) as pieces:
        next(pieces)
    assert parts.made <= 1 + partition.PARTS_AHEAD
    assert set(threading.enumerate()) <= before


def test_a_large_part_is_read_in_small_pieces(tmp_path: Path) -> None:
    """However few its row groups are."""
    many = 4 * partition.PART_ROWS
    path = tmp_path / "part.parquet"
    parquet.write_table(pyarrow.table({"b": ["x,y"] * many, "a": [None] * many}), path)
    file = RawFile("part", path, "parquet", False, path.stat().st_size, 0)
    pieces = list(partition._csv_of(file, ["a", "b"], None))
    assert [piece.count(b"\n") for piece in pieces] == [partition.PART_ROWS] * 4
    assert pieces[0].startswith(b',"x,y"\n')
