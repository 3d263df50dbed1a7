"""Actions of a pull or a push on files, and their reports."""

import enum

from msgspec import Struct

from mneme.model import FileName


class Action(enum.Enum):
    """Actions of a pull or push on a file."""

    NOTHING = "nothing"
    FETCHED = "fetched"
    MERGED = "merged"
    """Changes here and on the server were merged."""
    REPLACED = "replaced"
    """The local file could not be merged, and was replaced by the server's."""
    STAYED = "stayed"
    """The server's file could not be merged, and the next push replaces it."""
    SENT = "sent"
    APPENDED = "appended"
    HELD_BACK = "held back"
    """The local file is damaged, unlike its base, and was not sent."""
    KEPT = "kept"
    """The upload was refused for the lock, and the server keeps it to be merged."""
    REFUSED = "refused"
    """The upload was refused for the lock, and the server had no space for it."""
    REMOVED = "removed"
    """The file was removed on the server, and stays here as it is."""
    WAITING = "waiting"
    """The plugin holds the file; news from the server come after that."""
    USED = "used"
    """A session here was told the briefing, which is removed from the server."""
    PUT_AWAY = "put away"
    """The briefing was used or replaced elsewhere, and is with the used ones here now."""
    MISSED = "missed"
    """The file was written during every attempt; the next push tries again."""


class FileReport(Struct, frozen=True):
    """The actions on a file, its version now, and the server's `problem` with it."""

    file: FileName
    actions: tuple[Action, ...] = ()
    version: int | None = None
    problem: str | None = None
