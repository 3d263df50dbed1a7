"""HTTP at the level of bytes and connections, with an end to everything: sizes, times, numbers, memory.

twisted.web parses; what is ours is what it leaves open, or answers in HTML, or not at all. Bodies stay in memory
(twisted.web writes the larger ones, and every chunked one, to a temporary file), are counted as they come, and are
refused as soon as they pass a limit.
"""

from collections.abc import Callable
from io import BytesIO
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http, server

from mneme.errors import MnemeError
from mneme.web.answers import Answer, as_bytes, prepare, send
from mneme.web.errors import BodyTooLarge, Busy, answer_to, problem
from mneme.web.front import Front

MAX_CONNECTIONS = 500
MAX_HELD = 400 * 1024 * 1024
"""Bytes of bodies, also inflated, and of answers not yet read, that are held at one time over all connections."""

MAX_UNREAD = 64 * 1024 * 1024
"""Bytes of answers that one client may ask for without reading them, one answer of any size apart."""

IDLE_SECONDS = 60.0
"""How long a connection may say nothing between two requests, or a client not read its answer."""
RECEIVE_SECONDS = 120.0
"""How long a request may take to arrive, first byte to last."""
LINGER_SECONDS = 10.0
"""How long a client that was refused may go on sending before it is cut off; cut at once, it may miss the answer."""

_LIMIT = "A request line, or all headers together, must stay under 16 kB"
_MALFORMED = "Malformed HTTP request"


class Request(server.Request):
    """A request whose body stays in memory, within limits; one that shows no key has its body dropped unread."""

    channel: "Channel"

    _kept = True
    _received = 0

    def gotLength(self, length: int | None) -> None:
        """All headers are here, and say that the body has `length` bytes (None: they don't say)."""
        self.content = BytesIO()
        site = self.channel.site
        self._kept = length == 0 or site.front.shows_key(self)
        if length is not None and length > site.max_body_bytes:
            # Otherwise twisted.web invites the body that was just refused.
            self.requestHeaders.removeHeader(b"expect")
            self._refuse_size()

    def handleContentChunk(self, data: bytes) -> None:
        """More of the body is here."""
        self._received += len(data)
        if self._received > self.channel.site.max_body_bytes:
            self._refuse_size()
        elif self._kept:
            self._keep(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All of the request is here."""
        if not self.channel.refused:
            super().requestReceived(command, path, version)

    def process(self) -> None:
        """Look up what to do; the target may be a whole URL, of which only the path counts, or `*`."""
        if not self.path.startswith(b"/"):
            _, _, rest = self.path.partition(b"://")
            self.path = b"/" + (rest.partition(b"/")[2] if rest else self.path)
        super().process()

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer a fault that nothing else has caught."""
        if not self.startedWriting:
            send(self, answer_to(reason))
        return reason

    def getRequestHostname(self) -> bytes:
        """A fixed name: routes don't depend on it, and what clients send need not be one."""
        return b"mneme"

    def write(self, data: bytes) -> None:
        """Send the answer, of which this is all; it is held until the client has read it."""
        if not self.channel.unread:
            self._let_go()
        if not self.channel.hold_answer(len(data)):
            self.channel.give_receipts(read=False)
            data = prepare(self, answer_to(Failure(Busy())))
        super().write(data)
        if not self.channel.unread:
            self._let_go()

    def when_sent(self, *, read: Callable[[], None], lost: Callable[[], None]) -> None:
        """See `Receipted`."""
        self.channel.receipts.append((read, lost))

    @property
    def max_body_bytes(self) -> int:
        """See `Bounded`."""
        return self.channel.site.max_body_bytes

    def hold(self, count: int) -> bool:
        """See `Bounded`."""
        return self.channel.hold(count)

    def connectionLost(self, reason: Failure) -> None:
        """The client has hung up."""
        self._let_go()
        super().connectionLost(reason)

    def _keep(self, data: bytes) -> None:
        if not self.channel.hold(len(data)):
            self._refuse(Busy())
            return
        cast(BytesIO, self.content).write(data)

    def _let_go(self) -> None:
        """Let go of the body."""
        self.content = BytesIO()
        self.channel.let_go()

    def _refuse_size(self) -> None:
        limit = self.channel.site.max_body_bytes
        self._refuse(BodyTooLarge(f"A body may have at most {limit} bytes, and this one has more"))

    def _refuse(self, error: MnemeError) -> None:
        answer = answer_to(Failure(error))
        if self.channel.refuse(answer):
            self.method, self.path = self.channel.target()
            self.channel.site.front.log.write_refusal(self, answer.status, len(answer.body))


class Channel(http.HTTPChannel):
    """A connection. A request that must not be read to its end is refused: answered at once, the rest ignored."""

    site: "Site"

    _log = Logger()

    def __init__(self) -> None:
        super().__init__()
        self.refused = False
        self.unread = False
        """Whether the client has yet to read what was sent."""
        self.receipts: list[tuple[Callable[[], None], Callable[[], None]]] = []
        """What is to be called when the client shows that it has read the answers sent so far, or that it has not.

        It has if it sends its next request, or closes the connection in order. A client that is gone, or has closed
        with something unread, resets it or falls silent. That all was handed to the operating system says nothing.
        """
        self._held = 0
        self._answering = False
        self._deadline: IDelayedCall | None = None

    def target(self) -> tuple[bytes, bytes]:
        """Method and path of the request that is arriving."""
        return self._command, self._path.partition(b"?")[0]

    def refuse(self, answer: Answer) -> bool:
        """Send `answer`, read and forget what the client still sends, then close the connection.

        False if that is under way already.
        """
        if self.refused:
            return False
        self.refused = True
        self.setTimeout(None)
        self._set_deadline(LINGER_SECONDS, self.forceAbortClient)
        transport = cast(ITCPTransport, self.transport)
        transport.write(as_bytes(answer))
        # Half a close: the client reads the answer to its end, and may finish sending before it sees that.
        transport.loseWriteConnection()
        return True

    def hold(self, count: int) -> bool:
        """Count bytes that are held for this connection; False if that would be more than the server holds."""
        if self.site.held + self.site.front.abandoned_bytes + count > MAX_HELD:
            return False
        self.site.held += count
        self._held += count
        return True

    def hold_answer(self, count: int) -> bool:
        """Like `hold`; one client may leave only so much unread before it is sent no more."""
        return not (self.unread and self._held + count > MAX_UNREAD) and self.hold(count)

    def let_go(self) -> None:
        """Nothing is held for this connection any more."""
        self.site.held -= self._held
        self._held = 0

    def pauseProducing(self) -> None:
        """More was sent than the client reads at once."""
        self.unread = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """The client has read what was sent."""
        self.unread = False
        self.let_go()
        super().resumeProducing()

    def wind_down(self) -> None:
        """Close the connection as soon as no request is under way on it."""
        self.persistent = False
        if self.refused:
            self.forceAbortClient()
        elif not self.requests:
            self.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Bytes are here; the first of a request start its deadline."""
        if self.refused:
            return
        if not self._answering:
            self.give_receipts(read=True)
            if self._deadline is None:
                self._set_deadline(RECEIVE_SECONDS, self._too_slow)
        super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        """A line of the head of a request is here."""
        if not self.refused:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        """Bytes of a body, or of the next request, are here."""
        if not self.refused:
            super().rawDataReceived(data)

    def headerReceived(self, line: bytes) -> bool:
        """A header is here; a Content-Length of thousands of digits is more than `int` takes."""
        try:
            return bool(super().headerReceived(line))
        except ValueError:
            self._respondToBadRequestAndDisconnect()
            return False

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line goes on and on."""
        self._refuse_unread(400, _LIMIT)

    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        """Whether the connection stays open after this request."""
        if self.site.closing:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return bool(super().checkPersistence(request, version))

    def allContentReceived(self) -> None:
        """All of a request is here."""
        self._clear_deadline()
        self._answering = True
        super().allContentReceived()

    def requestDone(self, request: http.Request) -> None:
        """A request has been answered."""
        self._answering = False
        super().requestDone(request)

    def timeoutConnection(self) -> None:
        """The client has been silent for too long: it may be gone."""
        self.give_receipts(read=False)
        super().timeoutConnection()

    def loseConnection(self) -> None:
        """Close the connection; that the client closes its end then says nothing."""
        self.receipts = []
        super().loseConnection()

    def give_receipts(self, *, read: bool) -> None:
        """The client has read what was sent so far, or probably has not."""
        receipts, self.receipts = self.receipts, []
        for when_read, when_lost in receipts:
            (when_read if read else when_lost)()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        in_order = reason.check(ConnectionDone) is not None
        self.give_receipts(read=in_order and not self._answering and not self.unread)
        self._clear_deadline()
        self.let_go()
        super().connectionLost(reason)
        self.site.forget(self)

    def _respondToBadRequestAndDisconnect(self) -> None:
        too_much = (
            self._receivedHeaderSize > self.totalHeadersSize or self._receivedHeaderCount > self.maxHeaders
        )
        self._refuse_unread(400, _LIMIT if too_much else _MALFORMED)

    def _too_slow(self) -> None:
        self._deadline = None
        self._refuse_unread(408, f"The request did not arrive whole within {RECEIVE_SECONDS:.0f} seconds")

    def _refuse_unread(self, status: int, sentence: str) -> None:
        """Refuse what is no request, or not yet one."""
        address = getattr(self.getPeer(), "host", "local")
        self._log.info("{address} {status}: {sentence}", address=address, status=status, sentence=sentence)
        self.refuse(problem(status, sentence))

    def _set_deadline(self, seconds: float, call: Callable[[], object]) -> None:
        self._clear_deadline()
        self._deadline = self.site.reactor.callLater(seconds, call)

    def _clear_deadline(self) -> None:
        if self._deadline and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None


class TurnedAway(Protocol):
    """A connection too many, which is closed; TLS does not expect that no protocol at all is built."""

    def connectionMade(self) -> None:
        """Close it."""
        cast(ITCPTransport, self.transport).abortConnection()


class Site(server.Site):
    """The server's connections."""

    protocol = Channel  # type: ignore[assignment]  # Twisted declares its own wrapper, which tells HTTP/2 apart
    requestFactory = Request
    noisy = False

    def __init__(self, clock: IReactorTime, front: Front, max_body_bytes: int) -> None:
        """`max_body_bytes` may be changed at any time."""
        super().__init__(front, timeout=IDLE_SECONDS, reactor=clock, parsePOSTFormSubmission=False)
        self.displayTracebacks = False
        self.front = front
        self.max_body_bytes = max_body_bytes
        self.held = 0
        self.closing = False
        self._channels: set[Channel] = set()
        self._emptied: Deferred[None] | None = None

    def log(self, request: http.Request) -> None:
        """Nothing: `RequestLog` has the line, with the client and the time it took."""

    def buildProtocol(self, addr: IAddress | None) -> Channel | TurnedAway:  # type: ignore[override]  # as above
        """Take a connection, or close it at once if there are too many."""
        if self.closing or len(self._channels) >= MAX_CONNECTIONS:
            return TurnedAway()
        channel = cast(Channel, super().buildProtocol(addr))
        self._channels.add(channel)
        return channel

    def forget(self, channel: Channel) -> None:
        """A connection is gone."""
        self._channels.discard(channel)
        if self._emptied and not self._channels:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)

    async def close(self, seconds: float) -> None:
        """Let the requests under way finish, for so many seconds at most, and close all connections."""
        self.closing = True
        for channel in tuple(self._channels):
            channel.wind_down()
        if not self._channels:
            return
        self._emptied = Deferred()
        impatience = self.reactor.callLater(seconds, self._cut_off)
        await self._emptied
        if impatience.active():
            impatience.cancel()

    def _cut_off(self) -> None:
        for channel in tuple(self._channels):
            channel.forceAbortClient()
