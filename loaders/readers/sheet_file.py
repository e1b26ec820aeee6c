"""The first visible sheet of an .xlsx: cells as Excel shows them, numbers with all its digits."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

from loaders.errors import DaybookError
from loaders.raw_file import RawFile, seekable
from loaders.readers import guess, rows
from loaders.readers.heading import first_line, headed
from loaders.readers.mapping import Header, Mapping
from loaders.readers.rows import Digits, Records, Reject, Rounded, UnreadableError

# Excel's escapes, of control characters, which XML can't hold, and of a text that looks like one.
_CONTROL = re.compile("_x00(5F|[01][0-9A-F])_", re.IGNORECASE)
# What a number format shows as it stands, and its language and colour: no sign of a time of day.
_WORDS = re.compile(r'"[^"]*"|\\.|\[[^\]]{3,}\]')
MOST_BYTES = 16 * rows.RECORD_LIMIT  # of a workbook, unpacked


class ErrorCell(str):
    """The text of a cell without a value: #N/A, #REF!, a formula that was never calculated."""

    __slots__ = ()


def read_sheet_header(file: RawFile, mapping: Mapping) -> Header | None:
    """The header: the first row with content that is not skipped, None without any. DaybookError as
    for a CSV."""
    lines = ([value or "" for value in row] for row in _rows(file))
    names = first_line(lines, file, mapping)
    if names is None:
        return None
    while names and not names[-1].strip():
        names.pop()
    read = f"The first sheet's header as read: {', '.join(names)}"
    return headed(names, file, mapping, read, islice(lines, guess.TITLE_LINES))


def read_sheet(file: RawFile, mapping: Mapping, header: Header) -> Records:
    """The sheet's rows; an empty row is no record."""
    width = len(header.names)
    lines = islice(_rows(file), mapping.table.skip_lines + 1, None)
    for number, row in enumerate(lines, start=1):
        error = next((value for value in row if isinstance(value, ErrorCell)), None)
        values = [None if isinstance(one, ErrorCell) else one and rows.repaired(one) for one in row]
        if any(value is not None for value in values[width:]):
            yield Reject(
                number,
                f"ragged: {len(row)} fields, {width} expected",
                rows.raw_text(rows.json_text(row)),
            )
            continue
        if values != row:
            why = f"error cell {error}" if error else "nul byte"
            yield Reject(number, why, rows.raw_text(rows.json_text(row)), landed=True)
        yield header.row(number, [*values[:width], *[None] * (width - len(row))])


def _rows(file: RawFile) -> Iterator[list[str | None]]:
    """The rows that have a cell with content; a formula that was never calculated has none."""
    from loaders.readers.workbook import NOT_CALCULATED, Workbook

    try:
        with seekable(file) as source:
            _check_size(file, source)
            book = Workbook(source)
            with closing(book.wb):
                if (sheet := book.shown()) is None:
                    raise UnreadableError(
                        f"{file.path}: no sheet of cells is shown: unhide the one with the records."
                    )
                for row in book.rows(sheet):
                    values = [_text(cell) for cell in row]
                    if any(value not in (None, NOT_CALCULATED) for value in values):
                        yield values
    except DaybookError:
        raise
    except Exception as error:  # openpyxl raises any kind of error on a broken file
        why = guess.kind_of_file(file, b"PK")
        why = why or f"not readable as .xlsx ({type(error).__name__}): save it again"
        raise UnreadableError(f"{file.path}: {why}.") from error


def _check_size(file: RawFile, source: Any) -> None:
    with zipfile.ZipFile(source) as packed:
        if sum(entry.file_size for entry in packed.infolist()) > MOST_BYTES:
            raise UnreadableError(f"{file.path}: unpacked it is larger than 1 GiB: split it.")
    if hasattr(source, "seek"):
        source.seek(0)


def _text(cell: Any) -> str | None:
    value = cell.value
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _number(value, cell.number_format or "")
    if isinstance(value, datetime):
        return _moment(value, cell.number_format or "")
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        hours, rest = divmod(abs(value), timedelta(hours=1))
        return f"{'-' * (value < timedelta())}{hours}{(datetime.min + rest).time().isoformat()[2:]}"
    if cell.data_type == "e":
        return ErrorCell(value)
    return _CONTROL.sub(lambda found: chr(int(found[1], 16)), str(value))


def _number(value: float, shown_as: str) -> str:
    """The 15 digits that Excel has of a number, or all of an integer by another program, with the
    leading zeros that a number format such as 00000 adds."""
    text = str(value) if isinstance(value, int) else f"{value + 0.0:.15g}"  # -0.0 is 0
    if isinstance(value, float) and abs(value) >= 1e15:
        return Rounded(f"{Decimal(text):f}")
    # a padded one is a code, not a number
    is_padded = set(shown_as) == {"0"} and text.isdigit()
    return text.zfill(len(shown_as)) if is_padded else Digits(text)


def _moment(value: datetime, shown_as: str) -> str:
    """ISO 8601, rounded to Excel's milliseconds; a date alone if no time of day is shown."""
    shows_time = re.search("[hs]", _WORDS.sub("", shown_as), re.IGNORECASE)
    midnight = (value.hour, value.minute, value.second, value.microsecond) == (0, 0, 0, 0)
    if midnight and not shows_time:
        return value.date().isoformat()
    value += timedelta(microseconds=500)
    return value.replace(microsecond=value.microsecond // 1000 * 1000).isoformat()
