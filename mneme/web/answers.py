"""Answers: values that handlers return, and resources that render themselves."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar

import msgspec
from msgspec import Struct
from twisted.web.http import Request
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

_WITHOUT_BODY = (204, 304)


@implementer(IResource)
class Answer(Struct, frozen=True):
    """A status, the JSON body, and headers beyond the usual ones."""

    status: int
    body: bytes
    headers: Mapping[bytes, bytes] = {}

    isLeaf: ClassVar[bool] = True

    @property
    def headers_of_body(self) -> dict[bytes, bytes]:
        """The headers that describe the body."""
        if self.status in _WITHOUT_BODY:
            return {}
        return {b"Content-Type": b"application/json", b"Content-Length": b"%d" % len(self.body)}

    @property
    def phrase(self) -> bytes:
        """The words of the status; twisted.web lacks those of 428 and 429."""
        return HTTPStatus(self.status).phrase.encode()

    def render(self, request: Request) -> int:
        """Send the answer, which ends the request."""
        headers = request.responseHeaders
        request.setResponseCode(self.status, self.phrase)
        for name, value in self.headers_of_body.items():
            headers.addRawHeader(name, value)
        for name, value in self.headers.items():
            # An answer may vary by more than all answers vary by.
            others = headers.getRawHeaders(name, [])
            headers.setRawHeaders(name, [b", ".join([*others, value])])
        request.write(self.body)
        request.finish()
        return NOT_DONE_YET

    def getChildWithDefault(self, name: bytes, request: Request) -> "Answer":
        """Be the answer to whatever lies below."""
        return self

    def putChild(self, path: bytes, child: IResource) -> None:
        """Have no children."""
        raise NotImplementedError


def answer(body: msgspec.Struct, headers: Mapping[bytes, bytes] | None = None) -> Answer:
    """An answer to a request that succeeded."""
    return Answer(200, msgspec.json.encode(body), headers or {})
