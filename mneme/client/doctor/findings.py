"""Findings of the doctor, each with advice."""

import enum

from msgspec import Struct

from mneme.readable import plain

_LONGEST = 1000


class State(enum.Enum):
    """The result of a check."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    """Something that may be intended, and that a person should know."""
    BAD = "bad"
    """With this the memory is not kept in step."""


def printable(text: str) -> str:
    """Text of bounded length without characters that would garble a terminal."""
    return plain(text if len(text) <= _LONGEST else text[:_LONGEST] + "…")


class Finding(Struct, frozen=True):
    """A sentence about a check, and one of advice.

    `code` is for scripts, and never changes.
    """

    code: str
    state: State
    found: str
    advice: str | None = None


def good(code: str, found: str, advice: str | None = None) -> Finding:
    """A finding that all is well."""
    return _finding(code, State.GOOD, found, advice)


def doubtful(code: str, found: str, advice: str) -> Finding:
    """A finding that a person should look at."""
    return _finding(code, State.DOUBTFUL, found, advice)


def bad(code: str, found: str, advice: str) -> Finding:
    """A finding that must be mended."""
    return _finding(code, State.BAD, found, advice)


def _finding(code: str, state: State, found: str, advice: str | None) -> Finding:
    return Finding(code, state, printable(found), printable(advice) if advice else advice)
