"""Conversion of times to dates and to text, and back.

The text is ISO 8601 in UTC with exactly three decimals and a `Z`, as JavaScript writes it.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from mneme.model import Millis

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FIRST = Millis((datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND)
_LAST = Millis((datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND)


def to_datetime(instant: Millis) -> datetime:
    """The date in UTC.

    Times before the year 1 or after 9999 become the first or last time of that range.
    """
    return _EPOCH + min(max(instant, _FIRST), _LAST) * _MILLISECOND


def from_datetime(moment: datetime) -> Millis:
    """The time of a date in milliseconds; a date without a time zone is UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return Millis((aware - _EPOCH) // _MILLISECOND)


def from_text(text: str) -> Millis:
    """The time in a text that `to_text` has written; raises ValueError."""
    return from_datetime(datetime.fromisoformat(text))


def to_text(instant: Millis) -> str:
    """A time as text: `2026-02-04T15:00:00.000Z`."""
    second, milliseconds = divmod(min(max(instant, _FIRST), _LAST), 1000)
    return f"{_second(second)}.{milliseconds:03}Z"


@lru_cache(maxsize=1024)
def _second(second: int) -> str:
    # The mtimes of the few files in use are converted again and again.
    return to_datetime(Millis(second * 1000)).replace(tzinfo=None).isoformat(timespec="seconds")


def span_to_local_text(begin: Millis, latest_end: Millis) -> str:
    """A span of time for people: `since 2026-02-04 16:00, until 2026-02-04 16:30 at the latest`."""
    return f"since {to_local_text(begin)}, until {to_local_text(latest_end)} at the latest"


def text_to_local_text(text: str) -> str:
    """A time from the API as text for people; any other text stays unchanged."""
    try:
        return to_local_text(from_text(text))
    except ValueError:
        return text


def to_local_text(instant: Millis) -> str:
    """A time for people, in this machine's time zone, to the minute: `2026-02-04 16:00`."""
    moment = to_datetime(instant)
    # In the first and last hours of the calendar, the local time can be outside of it.
    with suppress(OverflowError, ValueError, OSError):
        moment = moment.astimezone()
    return moment.replace(tzinfo=None).isoformat(sep=" ", timespec="minutes")
