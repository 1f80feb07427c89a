"""Windows: times of the day, on some days of the week, in a named time zone, as the clock on the wall shows them.

A window across midnight has a start later than its end, and belongs to the day on which it starts; one whose start is
its end lasts until that time of the next day. On the day a clock is put forward a window loses the minutes that the
clock never shows, on the day it is put back it has them twice.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from pipelines.gates.rule import DAYS, Timer

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
# A window on one day a week that lies in the skipped hour, or on a date that a zone skipped, is closed a week more.
LONGEST_WAIT = timedelta(days=30)


def open_at(timer: Timer, instant: datetime) -> bool:
    """Whether the window is open at an instant, given with its offset from UTC.

    Raises:
        ValueError: the instant has no offset.
    """
    return _shows_open(timer, _aware(instant).astimezone(ZoneInfo(timer.timezone)))


def next_opening(timer: Timer, instant: datetime) -> datetime:
    """The first moment from `instant` on at which the window is open, in UTC; `instant` itself if it is open.

    Raises:
        ValueError: the instant has no offset.
    """
    return _first(timer, instant, is_open=True)


def next_closing(timer: Timer, instant: datetime) -> datetime | None:
    """The first moment from `instant` on at which the window is closed, in UTC; None for one that never is.

    Raises:
        ValueError: the instant has no offset.
    """
    never = timer.start == timer.end and set(timer.days) == set(DAYS)
    return None if never else _first(timer, instant, is_open=False)


def _shows_open(timer: Timer, shown: datetime) -> bool:
    """Whether the window is open when a clock of its zone shows this."""
    start, end, now = time.fromisoformat(timer.start), time.fromisoformat(timer.end), shown.time()
    if start < end:
        return start <= now < end and DAYS[shown.weekday()] in timer.days
    began_today = now >= start
    return (began_today or now < end) and DAYS[shown.weekday() - (not began_today)] in timer.days


def _first(timer: Timer, instant: datetime, is_open: bool) -> datetime:
    """The first moment at which the window is open, or closed: now, or when the clock shows its start or end.

    Between these nothing changes unless the clock is put forward or back, so that is where it looks as well.
    """
    zone = ZoneInfo(timer.timezone)
    moment = _aware(instant).astimezone(UTC)
    last = moment + LONGEST_WAIT
    while _shows_open(timer, shown := moment.astimezone(zone)) is not is_open:
        if moment > last:
            raise ValueError(f"{timer.start}-{timer.end} {timer.timezone} does not change within {LONGEST_WAIT}")
        wall = shown.replace(tzinfo=None)
        turns = (datetime.combine(wall, time.fromisoformat(turn)) for turn in (timer.start, timer.end))
        moment = _unless_clock_changes(zone, moment, moment + min(turn + DAY * (turn <= wall) - wall for turn in turns))
    return moment


def _unless_clock_changes(zone: ZoneInfo, moment: datetime, later: datetime) -> datetime:
    """`later`, at most a day after `moment`, or the second in between at which the zone's offset becomes another."""
    offset = moment.astimezone(zone).utcoffset()
    if later.astimezone(zone).utcoffset() == offset:
        return later
    before, after = moment.replace(microsecond=0), later
    while after - before > SECOND:
        middle = before + (after - before) // 2 // SECOND * SECOND
        before, after = (middle, after) if middle.astimezone(zone).utcoffset() == offset else (before, middle)
    return after


def _aware(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError(f"{instant} has no offset from UTC, so it is no instant; give it a time zone")
    return instant
