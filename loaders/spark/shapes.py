"""JSON lines that Spark takes apart by itself: plain ones, of a shape that was seen in the files.

Spark's own JSON functions don't keep a number's digits (1.10 becomes 1.1, 1e5 becomes 100000.0).
So a shape is a pattern: the names of an object in their order, a plain value behind each; what the
pattern finds is written down as it lands. A line that matches none is left to `read_json`: it has a
backslash, a list of objects, other names or another order, a name twice, or it is no JSON.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from loaders.plan import Scanned
from loaders.readers.mapping import MIDNIGHT, WHOLE_ID, Mapping, Node
from loaders.readers.rows import Found
from loaders.sources import Table

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

# Each line is held against one after the other.
SHAPES = 4
# Java's stack grows with a pattern's length.
NAMES = 200
SAMPLE_FILES = 10
SAMPLE_BYTES = 64 << 10
# Before each value that lands; no line that matches has it in it.
MARK = "\x01"

_NAME = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]*')
_BLANK = r"[ \t\r]*"
_STRING = r'"[^"\\\x00-\x1f]*'  # without the quote at its end
# shorter than what jsonb refuses
_NUMBER = r"-?+(?:0|[1-9][0-9]{0,99}+)(?:\.[0-9]{1,99}+)?+(?:[eE][+-]?+[0-9]{1,3}+)?+"
_WORD = f"{_NUMBER}|true|false|null"


def _list_of(item: str) -> str:
    # possessive groups: Java's stack doesn't grow with the list
    more = rf"(?:{_BLANK},{_BLANK}(?:{item}){_BLANK})*+"
    return rf"\[{_BLANK}(?:(?:{item}){_BLANK}{more})?+\]"


_SCALAR = f'{_STRING}"|{_WORD}'
_LIST = _list_of(f"{_SCALAR}|{_list_of(_SCALAR)}")


class _Shapeless(Exception):
    """No shape stands for records like this one."""


class _Object(list[tuple[str, Any]]):
    """An object's names and values, in its order."""


@dataclass(frozen=True)
class Shape:
    """A pattern in Java's syntax, what takes a matching line's place, and the fields it has."""

    pattern: str
    landed: str
    seen: frozenset[str]
    unknown: frozenset[str]


def find_shapes(files: list[Scanned], table: Table) -> list[Shape]:
    """The commonest shapes of lines at the beginning and in the middle of a few files."""
    found: Counter[Shape] = Counter()
    for scanned in files[:SAMPLE_FILES]:
        with open(str(scanned.file.location), "rb") as file:  # noqa: PTH123
            for start in (0, scanned.file.bytes // 2):
                file.seek(start)
                # the first may have begun before, the last goes on
                found.update(_shapes(file.read(SAMPLE_BYTES).split(b"\n"), table))
    return [shape for shape, _ in found.most_common(SHAPES)]


def _shapes(lines: Iterable[bytes], table: Table) -> Iterable[Shape]:
    for line in lines:
        try:
            record = json.loads(line, object_pairs_hook=_Object)
            yield _Maker(names_of=table.column_names).shape(record, table)
        except (ValueError, RecursionError, _Shapeless):
            continue


@dataclass
class _Maker:
    """A shape while it is made: what it has come to, and how many groups its pattern has."""

    values: dict[int, str] = field(default_factory=dict)
    fields: Found = field(default_factory=Found)
    groups: int = 0
    names: int = 0
    names_of: tuple[str, ...] = ()

    def shape(self, record: Any, table: Table) -> Shape:
        if not isinstance(record, _Object):
            raise _Shapeless
        pattern, extra = self._spread(record, Mapping(table).tree, "")
        places = range(len(table.columns))
        landed = [*(self.values.get(place, "null") for place in places), extra]
        return Shape(
            rf"\A{pattern}{_BLANK}\z",
            "".join(MARK + value for value in landed),
            frozenset(self.fields.seen),
            frozenset(self.fields.unknown),
        )

    def _spread(self, record: _Object, tree: Node, prefix: str) -> tuple[str, str]:
        """As `read_json` does it: the object's pattern, and what takes the undeclared's place."""
        parts, extra = [], []
        for name, value in self._distinct(record):
            node = tree.below.get(name)
            if node is not None and node.column and node.column[1]:
                raise _Shapeless  # another place of its column
            if node is None:
                self.fields.know(prefix + name)
                extra.append(f"{_quoted(name)}:{self._group()}")
                parts.append(f"({self._value(value)})")
            elif not node.below:
                node_place = node.column[0] if node.column else 0
                self.fields.seen.add(self.names_of[node_place])
                if isinstance(value, _Object):
                    self.values[node_place] = self._group()
                    parts.append(f"({self._value(value)})")
                else:
                    self.values[node_place] = self._group() + self._group()
                    parts.append(f'(?:({_STRING})"|({_WORD}|{_LIST}))')
            elif isinstance(value, _Object):
                pattern, inner = self._spread(value, node, f"{prefix}{name}.")
                parts.append(pattern)
                if inner:
                    extra.append(f"{_quoted(name)}:{inner}")
            elif value is None:
                parts.append("null")
            else:
                raise _Shapeless
        return _object(record, parts), "{" + ",".join(extra) + "}" if extra else ""

    def _value(self, value: Any) -> str:
        """The pattern of any value: an object has the names of this one."""
        if isinstance(value, _Object):
            return _object(value, [f"(?:{self._value(one)})" for _, one in self._distinct(value)])
        return f"{_SCALAR}|{_LIST}"

    def _distinct(self, record: _Object) -> _Object:
        names = {name for name, _ in record}
        self.names += len(record)
        plain = all(map(_NAME.fullmatch, names))
        if not plain or len(names) < len(record) or self.names > NAMES:
            raise _Shapeless
        return record

    def _group(self) -> str:
        self.groups += 1
        return f"${self.groups}"


def _object(record: _Object, values: list[str]) -> str:
    pairs = [
        rf'"\Q{name}\E"{_BLANK}:{_BLANK}{value}{_BLANK}'
        for (name, _), value in zip(record, values, strict=True)
    ]
    return rf"\{{{_BLANK}{f',{_BLANK}'.join(pairs)}\}}"


def _quoted(name: str) -> str:
    return '"' + name.replace("$", r"\$") + '"'


def with_values(lines: DataFrame, shapes: list[Shape]) -> DataFrame:
    """Lines with `values`: what lands of a line that has one of the shapes, behind an empty one."""
    from pyspark.sql import functions as F

    made = F.when(F.is_valid_utf8("value"), F.col("value"))
    for place, shape in enumerate(shapes):
        # what a shape has made begins with MARK, no other line does: it stays as it is
        landed = f"{shape.landed}{MARK}{place}"
        made = F.regexp_replace(made, F.lit(shape.pattern), F.lit(landed))
    return lines.withColumn("values", F.split(made, MARK, -1))


def needs_python(shapes: list[Shape]) -> Column:
    """Whether a line has none of the shapes."""
    from pyspark.sql import functions as F

    fits = reduce(or_, [F.rlike("value", F.lit(shape.pattern)) for shape in shapes])
    return ~(F.is_valid_utf8("value") & fits)


def shape_index(table: Table) -> Column:
    """Which of the shapes the line has; null for a line that needs Python."""
    from pyspark.sql import functions as F

    index = F.get("values", F.lit(len(table.columns) + 2)).cast("int")
    return F.when(F.get("values", F.lit(0)) == "", index)


def landed_text(place: int, table: Table) -> Column:
    """The text of the declared column at `place`, as `read_json` lands it."""
    from pyspark.sql import functions as F

    value = F.get("values", F.lit(place + 1))
    nested = F.startswith(value, F.lit("[")) | F.startswith(value, F.lit("{"))
    compact = F.regexp_replace(value, F.lit(r'("[^"]*+")|[ \t\r]++'), F.lit("$1"))
    landed = (
        F.when(F.startswith(value, F.lit('"')), F.substring(value, 2, 1 << 30))
        .when(value == "null", F.lit(None))
        .when(nested, compact)
        .otherwise(value)
    )
    column = table.columns[place]
    if table.is_id(column):
        return F.regexp_replace(landed, F.lit(WHOLE_ID), F.lit("$1"))
    if column.data_type == "date":
        return F.regexp_replace(landed, F.lit(MIDNIGHT), F.lit("$1"))
    return landed


def extra_text(table: Table) -> Column:
    """`_extra`: null when the shape has no undeclared fields."""
    from pyspark.sql import functions as F

    return F.nullif(F.get("values", F.lit(len(table.columns) + 1)), F.lit(""))
