"""Windows: the clock on the wall of every time zone, on ordinary days and on those when it is changed."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.gates.rule import DAYS, Day, Timer
from pipelines.gates.windows import next_closing, next_opening, open_at

ZONES = sorted(available_timezones() - {"localtime", "Factory"})
clock_times = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.integers(0, 59))
days = st.lists(st.sampled_from(DAYS), min_size=1, max_size=7, unique=True)
timers = st.builds(Timer, start=clock_times, end=clock_times, timezone=st.sampled_from(ZONES), days=days)
ordinary_instants = st.datetimes(datetime(1980, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))
# Around the clock changes of Berlin, New York and Lord Howe, which moves by half an hour.
clock_changes = st.builds(
    lambda change, minutes: change + timedelta(minutes=minutes),
    st.sampled_from(
        [
            datetime(2026, 3, 29, 1, tzinfo=UTC),
            datetime(2026, 10, 25, 1, tzinfo=UTC),
            datetime(2026, 3, 8, 7, tzinfo=UTC),
            datetime(2026, 11, 1, 6, tzinfo=UTC),
            datetime(2026, 4, 4, 15, tzinfo=UTC),
            datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
            datetime(2027, 3, 28, 1, tzinfo=UTC),
        ]
    ),
    st.floats(-1500, 300),
)
instants = ordinary_instants | clock_changes


def berlin(start: str, end: str, *days: Day) -> Timer:
    return Timer(start=start, end=end, timezone="Europe/Berlin", days=list(days or DAYS))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shown_open(timer: Timer, instant: datetime) -> bool:
    """The rule in other words: a window lasts from its start on one of its days to the first end that the clock shows.

    Of the windows that started today and yesterday, told by what the clock shows alone.
    """
    shown = instant.astimezone(ZoneInfo(timer.timezone)).replace(tzinfo=None)
    start, end = time.fromisoformat(timer.start), time.fromisoformat(timer.end)
    for date in (shown.date(), shown.date() - timedelta(days=1)):
        began = datetime.combine(date, start)
        ended = datetime.combine(date if start < end else date + timedelta(days=1), end)
        if began <= shown < ended and DAYS[date.weekday()] in timer.days:
            return True
    return False


@given(timers, instants)
def test_a_window_is_open_when_the_wall_clock_says_so(timer: Timer, instant: datetime) -> None:
    assert open_at(timer, instant) == shown_open(timer, instant)


@given(timers, instants, st.floats(0, 1))
@settings(max_examples=200)
@example(berlin("02:15", "02:45"), utc("2026-03-28 12:00"), 0.9)
@example(berlin("01:30", "02:30"), utc("2026-10-25 00:45"), 0.5)
def test_the_next_opening_is_the_first(timer: Timer, instant: datetime, share: float) -> None:
    opening = next_opening(timer, instant)
    assert open_at(timer, opening)
    assert opening >= instant
    assert (opening == instant) == open_at(timer, instant)
    before = instant + share * (opening - instant)
    if before < opening:
        assert not open_at(timer, before)
    if opening > instant:
        assert not open_at(timer, opening - timedelta(microseconds=1))


@given(timers, instants)
@settings(max_examples=150)
@example(berlin("02:15", "02:45", "sun"), utc("2026-03-29 00:00"))
@example(berlin("23:30", "02:30", "sat"), utc("2026-10-20 00:00"))
@example(Timer(start="00:00", end="00:00", timezone="Australia/Lord_Howe", days=["sun"]), utc("2026-03-30 00:00"))
def test_the_next_change_is_the_one_found_minute_by_minute(timer: Timer, instant: datetime) -> None:
    begun = open_at(timer, instant)
    minute = instant
    while open_at(timer, minute) is begun and minute < instant + timedelta(days=22):
        minute = minute.replace(second=0, microsecond=0) + timedelta(minutes=1)
    change = next_closing(timer, instant) if begun else next_opening(timer, instant)
    if minute >= instant + timedelta(days=22):
        assert change is None
        assert (timer.start, sorted(timer.days)) == (timer.end, sorted(DAYS))
    else:
        assert change == minute


@pytest.mark.parametrize("monday", [utc("2026-03-02 06:00"), utc("2026-10-26 06:00")])
def test_every_zone_opens_on_its_own_sunday_and_not_before(monday: datetime) -> None:
    for zone in ZONES:
        timer = Timer(start="02:30", end="03:30", timezone=zone, days=["sun"])
        opening = next_opening(timer, monday)
        local = opening.astimezone(ZoneInfo(zone))
        # In America the clock goes from 02:00 to 03:00 on the first of these Sundays.
        assert local.strftime("%H:%M") in ("02:30", "03:00"), zone
        assert local.weekday() == 6, zone
        half_hours = range(int((opening - monday) / timedelta(minutes=30)) + 1)
        assert not any(open_at(timer, opening - timedelta(minutes=30 * count, seconds=1)) for count in half_hours), zone


@given(timers, instants)
def test_one_day_and_the_others_share_out_the_week(timer: Timer, instant: datetime) -> None:
    every = timer.model_copy(update={"days": list(DAYS)})
    others = [day for day in DAYS if day not in timer.days]
    rest = timer.model_copy(update={"days": others})
    assert open_at(every, instant) == (open_at(timer, instant) or open_at(rest, instant))
    assert not (open_at(timer, instant) and open_at(rest, instant))
    if others:
        assert next_opening(every, instant) == min(next_opening(timer, instant), next_opening(rest, instant))


@given(timers, instants)
def test_a_daily_window_and_what_it_leaves_out_are_never_both_open(timer: Timer, instant: datetime) -> None:
    timer = timer.model_copy(update={"days": list(DAYS)})
    rest = timer.model_copy(update={"start": timer.end, "end": timer.start})
    if timer.start != timer.end:
        assert open_at(timer, instant) is not open_at(rest, instant)
        assert next_closing(timer, instant) == next_opening(rest, instant)


@given(timers, instants, st.sampled_from(ZONES))
def test_only_the_instant_counts_and_not_the_zone_it_is_told_in(timer: Timer, instant: datetime, zone: str) -> None:
    elsewhere = instant.astimezone(ZoneInfo(zone))
    assert open_at(timer, elsewhere) == open_at(timer, instant)
    assert next_opening(timer, elsewhere) == next_opening(timer, instant)


@pytest.mark.parametrize(
    ("instant", "is_open"),
    [
        ("2026-01-10 21:59:59.999999", False),
        ("2026-01-10 22:00", True),
        ("2026-01-10 23:30", True),
        ("2026-01-10 23:59:59.999999", True),
        ("2026-01-11 00:00", False),
    ],
)
def test_a_window_across_midnight_has_its_start_and_not_its_end(instant: str, is_open: bool) -> None:
    assert open_at(berlin("23:00", "01:00"), utc(instant)) is is_open


def test_a_skipped_hour_is_skipped() -> None:
    # 29 March 2026: the clock goes from 02:00 to 03:00.
    inside, across = berlin("02:00", "03:00"), berlin("02:30", "04:00")
    noon = utc("2026-03-28 12:00")
    assert next_opening(inside, noon) == utc("2026-03-30 00:00")
    assert next_opening(across, noon) == utc("2026-03-29 01:00")


def test_a_repeated_hour_is_open_twice() -> None:
    # 25 October 2026: the clock goes from 03:00 back to 02:00.
    within, into = berlin("02:30", "02:45"), berlin("01:30", "02:30")
    assert next_opening(within, utc("2026-10-25 00:00")) == utc("2026-10-25 00:30")
    assert next_opening(within, utc("2026-10-25 00:45")) == utc("2026-10-25 01:30")
    assert next_opening(into, utc("2026-10-25 00:30")) == utc("2026-10-25 01:00")


def test_a_date_that_was_skipped_is_waited_out() -> None:
    # Samoa had no 30 December 2011.
    timer = Timer(start="12:00", end="13:00", timezone="Pacific/Apia")
    assert next_opening(timer, utc("2011-12-29 23:30")) == utc("2011-12-30 22:00")


@pytest.mark.parametrize(
    ("instant", "is_open"),
    [
        ("2026-01-09 21:59:59", False),  # Friday
        ("2026-01-09 22:30", True),
        ("2026-01-10 00:59", True),  # Saturday, still of Friday's window
        ("2026-01-10 01:00", False),
        ("2026-01-10 22:30", False),
        ("2026-01-11 00:30", False),
    ],
)
def test_a_window_across_midnight_belongs_to_the_day_on_which_it_starts(instant: str, is_open: bool) -> None:
    assert open_at(berlin("23:00", "02:00", "fri"), utc(instant)) is is_open


def test_a_window_on_one_day_is_waited_for_up_to_a_week() -> None:
    weekend = berlin("02:00", "04:00", "sat", "sun")
    assert next_opening(weekend, utc("2026-01-05 12:00")) == utc("2026-01-10 01:00")
    assert next_opening(weekend, utc("2026-01-11 03:00")) == utc("2026-01-17 01:00")
    assert next_closing(weekend, utc("2026-01-10 01:30")) == utc("2026-01-10 03:00")


def test_a_sunday_window_in_the_skipped_hour_waits_for_the_next_sunday() -> None:
    # 29 March 2026: the clock goes from 02:00 to 03:00.
    assert next_opening(berlin("02:15", "02:45", "sun"), utc("2026-03-22 12:00")) == utc("2026-04-05 00:15")


def test_a_weekly_window_on_a_date_that_was_skipped_waits_for_the_next() -> None:
    # Samoa had no Friday 30 December 2011.
    timer = Timer(start="12:00", end="13:00", timezone="Pacific/Apia", days=["fri"])
    assert next_opening(timer, utc("2011-12-24 12:00")) == utc("2012-01-05 22:00")


def test_a_window_all_day_on_some_days_lasts_from_its_start_to_that_time_the_next_day() -> None:
    timer = berlin("06:00", "06:00", "sat", "sun")
    assert next_opening(timer, utc("2026-01-05 12:00")) == utc("2026-01-10 05:00")
    assert next_closing(timer, utc("2026-01-10 05:00")) == utc("2026-01-12 05:00")


def test_a_window_that_starts_when_it_ends_never_closes() -> None:
    timer = berlin("02:00", "02:00")
    assert open_at(timer, utc("2026-01-01 17:00"))
    assert next_closing(timer, utc("2026-01-01 17:00")) is None


def test_a_time_without_an_offset_is_no_instant() -> None:
    with pytest.raises(ValueError, match="no offset"):
        open_at(berlin("02:00", "06:00"), datetime(2026, 1, 1))
