"""Files whose lines are their records: Spark splits, numbers and takes them apart by itself.

A first look at every line (`look`) counts the records of each block of each file, and tells the
files where a line is not a record; those are read whole. The second pass knows from the counts of
the blocks before it which record of its file each line is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from loaders.plan import Scanned
from loaders.sources import Table
from loaders.spark.shapes import Shape, extra_text, landed_text, shape_index, with_values
from loaders.spark.tasks import LEFT, LINEAGE, output_columns

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

# What the reader of CSV takes for blank.
BLANK = " \t\r\x0b\x0c"
# A file with a longer line is read whole: lines go to Python by the thousand.
LINE_LIMIT = 1 << 20


@dataclass(frozen=True)
class Looked:
    """What the first look found: blocks as (file, start, first id, first record), records by
    path, the paths that must be read whole, and whether any line is not clean."""

    blocks: list[tuple[str, int, int, int]]
    records: dict[str, int]
    whole: set[str]
    doubtful: bool


def lines_of(spark: SparkSession, files: list[Scanned]) -> DataFrame:
    """Each line that isn't blank: value, file, start (of its block) and a growing id."""
    from pyspark.sql import functions as F

    form = files[0].file.format
    places = [str(scanned.file.location) for scanned in files]
    lines = spark.read.option("lineSep", "\n").text(places)
    lines = lines.selectExpr(
        "value", "_metadata.file_path as file", "_metadata.file_block_start as start"
    )
    blank = F.col("value") == ""
    if form == "csv":
        # to trim is dear, so only lines that begin with a blank are
        blank |= F.substring("value", 1, 1).isin(*BLANK) & (
            F.length(F.btrim("value", F.lit(BLANK))) == 0
        )
    lines = lines.where(~blank)
    # within a block the ids have no gaps: a task reads a block from its beginning to its end
    return lines.withColumn("id", F.monotonically_increasing_id())


def look(lines: DataFrame, files: list[Scanned]) -> Looked:
    """The first pass. What comes to the driver is a row for each block of a file."""
    from pyspark.sql import functions as F

    first = files[0]
    whole, doubtful = _json_whole(), F.lit(True)
    if first.file.format == "csv":
        whole, doubtful = _csv_whole(), csv_doubt(len(first.header or ()))
    blocks = lines.groupBy("file", "start").agg(
        F.min("id").alias("first"),
        F.count(F.lit(1)).alias("lines"),
        F.bool_or(whole | (F.octet_length("value") > LINE_LIMIT)).alias("whole"),
        F.bool_or(doubtful).alias("doubtful"),
    )
    paths = {str(scanned.file.location): scanned.file.path for scanned in files}
    header = 1 if first.file.format == "csv" else 0
    found: list[tuple[str, int, int, int]] = []
    records: dict[str, int] = {}
    bad: set[str] = set()
    unsure = False
    for row in sorted(blocks.collect(), key=lambda row: (row.file, row.start)):
        path = paths[_location(row.file)]
        before = records.get(path, -header)
        found.append((row.file, row.start, row.first, before + 1))
        records[path] = before + row.lines
        unsure |= row.doubtful
        if row.whole:
            bad.add(path)
    return Looked(found, records, bad, unsure)


def _location(uri: str) -> str:
    """The path of a local file's URI, which Spark writes with one slash or with three."""
    return "/" + unquote(uri.removeprefix("file:")).lstrip("/")


def numbered(
    spark: SparkSession, lines: DataFrame, looked: Looked, files: list[Scanned]
) -> DataFrame:
    """The lines that are records, of files that are read by lines: value, path and number."""
    from pyspark.sql import functions as F

    paths = {str(scanned.file.location): scanned.file for scanned in files}
    rows = []
    for file, start, first, record in looked.blocks:
        raw = paths[_location(file)]
        if raw.path not in looked.whole:
            unended = -1 if _ends_line(raw.location) else looked.records[raw.path]
            rows.append((file, start, raw.path, record - first, unended))
    schema = "file string, start long, path string, shift long, unended long"
    blocks = F.broadcast(spark.createDataFrame(rows, schema))
    joined = lines.join(blocks, ["file", "start"])
    joined = joined.withColumn("number", F.col("id") + F.col("shift"))
    return joined.where("number > 0").select("value", "path", "number", "unended")


def _ends_line(location: object) -> bool:
    with open(str(location), "rb") as file:  # noqa: PTH123
        file.seek(-1, 2)
        return file.read(1).isspace()


def for_python(lines: DataFrame) -> DataFrame:
    """The lines as `tasks` reads them: path, number, and the bytes with their line end."""
    from pyspark.sql import functions as F

    value = F.when(F.col("number") == F.col("unended"), F.col("value")).otherwise(
        F.concat("value", F.lit("\n"))
    )
    return lines.select("path", "number", value.cast("binary").alias("line"))


def csv_rows(lines: DataFrame, table: Table, header: tuple[str, ...]) -> DataFrame:
    """Rows of clean lines, without any Python."""
    from pyspark.sql import functions as F

    def field(name: str) -> Column:
        return F.nullif(F.get("fields", F.lit(header.index(name))), F.lit(""))

    absent = F.lit(None).cast("string")
    declared = [
        (field(name) if name in header else absent).alias(name) for name in table.column_names
    ]
    unknown = [field(name).alias(name) for name in header if name not in table.column_names]
    extra = F.nullif(F.to_json(F.struct(*unknown)), F.lit("{}")) if unknown else absent
    split = lines.withColumn("fields", F.split(_text(), ",", -1))
    return _rows(split, declared, extra, table)


def json_rows(lines: DataFrame, table: Table, shapes: list[Shape]) -> DataFrame:
    """Rows of lines that have one of the shapes, without any Python; of the others, LEFT."""
    names = enumerate(table.column_names)
    declared = [landed_text(place, table).alias(name) for place, name in names]
    shape = shape_index(table)
    return _rows(with_values(lines, shapes), declared, extra_text(table), table, shape)


def _rows(
    lines: DataFrame,
    declared: list[Column],
    extra: Column,
    table: Table,
    shape: Column | None = None,
) -> DataFrame:
    from pyspark.sql import functions as F

    absent = F.lit(None).cast("string")
    none = F.lit(None).cast("int")
    lineage = [extra.alias(LINEAGE[0]), F.col("path").alias(LINEAGE[1])]
    kind = F.lit("landed")
    aside = [
        F.col("number").alias(LINEAGE[2]),
        absent.alias("_reason"),
        absent.alias("_raw_text"),
        F.lit(None).cast("boolean").alias("_landed"),
        (none if shape is None else shape).alias("_shape"),
        (kind if shape is None else F.when(shape.isNull(), LEFT).otherwise(kind)).alias("kind"),
    ]
    return lines.select(*declared, *lineage, *aside).select(*output_columns(table))


def csv_doubt(width: int) -> Column:
    """Whether a line is not certainly a good record: wrong width, not UTF-8, a NUL byte, or a
    quote, which Python reads."""
    from pyspark.sql import functions as F

    return (
        (F.size(F.split(_text(), ",", -1)) != width)
        | ~F.is_valid_utf8("value")
        | F.contains("value", F.lit("\0"))
        | F.contains("value", F.lit('"'))
        | F.contains("value", F.lit("\ufeff"))
    )


def _csv_whole() -> Column:
    """Whether a record certainly goes on behind this line, or ends within it."""
    from pyspark.sql import functions as F

    return F.contains(_text(), F.lit("\r"))


def _text() -> Column:
    """A line without the end that Windows gives it."""
    from pyspark.sql import functions as F

    ends = F.endswith("value", F.lit("\r"))
    return F.when(ends, F.rtrim("value", F.lit("\r"))).otherwise(F.col("value"))


def _json_whole() -> Column:
    """Whether a line is no single object, or what is broken in it may end in another: behind a
    broken one `read_json` goes on at the next line that begins with a brace."""
    from pyspark.sql import functions as F

    value = F.col("value")
    trimmed = F.rtrim(value, F.lit(" \t\r"))
    ends = F.when(F.endswith(value, F.lit("}")), True).otherwise(F.endswith(trimmed, F.lit("}")))
    return ~F.startswith(value, F.lit("{")) | ~ends | F.contains(value, F.lit('"results"'))
