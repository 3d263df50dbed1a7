r"""Halves of characters in JSON: JavaScript writes `\ud83d` when it cuts a text in two in the middle of an emoji.

They are no text anywhere else. While a document is merged each is a character of its own that nobody uses, from the
last private plane of Unicode.
"""

import re

_PLANE = 0x100000
_FIRST_HALF = 0xD800

# Every escape is matched, so that the second half of an escaped backslash begins none; a pair of halves is a character.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_HIDDEN = re.compile("[\U00100000-\U001007ff]")


def hidden(content: bytes) -> bytes:
    """JSON without halves; raises `ValueError` if it has the characters that would stand for them."""
    if _HIDDEN.search(content.decode()):
        raise ValueError("there is a character that is taken for half of one")
    return _ESCAPE.sub(_hide, content)


def shown(content: bytes) -> bytes:
    """The same JSON with the halves that were hidden."""
    return _HIDDEN.sub(_show, content.decode()).encode()


def _hide(escape: re.Match[bytes]) -> bytes:
    half: bytes | None = escape[1]
    return chr(_PLANE + int(half, 16) - _FIRST_HALF).encode() if half else escape[0]


def _show(character: re.Match[str]) -> str:
    return rf"\u{ord(character[0]) - _PLANE + _FIRST_HALF:04x}"
