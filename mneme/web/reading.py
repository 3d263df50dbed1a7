"""Text in requests: paths, split before they are decoded, and headers."""

import re
from functools import lru_cache
from urllib.parse import quote_from_bytes, unquote_to_bytes

from twisted.web.http import Request

from mneme.errors import InvalidProjectId
from mneme.model import ClientId

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^\[\]:/]*)(?::\d*)?")
_ADDRESS = re.compile(r"\[.*\]|[\d.]+")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PRINTABLE = re.compile(rb"[!-~]*")
_NEVER_STOCK = {b"x-client-id", b"user-agent", b"accept"}
"""Headers that the stock client sends with no list and no download."""
_OF_PROXIES = {b"via", b"forwarded", b"x-real-ip"}
_ASCII = "".join(chr(c) for c in range(0x21, 0x7F))


def raw_segments(path: bytes) -> list[bytes]:
    """Segments of a path, percent-encoded and ASCII, so that `a%2Fb` is one segment."""
    plain = path if _PRINTABLE.fullmatch(path) else quote_from_bytes(path, safe=_ASCII).encode()
    return plain.split(b"/")[1:]


def decoded(segment: str) -> str:
    """Text of a segment; raises `InvalidProjectId`, since segments name projects."""
    if _BROKEN_ESCAPE.search(segment):
        raise InvalidProjectId("A % in the path must be followed by two hexadecimal digits")
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise InvalidProjectId("The percent-encoded bytes in the path must be UTF-8") from None


def header_text(raw: bytes) -> str:
    """Text of a header: UTF-8 if it is valid, else Latin-1, which Node sends."""
    try:
        return raw.strip().decode()
    except UnicodeDecodeError:
        return raw.strip().decode("latin-1")


@lru_cache(maxsize=256)
def client_in(raw: bytes) -> ClientId:
    """The client that an `X-Client-Id` names; raises `InvalidClientId`."""
    return ClientId.parse(header_text(raw))


@lru_cache(maxsize=64)
def is_local_name(host: bytes) -> bool:
    """Whether a `Host` is an address, a single word, or a name under `localhost`.

    What has a dot and is no address can belong to somebody in the network.
    """
    found = _HOST.fullmatch(host.decode("latin-1").lower())
    if not found:
        return False
    name = found["name"].rstrip(".")
    return "." not in name or name.endswith(".localhost") or bool(_ADDRESS.fullmatch(name))


def is_stock(request: Request) -> bool:
    """Whether a GET is the stock client's, known by the headers that it lacks.

    A proxy in between may add headers of its own, and with them `Accept-Encoding`.
    """
    if request.method != b"GET":
        return False
    names = {name.lower() for name, _ in request.requestHeaders.getAllRawHeaders()}
    if names & _NEVER_STOCK:
        return False
    return b"accept-encoding" not in names or any(map(_of_proxy, names))


def _of_proxy(name: bytes) -> bool:
    """Whether a proxy adds a header of this name."""
    return name in _OF_PROXIES or name.startswith(b"x-forwarded-")
