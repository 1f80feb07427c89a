"""Windows: daily times in a named time zone, as the clock on the wall shows them, on the days it is changed too.

A window across midnight has a start later than its end; one whose start is its end is open all day. On the day a clock
is put forward a window loses the minutes that the clock never shows, on the day it is put back it has them twice.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from pipelines.job import Timer

MINUTE = timedelta(minutes=1)
# A window that lies in the skipped hour, or on a date that a zone skipped, is closed on one day more.
LONGEST_WAIT = timedelta(days=4)


def open_at(timer: Timer, instant: datetime) -> bool:
    """Whether the window is open at an instant, given with its offset from UTC.

    Raises:
        ValueError: the instant has no offset.
    """
    shown = _aware(instant).astimezone(ZoneInfo(timer.timezone)).time()
    start, end = time.fromisoformat(timer.start), time.fromisoformat(timer.end)
    if start < end:
        return start <= shown < end
    return shown >= start or shown < end


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
    return None if timer.start == timer.end else _first(timer, instant, is_open=False)


def _first(timer: Timer, instant: datetime, is_open: bool) -> datetime:
    """The first moment at which the window is open, or closed: now, or on one of the next whole minutes.

    Windows and clock changes both fall on whole minutes, so that looking at each is exact.
    """
    moment = _aware(instant).astimezone(UTC)
    last = moment + LONGEST_WAIT
    while open_at(timer, moment) is not is_open:
        moment = moment.replace(second=0, microsecond=0) + MINUTE
        if moment > last:
            raise ValueError(f"{timer.start}-{timer.end} {timer.timezone} does not change within {LONGEST_WAIT}")
    return moment


def _aware(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError(f"{instant} has no offset from UTC, so it is no instant; give it a time zone")
    return instant
