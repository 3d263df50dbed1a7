"""Happenings of a folder that is kept in step."""

import enum

from attrs import frozen

from mneme.client.sync import Report


class Happened(enum.Enum):
    """Kinds of happenings of which a keeper tells."""

    SYNCED = "synced"
    """Something was fetched or sent, or is kept by the server."""
    TROUBLE = "trouble"
    RECOVERED = "recovered"


@frozen
class Happening:
    """A happening, with the report or the problem that it is about."""

    happened: Happened
    report: Report | None = None
    problem: str | None = None
