"""Which words name a logical day, and that nothing else does."""

from datetime import date

import pytest

from loaders.days import Day, parse_day
from loaders.errors import DaybookError, UsageError
from loaders.files import day_folder


@pytest.mark.parametrize(
    ("text", "stored", "calendar"),
    [
        ("2026-01-05", date(2026, 1, 5), "dated"),
        ("2024-02-29", date(2024, 2, 29), "dated"),
        ("day1", date(1970, 1, 2), "numbered"),
        ("day9999", date(1997, 5, 18), "numbered"),
    ],
)
def test_a_day_is_an_iso_date_or_a_number(text, stored, calendar):
    day = parse_day(text)
    assert (day.date, day.calendar, day.text, str(day)) == (stored, calendar, text, text)


@pytest.mark.parametrize(
    "text",
    [
        *("", " day1", "day1 ", "day1\n", "2026-01-05\n", "day1\x00", "x" * 10_000),
        *("day0", "day01", "day10000", "day-1", "Day1", "1"),
        *("2026-02-30", "2026-13-01", "0000-01-01", "2026-1-5", "20260105", "2026-W02-1"),
        *("2026-01-05T00:00:00", "today"),
        *("../..", "day1/../..", "/etc/passwd", "day1'; drop table bronze.calendar; --"),
        *("day١", "day１", "２０２６-01-05", "2026‐01‐05"),
    ],
)
def test_anything_else_is_refused_in_a_short_message(text):
    with pytest.raises(UsageError) as refused:
        parse_day(text)
    assert refused.value.exit_code == 2
    assert "is not a logical day" in str(refused.value)
    assert len(str(refused.value)) < 250


def test_numbered_days_follow_each_other():
    days = [parse_day(f"day{n}") for n in range(1, 10_000)]
    assert days == sorted(days)
    assert (days[-1].date - days[0].date).days == 9_998


def test_a_numbered_day_and_its_date_are_different_days():
    assert parse_day("day1") != Day(date(1970, 1, 2), "dated")


def test_a_days_own_folder_is_not_the_folder_of_days(tmp_path):
    (tmp_path / "day1").mkdir()
    with pytest.raises(DaybookError, match="Did you mean --data ") as refused:
        day_folder(tmp_path / "day1", parse_day("day1"))
    assert str(refused.value).endswith(f"--data {tmp_path}?")
    with pytest.raises(DaybookError) as refused:
        day_folder(tmp_path / "day1", parse_day("day2"))
    assert "Did you mean" not in str(refused.value)
