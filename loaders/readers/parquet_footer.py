"""Reads the sizes of a Parquet file's column chunks from its footer. When asked for the metadata of
a damaged or encrypted chunk, pyarrow crashes the process; reading its values only raises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from loaders.raw_file import RawFile, opened
from loaders.readers.rows import UnreadableError

TAIL = 64 << 10  # bytes at a file's end, which hold most footers
_BYTE_ARRAY = 6
_DICTIONARY = (2, 8)  # PLAIN_DICTIONARY, RLE_DICTIONARY
_DICTIONARY_PAGE = 2
# Thrift's compact types
_TRUE, _FALSE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 8, 9, 10, 12
_NUMBERS = (4, 5, 6)
_SIZES = {3: 1, 7: 8, 13: 16}  # a byte, a double, a UUID


class Chunk(NamedTuple):
    """A column's part of a row group: its bytes unpacked and packed, whether it is text coded by a
    dictionary, and whether its writer gave that up, as most do when it gets too large."""

    unpacked: int
    packed: int
    coded: bool
    given_up: bool


def chunks_of(file: RawFile, width: int) -> Iterator[list[Chunk]]:
    """Each row group's chunks: one for each of the schema's `width` columns, in their order.
    UnreadableError when the footer is damaged or encrypted."""
    footer = _Compact(_footer(file))
    try:
        for name, kind in footer.fields():
            if (name, kind) != (4, _LIST):
                footer.value(kind)
                continue
            many, kind = footer.list_begin()
            for _ in range(many):
                match footer.value(kind, in_list=True):
                    case {1: [*columns]} if len(columns) == width:
                        yield list(map(_chunk, columns))
                    case _:
                        raise ValueError("a row group has other columns than the file")
    except (ValueError, LookupError, TypeError) as error:
        raise UnreadableError(f"{file.location}: not readable as Parquet ({error}).") from error


def _footer(file: RawFile, size: int = TAIL) -> bytes:
    with opened(replace(file, start=max(0, file.bytes - size))) as stream:
        tail = stream.read()
    length = int.from_bytes(tail[-8:-4], "little") + 8  # with itself and PAR1
    return tail[-length:] if length <= len(tail) or size > TAIL else _footer(file, length)


def _chunk(column: Any) -> Chunk:
    match column:
        case {3: {1: int(kind), 2: [*encodings], 6: int(unpacked), 7: int(packed), **more}}:
            stated: Any = more.get(13, ())
            pages = [page[2] for page in stated if page[1] != _DICTIONARY_PAGE]
            coded = kind == _BYTE_ARRAY and any(one in _DICTIONARY for one in encodings)
            return Chunk(unpacked, packed, coded, any(one not in _DICTIONARY for one in pages))
    raise ValueError("a column is encrypted or damaged")


class _Compact:
    """Reads Thrift's compact protocol; a struct is a dict by field number."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def _varint(self) -> int:
        number = shift = 0
        while (byte := self._data[self._at]) >= 0x80:
            number |= (byte & 0x7F) << shift
            shift += 7
            self._at += 1
        self._at += 1
        return number | byte << shift

    def _number(self) -> int:
        zigzag = self._varint()
        return (zigzag >> 1) ^ -(zigzag & 1)

    def _bytes(self, size: int) -> bytes:
        self._at += size
        if self._at > len(self._data):
            raise ValueError("the footer is cut")
        return self._data[self._at - size : self._at]

    def list_begin(self) -> tuple[int, int]:
        """A list's number of elements, and their type."""
        (head,) = self._bytes(1)
        return (head >> 4 if head < 0xF0 else self._varint()), head & 0x0F

    def fields(self) -> Iterator[tuple[int, int]]:
        """Numbers and types of a struct's fields; the caller reads each value before the next."""
        name = 0
        while head := self._data[self._at]:
            self._at += 1
            name = name + (head >> 4) if head >= 0x10 else self._number()
            yield name, head & 0x0F
        self._at += 1

    def value(self, kind: int, *, in_list: bool = False) -> Any:
        """The next value, of type `kind`."""
        if kind in _NUMBERS:
            return self._number()
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind == _STRUCT:
            return {name: self.value(one) for name, one in self.fields()}
        if kind in (_LIST, _SET):
            many, one = self.list_begin()
            return [self.value(one, in_list=True) for _ in range(many)]
        if kind in (_TRUE, _FALSE):
            return self._bytes(1) == b"\1" if in_list else kind == _TRUE
        return self._bytes(_SIZES[kind])
