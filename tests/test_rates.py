"""The ECB's rates: exact decimals, only quoted dates, written once."""

from __future__ import annotations

import io
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest

from loaders import rates
from loaders.errors import DaybookError, LockedError
from tests.watching import LostLock, tuples, value

FILE = """Date,USD,JPY,XTS,CYP,
2026-01-06,1.1,160.00,3,N/A,
2026-01-05,1.0999,N/A,,0.58,
2026-01-02,N/A,150,1,1,
2026-01-01,1,2000000000000,0,4000000000000,
"""


def parsed(text=FILE):
    return {
        (str(day), currency): rate for day, currency, rate in rates.parse_history(io.StringIO(text))
    }


def test_cross_rates_are_decimal_to_twelve_places_half_away_from_zero():
    assert parsed() == {
        ("2026-01-06", "EUR"): Decimal("1.1"),
        ("2026-01-06", "JPY"): Decimal("0.006875000000"),
        ("2026-01-06", "XTS"): Decimal("0.366666666667"),
        ("2026-01-05", "EUR"): Decimal("1.0999"),
        ("2026-01-05", "CYP"): Decimal("1.896379310345"),
        ("2026-01-01", "EUR"): Decimal("1"),
        # 0.0000000000005 exactly: half, away from zero
        ("2026-01-01", "JPY"): Decimal("0.000000000001"),
    }


def test_a_date_without_a_dollar_quote_says_nothing():
    assert not [key for key in parsed() if key[0] == "2026-01-02"]


def test_the_packages_history_is_whole_and_every_rate_is_the_rounded_quotient():
    found = list(rates.read_history())
    keys = {(day, currency) for day, currency, _ in found}
    assert len(keys) == len(found) > 200_000
    assert min(keys)[0] == date(1999, 1, 4)
    assert "USD" not in {currency for _, currency in keys}
    by_key = {(day, currency): rate for day, currency, rate in found}
    # The ECB's first fixing: 1.1789 dollars and 133.73 yen for a euro.
    assert by_key[date(1999, 1, 4), "EUR"] == Decimal("1.1789")
    exact = Fraction("1.1789") / Fraction("133.73")
    assert abs(Fraction(by_key[date(1999, 1, 4), "JPY"]) - exact) <= Fraction(1, 2 * 10**12)
    # A Sunday has no quote, and none is made up.
    assert not [key for key in keys if key[0] == date(1999, 1, 10)]


def test_landed_once_then_nothing_is_written(db):
    assert rates.refresh_rates()
    before = state(db)
    stored = tuples(db, "select count(*), max(rate_date) from bronze.fx_reference")
    assert stored == [(before["rows"], before["newest_date"])]
    assert not rates.refresh_rates()
    assert state(db) == before


def test_another_release_replaces_what_it_corrects(db, monkeypatch):
    release(monkeypatch, "1", [(date(2026, 1, 5), "EUR", Decimal("1.1"))])
    rates.refresh_rates()
    newer = [(date(2026, 1, 6), "EUR", Decimal("1.2")), (date(2026, 1, 5), "EUR", Decimal("1.15"))]
    release(monkeypatch, "2", newer)
    assert rates.refresh_rates()
    rows = db.execute("select * from bronze.fx_reference order by rate_date desc").fetchall()
    assert [tuple(row.values()) for row in rows] == newer
    # A colleague's older package takes nothing away.
    release(monkeypatch, "1", newer[1:])
    assert not rates.refresh_rates()
    assert (state(db)["version"], state(db)["rows"]) == ("2", 2)


def test_a_run_that_lost_its_lock_writes_none(db):
    with pytest.raises(LockedError):
        rates.refresh_rates(lock=LostLock())
    assert value(db, "select count(*) from bronze.fx_reference") == 0
    assert state(db) is None


def test_a_release_that_cannot_be_read_leaves_the_rates_as_they_were(db, monkeypatch):
    release(monkeypatch, "1", [(date(2026, 1, 5), "EUR", Decimal("1.1"))])
    rates.refresh_rates()
    monkeypatch.undo()
    monkeypatch.setenv(
        "DATABASE_URL", f"postgresql://daybook@/daybook?host={db.info.host}&port=5432"
    )
    monkeypatch.setattr(rates, "HISTORY", "currency_converter/no-such-file.zip")
    with pytest.raises(DaybookError, match="ECB rates"):
        rates.refresh_rates()
    assert value(db, "select count(*) from bronze.fx_reference") == 1


def state(db):
    return db.execute("select *, xmin::text from bronze.fx_reference_state").fetchone()


def release(monkeypatch, version, history):
    monkeypatch.setattr(rates.metadata, "version", lambda package: version)
    monkeypatch.setattr(rates, "read_history", lambda: iter(history))
