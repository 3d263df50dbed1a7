"""Answers before they are sent."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Protocol, runtime_checkable

import msgspec
from attrs import field, frozen
from twisted.web.server import Request

_WITHOUT_BODY = (204, 304)
_ABOUT_BODY = (b"Content-Encoding", b"ETag")
"""Headers of an answer that say something of its body, and nothing of another's."""


@runtime_checkable
class Receipted(Protocol):
    """A request that tells what becomes of its answer."""

    def when_sent(self, *, read: Callable[[], None], lost: Callable[[], None]) -> None:
        """Call `read` when the client has read the answer to its end, `lost` when it probably has not.

        Neither is called where nothing is known: the server closed the connection, or is no more.
        """
        ...


@frozen
class Answer:
    """A status, the JSON body, and headers beyond the usual ones."""

    status: int
    body: bytes
    headers: Mapping[bytes, bytes] = field(factory=dict)


def prepare(request: Request, answer: Answer) -> bytes:
    """Set the status and the headers of `answer`, and return its body for Klein to send.

    It may take the place of an answer that was prepared before.
    """
    for name in _ABOUT_BODY:
        request.responseHeaders.removeHeader(name)
    for name, value in _headers(answer):
        request.setHeader(name, _with_others(request, value) if name == b"Vary" else value)
    request.setResponseCode(answer.status, _phrase(answer.status))
    return answer.body


def answer(body: msgspec.Struct, headers: Mapping[bytes, bytes] | None = None) -> Answer:
    """What is answered when all is well."""
    return Answer(200, msgspec.json.encode(body), headers or {})


def reply(request: Request, body: msgspec.Struct, headers: Mapping[bytes, bytes] | None = None) -> bytes:
    """Prepare what is answered when all is well."""
    return prepare(request, answer(body, headers))


def send(request: Request, answer: Answer) -> None:
    """Send `answer` and end the request."""
    request.write(prepare(request, answer))
    request.finish()


def as_bytes(answer: Answer) -> bytes:
    """The whole answer as it goes over a connection that closes after it, for where there is no request to answer."""
    head = [b"HTTP/1.1 %d %s" % (answer.status, _phrase(answer.status))]
    head += [b"%s: %s" % header for header in (*_headers(answer), (b"Connection", b"close"))]
    return b"\r\n".join([*head, b"", answer.body])


def _with_others(request: Request, vary: bytes) -> bytes:
    """What an answer varies by, with what all answers vary by."""
    others = request.responseHeaders.getRawHeaders(b"Vary", [])
    return b", ".join(dict.fromkeys([*others, vary]))


def _phrase(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode()


def _headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    if answer.status in _WITHOUT_BODY:
        return list(answer.headers.items())
    usual = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(answer.body))]
    return [*usual, *answer.headers.items()]
