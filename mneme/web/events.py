"""Events as a stream (Server-Sent Events), which lasts until one end closes it.

See https://html.spec.whatwg.org/multipage/server-sent-events.html. While the client does not read, no event is fetched
for it, so that nothing waits unread.
"""

from collections.abc import Collection
from typing import ClassVar

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from mneme import wire
from mneme.feed import Feed
from mneme.model import EventId, EventPage, FileName
from mneme.web.request import Request

STILL_HERE_SECONDS = 20.0
"""Seconds of silence before a comment is sent; proxies close silent connections."""

_RETRY_MS = 3000
_STILL_HERE = b": still here\n\n"


@implementer(IResource, IPushProducer)
class EventStream:
    """The answer to one listener."""

    isLeaf: ClassVar[bool] = True

    _log = Logger()

    def __init__(self, feed: Feed, after: EventId | None, files: Collection[FileName]) -> None:
        """`files` are those of which the listener is told."""
        self._feed = feed
        self._after = after
        self._files = files
        self._resumed: Deferred[None] | None = None

    def render(self, request: Request) -> int:
        """Send events until the client hangs up or the server stops."""
        request.setHeader(b"Content-Type", b"text/event-stream; charset=utf-8")
        request.setHeader(b"Cache-Control", b"no-store")
        # nginx would keep events back to fill its buffer.
        request.setHeader(b"X-Accel-Buffering", b"no")
        if request.method == b"HEAD":
            request.finish()
            return NOT_DONE_YET
        request.registerProducer(self, True)
        sending = Deferred.fromCoroutine(self._send(request))
        request.notifyFinish().addErrback(lambda _: sending.cancel())
        sending.addErrback(self._failed, request)
        return NOT_DONE_YET

    async def _send(self, request: Request) -> None:
        with self._feed.listening():
            page = await self._feed.begin(self._after, self._files)
            request.write(b"retry: %d\n" % _RETRY_MS)
            if not page.is_reset and not page.events:
                request.write(_message(b"ready", wire.event_id_to_text(page.last), b"{}"))
            while not self._feed.is_closed:
                request.write(_messages(page) or _STILL_HERE)
                if self._resumed:
                    await self._resumed
                page = await self._feed.next(page.last, self._files, STILL_HERE_SECONDS)
        request.unregisterProducer()
        request.finish()

    def _failed(self, failure: Failure, request: Request) -> None:
        if failure.check(CancelledError):
            return
        self._log.failure("Could not send events", failure)
        request.loseConnection()

    # IPushProducer

    def pauseProducing(self) -> None:
        """Fetch no more events: the client does not read as fast as they come."""
        self._resumed = self._resumed or Deferred()

    def resumeProducing(self) -> None:
        """Go on."""
        resumed, self._resumed = self._resumed, None
        if resumed and not resumed.called:
            resumed.callback(None)

    def stopProducing(self) -> None:
        """The connection is lost; `notifyFinish` ends the stream."""

    # IResource

    def getChildWithDefault(self, name: bytes, request: Request) -> "EventStream":
        """Be the answer to whatever lies below."""
        return self

    def putChild(self, path: bytes, child: IResource) -> None:
        """Have no children."""
        raise NotImplementedError


def _messages(page: EventPage) -> bytes:
    reset = _message(b"reset", wire.event_id_to_text(page.last), b"{}") if page.is_reset else b""
    events = [wire.WireEvent.of(event, page.last.line) for event in page.events]
    return reset + b"".join(_message(one.kind.encode(), one.id, msgspec.json.encode(one)) for one in events)


def _message(kind: bytes, event: str, data: bytes) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event.encode(), kind, data)
