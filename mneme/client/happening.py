"""Happenings of a folder that is kept in step."""

import enum

from msgspec import Struct

from mneme.client.actions import Action, FileReport
from mneme.client.sync import Report

_WORDS = {
    Action.FETCHED: "fetched",
    Action.MERGED: "merged",
    Action.REPLACED: "replaced",
    Action.STAYED: "left as it is",
    Action.SENT: "sent",
    Action.APPENDED: "new lines sent",
    Action.HELD_BACK: "damaged, and not sent",
    Action.KEPT: "kept by the server",
    Action.REFUSED: "not sent",
    Action.REMOVED: "removed on the server",
    Action.WAITING: "waiting for the plugin",
    Action.USED: "used",
    Action.PUT_AWAY: "put away",
    Action.MISSED: "not in step yet",
}


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


def in_words(report: Report, *, with_problems: bool = True) -> str:
    """Actions on the files of a report, and the server's problems with them."""
    done = (f"{one.file.value} {words}" for one in report.files if (words := _words(one, with_problems)))
    return ", ".join(done)


def _words(one: FileReport, with_problem: bool) -> str:
    words = [_WORDS[action] for action in one.actions]
    if one.problem and with_problem:
        words.append(f"not in step: {one.problem}")
    return " and ".join(dict.fromkeys(words))
