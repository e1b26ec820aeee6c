"""The rows of an .xlsx as openpyxl reads them, but for what it loses. It builds on names that
openpyxl keeps for itself."""

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
        """A place among the sheets; openpyxl can't read a sheet without its chart."""
        chart = Chartsheet(parent=self.wb)
        chart.defined_names = {}  # it may have some, and openpyxl no place for them
        self.wb._sheets.append(chart)

    def shown(self) -> Any:
        """The first sheet of cells that is shown, None when none is."""
        return next((one for one in self.wb.worksheets if one.sheet_state == "visible"), None)

    def rows(self, sheet: Any) -> Iterator[tuple[Any, ...]]:
        """The cells of each row that has some."""
        with sheet._get_source() as source:
            for _, row in _Cells(self.wb, source, sheet._shared_strings).parse():
                yield sheet._get_row(row)


class _Cells(WorkSheetParser):  # type: ignore[misc]
    """Keeps the number of a date beyond the calendar, and tells a formula that nobody has
    calculated from an empty cell."""

    def __init__(self, book: Any, source: Any, shared_strings: Any) -> None:
        super().__init__(source, shared_strings, data_only=True, epoch=book.epoch)
        self._dates, self._durations = book._date_formats, book._timedelta_formats

    def parse_cell(self, element: Any) -> dict[str, Any]:
        cell: dict[str, Any] = super().parse_cell(element)
        style, value = cell["style_id"], cell["value"]
        if value is None:
            # text that a formula gives may be empty; then the cell says so
            if element.get("t") != "str" and element.find(FORMULA_TAG) is not None:
                cell.update(value=NOT_CALCULATED, data_type="e")
        elif cell["data_type"] == "n" and style in self._dates:
            with suppress(OverflowError, ValueError):
                cell["value"] = from_excel(value, self.epoch, style in self._durations)
        return cell
