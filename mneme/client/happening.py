"""Happenings of a folder that is kept in step."""

import enum

from msgspec import Struct

from mneme.client.sync import Report


class Happened(enum.Enum):
    """Kinds of happenings of which a keeper tells."""

    SYNCED = "synced"
    """Something was fetched or sent, or is kept by the server."""
    TROUBLE = "trouble"
    RECOVERED = "recovered"


class Happening(Struct, frozen=True):
    """A happening, with the report or the problem that it is about."""

    happened: Happened
    report: Report | None = None
    problem: str | None = None
