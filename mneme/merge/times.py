"""Times as they are written in memory files."""

from datetime import UTC, datetime

import msgspec


def in_utc(moment: datetime) -> datetime:
    """The moment; one without a time zone is taken as UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parsed_time(value: object) -> datetime | None:
    """The instant that a value of JSON says, if it is text that says one."""
    try:
        return in_utc(msgspec.convert(value, datetime)) if isinstance(value, str) else None
    except ValueError:
        return None
