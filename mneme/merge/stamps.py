"""Times in JSON files that only move forward."""

from datetime import datetime

from mneme.merge.sides import JSON, Sides, Value, general
from mneme.merge.times import parsed_time


def later(sides: Sides) -> Value:
    """The later of two times; that which is one, if only one is."""
    head, upload = parsed_time(sides.head), parsed_time(sides.upload)
    if head == upload:
        return general(sides)
    if head is None or upload is None:
        return sides.head if head else sides.upload
    return sides.head if head > upload else sides.upload


def wins(head: JSON, upload: JSON, otherwise: bool) -> bool:
    """Whether the upload was updated later than the head; `otherwise` if they do not say."""
    ours, theirs = _updated(head), _updated(upload)
    return otherwise if ours is None or theirs is None or ours == theirs else theirs > ours


def _updated(document: JSON) -> datetime | None:
    return parsed_time(document.get("lastUpdated")) if isinstance(document, dict) else None
