"""Instants as dates and as text: ISO 8601 in UTC with exactly three decimals and a `Z`, as JavaScript writes them."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from mneme.model import Millis

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FIRST = Millis((datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND)
_LAST = Millis((datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND)


def to_datetime(instant: Millis) -> datetime:
    """The date, in UTC. What lies outside the years 1 to 9999 becomes their first or last instant."""
    return _EPOCH + min(max(instant, _FIRST), _LAST) * _MILLISECOND


def from_datetime(moment: datetime) -> Millis:
    """The millisecond in which `moment` lies; one without a time zone is taken as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return Millis((aware - _EPOCH) // _MILLISECOND)


def from_text(text: str) -> Millis:
    """The instant that a text names, such as `to_text` writes it; raises ValueError."""
    return from_datetime(datetime.fromisoformat(text))


def to_text(instant: Millis) -> str:
    """`2026-02-04T15:00:00.000Z`."""
    second, milliseconds = divmod(min(max(instant, _FIRST), _LAST), 1000)
    return f"{_second(second)}.{milliseconds:03}Z"


@lru_cache(maxsize=1024)
def _second(second: int) -> str:
    # The mtimes of the few files in use are told again and again.
    return to_datetime(Millis(second * 1000)).replace(tzinfo=None).isoformat(timespec="seconds")


def span_to_local_text(begin: Millis, latest_end: Millis) -> str:
    """For people: `since 2026-02-04 16:00, until 2026-02-04 16:30 at the latest`."""
    return f"since {to_local_text(begin)}, until {to_local_text(latest_end)} at the latest"


def text_to_local_text(text: str) -> str:
    """For people: a time on the wire as `to_local_text` writes it; what is no time stays as it is."""
    try:
        return to_local_text(from_text(text))
    except ValueError:
        return text


def to_local_text(instant: Millis) -> str:
    """For people: by this machine's time zone, to the minute, `2026-02-04 16:00`."""
    moment = to_datetime(instant)
    # In the first and the last hours of the calendar a time zone can lead out of it.
    with suppress(OverflowError, ValueError, OSError):
        moment = moment.astimezone()
    return moment.replace(tzinfo=None).isoformat(sep=" ", timespec="minutes")
