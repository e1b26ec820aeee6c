"""The rows of an .xlsx by openpyxl, with the cells that it would lose. This uses private names of
openpyxl."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from openpyxl.chartsheet import Chartsheet  # type: ignore[import-untyped]
from openpyxl.reader.excel import ExcelReader  # type: ignore[import-untyped]
from openpyxl.utils.datetime import from_excel  # type: ignore[import-untyped]
from openpyxl.worksheet._reader import (  # type: ignore[import-untyped]
    FORMULA_TAG,
    WorkSheetParser,
)

NOT_CALCULATED = "(a formula without a value)"


class Workbook(ExcelReader):  # type: ignore[misc]
    """A workbook that is open for reading its cells."""

    def __init__(self, source: Any) -> None:
        super().__init__(source, read_only=True, data_only=True, keep_links=False)
        self.read()

    def read_chartsheet(self, _sheet: Any, _rel: Any) -> None:
        """Put an empty chart sheet in its place: openpyxl fails on one whose chart is missing."""
        chart = Chartsheet(parent=self.wb)
        chart.defined_names = {}  # the reader adds the file's to it
        self.wb._sheets.append(chart)

    def shown(self) -> Any:
        """The first visible sheet with cells; None when there is none."""
        return next((one for one in self.wb.worksheets if one.sheet_state == "visible"), None)

    def rows(self, sheet: Any) -> Iterator[tuple[Any, ...]]:
        """The cells of each row that has any."""
        with sheet._get_source() as source:
            for _, row in _Cells(self.wb, source, sheet._shared_strings).parse():
                yield sheet._get_row(row)


class _Cells(WorkSheetParser):  # type: ignore[misc]
    """Keeps the number of a date that Python's calendar lacks, and marks a formula without a
    calculated value, which openpyxl shows as an empty cell."""

    def __init__(self, book: Any, source: Any, shared_strings: Any) -> None:
        super().__init__(source, shared_strings, data_only=True, epoch=book.epoch)
        self._dates, self._durations = book._date_formats, book._timedelta_formats

    def parse_cell(self, element: Any) -> dict[str, Any]:
        cell: dict[str, Any] = super().parse_cell(element)
        style, value = cell["style_id"], cell["value"]
        if value is None:
            # a formula that gives empty text has the type str
            if element.get("t") != "str" and element.find(FORMULA_TAG) is not None:
                cell.update(value=NOT_CALCULATED, data_type="e")
        elif cell["data_type"] == "n" and style in self._dates:
            with suppress(OverflowError, ValueError):
                cell["value"] = from_excel(value, self.epoch, style in self._durations)
        return cell
