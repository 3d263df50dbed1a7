"""What a doctor says: one finding for each thing that was looked at, and what to do about it."""

import enum

from attrs import field, frozen
from attrs.converters import optional

_LONGEST = 1000


class State(enum.Enum):
    """How it stands with what was looked at."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    """It may be meant so; a person should know."""
    BAD = "bad"
    """With this the memory is not kept in step."""


def printable(text: str) -> str:
    """A text without what would garble a terminal, and of bounded length: much of it comes from elsewhere."""
    shown = text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in shown)


@frozen
class Finding:
    """What was found, in one sentence, and what to do, in another; `code` is for scripts, and stays what it is."""

    code: str
    state: State
    found: str = field(converter=printable)
    advice: str | None = field(default=None, converter=optional(printable))


def good(code: str, found: str, advice: str | None = None) -> Finding:
    """All is well with it."""
    return Finding(code, State.GOOD, found, advice)


def doubtful(code: str, found: str, advice: str) -> Finding:
    """A person should have a look."""
    return Finding(code, State.DOUBTFUL, found, advice)


def bad(code: str, found: str, advice: str) -> Finding:
    """It must be mended."""
    return Finding(code, State.BAD, found, advice)
