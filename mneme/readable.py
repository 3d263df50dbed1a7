"""Text for people: sizes, spans of time, numbers of things, escaped text."""

import sys
import unicodedata
from io import TextIOWrapper

_SPANS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
_UNPRINTABLE = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"
"""Characters of which emoji and some scripts are made."""


def counted(number: int, noun: str) -> str:
    """A number of things: `1 version`, `2 versions`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size(count: float) -> str:
    """A number of bytes: `158 kB`."""
    unit = "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if count < 1000:
            break
        count, unit = count / 1000, larger
    return f"{count:.1f} {unit}" if count < 10 and unit != "B" else f"{count:.0f} {unit}"


def span(seconds: float) -> str:
    """A length of time in its largest unit: `3 hours`."""
    whole = int(abs(seconds))
    length, name = next((one for one in _SPANS if whole >= one[0]), _SPANS[-1])
    return counted(whole // length, name)


def plain(text: str) -> str:
    """Text with escapes for control and bidirectional characters."""
    return text if text.isprintable() else "".join(map(_plain, text))


def print_whatever_the_encoding() -> None:
    """Show characters that the encoding of the output lacks as escapes."""
    for stream in (sys.stdout, sys.stderr):
        # A closed stream is None.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _plain(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in _UNPRINTABLE:
        return character
    return character.encode("unicode_escape").decode()
