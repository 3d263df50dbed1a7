"""Times as they are written in memory files, and those that only move forward."""

from datetime import UTC, datetime

import msgspec

from mneme.merge.jsonvalues import JSON, Value
from mneme.merge.threeway import ThreeWay, general


def in_utc(moment: datetime) -> datetime:
    """The moment; one without a time zone is taken as UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parsed_time(value: object) -> datetime | None:
    """The time in a JSON value; None unless the value is text with a time."""
    try:
        return in_utc(msgspec.convert(value, datetime)) if isinstance(value, str) else None
    except ValueError:
        return None


def later(values: ThreeWay) -> Value:
    """The later of two times; the valid one, if only one is valid."""
    head, upload = parsed_time(values.head), parsed_time(values.upload)
    if head == upload:
        return general(values)
    if head is None or upload is None:
        return values.head if head else values.upload
    return values.head if head > upload else values.upload


def wins(head: JSON, upload: JSON, otherwise: bool) -> bool:
    """Whether the upload was updated later than the head; `otherwise` if not known."""
    ours, theirs = _updated(head), _updated(upload)
    return otherwise if ours is None or theirs is None or ours == theirs else theirs > ours


def _updated(document: JSON) -> datetime | None:
    return parsed_time(document.get("lastUpdated")) if isinstance(document, dict) else None
