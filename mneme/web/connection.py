"""A connection, with an end to everything: sizes, times, numbers, memory. twisted.web parses."""

from collections.abc import Callable
from functools import partial
from typing import Protocol, cast

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.http_headers import Headers

from mneme.web import proxies
from mneme.web.answers import Answer
from mneme.web.errors import problem
from mneme.web.heads import MALFORMED, TOO_LONG, HeadCheck
from mneme.web.receipts import LINGER_SECONDS, Delivery

REQUESTS_IN_A_TURN = 16
"""Requests of one connection that are answered before the reactor turns to the others."""
REFUSALS_IN_A_ROW = 16
"""Refusals for its rate after which a connection is not read from until its caller may ask again."""

MAX_HELD = 400 * 1024 * 1024
"""Bytes of bodies and unread answers that all connections may hold together."""

MAX_UNREAD = 64 * 1024 * 1024
"""Bytes of answers that one client may ask for without reading them, one answer of any size apart."""

RECEIVE_SECONDS = 120.0
"""How long a request may take to arrive, first byte to last."""

_TOO_SLOW = f"The request did not arrive whole within {RECEIVE_SECONDS:.0f} seconds"
_FIRST_ERROR = 400
_TOO_MANY = 429
_TLS = b"\x16\x03"
"""The first bytes of a client that speaks TLS."""


class Home(Protocol):
    """The site, as far as its connections know it."""

    reactor: IReactorTime
    held: int
    closing: bool
    abandoned: Callable[[], int]

    def date(self) -> bytes:
        """The time of day for the head of an answer."""
        ...

    def forget(self, channel: "Channel") -> None:
        """A connection is gone."""
        ...

    def tell_no_request(self, address: str, status: int, sentence: str) -> None:
        """Count and log what was refused without being a request."""
        ...


class Channel(http.HTTPChannel):
    """A connection with bounds: a request beyond them is refused before its end."""

    site: Home
    delivery: Delivery
    _reading: IPushProducer | None

    def __init__(self) -> None:
        super().__init__()
        self.refused = False
        self.unread = False
        """Whether the client has yet to read what was sent."""
        self._head = HeadCheck()
        self._head_of_answer = b""
        self._target = b"", b""
        self._held = 0
        self._answering = False
        self._arriving = False
        """Whether a part of a request is here."""
        self._decoding = False
        """Whether bytes of a body are being read, which may turn out to be none."""
        self._deadline: IDelayedCall | None = None
        self._left = REQUESTS_IN_A_TURN
        self._break: IDelayedCall | None = None
        """The end of a break, in which nothing is read."""
        self._rest = b""
        """The bytes that were read before the break and wait for its end."""
        self._refusals = 0
        self.group = ""
        self.has_served = False
        self.idle_since = 0.0

    def connectionMade(self) -> None:
        """A client is there."""
        # Both are asked for at each request, and one of them is a system call.
        self._peer = cast(IAddress, super().getPeer())
        self._host = cast(IAddress, super().getHost())
        self.peer_address = proxies.plain(getattr(self._peer, "host", proxies.LOCAL))
        self.delivery = Delivery(
            self.site.reactor, self.transport, lambda: self.is_busy, self.forceAbortClient
        )
        self._reading = IPushProducer(self.transport, None)
        super().connectionMade()

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way, or its answer."""
        return self._answering or self.unread

    def give_way(self) -> None:
        """Close the connection, which has been idle, in favour of another."""
        self.delivery.ends()
        if self.refused or self._is_closing() or ISSLTransport.providedBy(self.transport):
            # The other end takes its time, as it may over TLS.
            self._abort()
        else:
            super().loseConnection()

    def _abort(self) -> None:
        """Close the connection at once; unlike `forceAbortClient` without a line in the log."""
        cast(ITCPTransport, self.transport).abortConnection()

    def getPeer(self) -> IAddress:
        """Where the client is."""
        return self._peer

    def getHost(self) -> IAddress:
        """Where the client has connected to."""
        return self._host

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Write the head of an answer in one piece."""
        lines = [
            b"%b: %b\r\n" % (name, value) for name, values in headers.getAllRawHeaders() for value in values
        ]
        self._head_of_answer = b"%b %b %b\r\n%b\r\n" % (version, code, reason, b"".join(lines))

    def write(self, data: bytes) -> None:
        """Send at once as much as the system takes; the reactor sends the rest."""
        if self._head_of_answer:
            data, self._head_of_answer = self._head_of_answer + data, b""
        rest = self.delivery.send(data)
        if rest:
            super().write(rest)

    def flush(self) -> None:
        """Send a head that has no body."""
        if self._head_of_answer:
            self.write(b"")

    def target(self) -> tuple[bytes, bytes]:
        """Method and path of the request that is arriving."""
        method, path = self._target
        return method, path.partition(b"?")[0]

    def refuse(self, answer: Answer) -> bool:
        """Send `answer`, read and forget what the client still sends, then close the connection.

        False if that is under way already.
        """
        if self.refused:
            return False
        headers = {
            b"Date": self.site.date(),
            b"Connection": b"close",
            **answer.headers_of_body,
            **answer.headers,
        }
        raw = Headers({name: [value] for name, value in headers.items()})
        self.writeHeaders(b"HTTP/1.1", b"%d" % answer.status, answer.phrase, raw)
        self._end_with(answer.body)
        return True

    def _end_with(self, body: bytes) -> None:
        """Send the end of a refusal, and close this half of the connection."""
        self.refused = True
        self.setTimeout(None)
        self._set_deadline(LINGER_SECONDS, self._abort)
        self.write(body)
        self.delivery.close_this_end()

    def hold(self, count: int) -> bool:
        """Count bytes held for this connection; False if the server holds too many."""
        if self.site.held + self.site.abandoned() + count > MAX_HELD:
            return False
        self.site.held += count
        self._held += count
        return True

    def hold_answer(self, count: int) -> bool:
        """Count an answer, as `hold` does; a client may leave `MAX_UNREAD` bytes unread."""
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
        if self._break:
            self._stop_reading()
        if self.delivery.is_lingering:
            # The transport has asked for more in place of closing its end.
            self.delivery.close_this_end()

    def wind_down(self) -> None:
        """Close the connection as soon as no request is under way on it."""
        self.persistent = False
        is_lingering = self.delivery.is_lingering
        if (self.requests and not self.refused) or (is_lingering and self.delivery.bytes_left()):
            # An answer is still on its way.
            return
        self.delivery.ends()
        if self.refused or is_lingering:
            self.forceAbortClient()
        else:
            self.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Bytes are here; the first of a request start its deadline."""
        self.idle_since = self.site.reactor.seconds()
        if self._break:
            self._rest += data
            return
        self._left = REQUESTS_IN_A_TURN
        self._receive(data)

    def setLineMode(self, extra: bytes = b"") -> None:
        """A request has been answered, and `extra` came meanwhile."""
        super().setLineMode()
        self._receive(extra)

    def _receive(self, data: bytes) -> None:
        if not data or self.refused or self.delivery.is_lingering:
            return
        if self._break:
            self._rest = data + self._rest
            return
        if not self._answering:
            if not self._arriving and data.startswith(_TLS):
                # Otherwise a client that was told https waits here for its answer.
                self._refuse_unread(400, MALFORMED)
                return
            self.delivery.goes_on()
            self._arriving = True
        super().dataReceived(data)
        if self._break:
            self._rest = self.clearLineBuffer() + self._rest
        elif self._arriving and self._deadline is None and not self.refused:
            self._set_deadline(RECEIVE_SECONDS, partial(self._refuse_unread, 408, _TOO_SLOW))

    def take_note(self, answer: Answer) -> None:
        """Count refusals for the rate; after many in a row the connection takes a break."""
        if answer.status != _TOO_MANY or not self.group:
            # Over a proxy's connection others ask, too, perhaps in between.
            self._refusals = 0
            return
        self._refusals += 1
        if self._refusals >= REFUSALS_IN_A_ROW:
            self._take_break(float(answer.headers[b"Retry-After"]))

    def _take_break(self, seconds: float) -> None:
        """Read and answer nothing for some seconds; 0 gives the other connections their turn."""
        if self._break:
            self._break.reset(seconds)
            return
        # For twisted.web's own loop over what is here.
        self.paused = True
        self._break = self.site.reactor.callLater(seconds, self._end_break)
        self._stop_reading()

    def _end_break(self) -> None:
        self._break = None
        self.paused = False
        self._left = REQUESTS_IN_A_TURN
        rest, self._rest = self._rest, b""
        if self._is_closing():
            return
        self._receive(rest)
        self._read_on()

    def _read_on(self) -> None:
        if self._reading and not (self._break or self.unread or self._is_closing()):
            self._reading.resumeProducing()

    def _stop_reading(self) -> None:
        if self._reading and not self._is_closing():
            self._reading.pauseProducing()

    def _is_closing(self) -> bool:
        return bool(getattr(self.transport, "disconnecting", False))

    def lineReceived(self, line: bytes) -> None:
        """A line of the head of a request is here."""
        if self.refused:
            return
        problem = self._head.problem(line)
        if problem:
            self._refuse_unread(400, problem)
            return
        if line and not self.requests:
            method, target, _ = line.split(b" ")
            self._target = method, target
        super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        """Bytes of a body, or of the next request, are here."""
        if not self.refused:
            self._decoding = True
            super().rawDataReceived(data)
            self._decoding = False

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line goes on and on."""
        self._refuse_unread(400, TOO_LONG)

    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        """Whether the connection stays open after this request."""
        if self.site.closing:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return bool(super().checkPersistence(request, version))

    def allContentReceived(self) -> None:
        """All of a request is here."""
        self._clear_deadline()
        self._head.reset()
        self._answering, self._arriving = True, False
        self._left -= 1
        if self._left <= 0:
            self._take_break(0)
        super().allContentReceived()

    def requestDone(self, request: http.Request) -> None:
        """A request has been answered."""
        self._answering = False
        self.idle_since = self.site.reactor.seconds()
        self.has_served = self.has_served or request.code < _FIRST_ERROR
        super().requestDone(request)
        if self._break:
            self._stop_reading()

    def timeoutConnection(self) -> None:
        """Close an idle connection; its receipts are given if all bytes have arrived."""
        self.delivery.ends()
        super().timeoutConnection()

    def loseConnection(self) -> None:
        """Close the connection, if receipts are awaited this end first: then the other end tells."""
        if self._decoding and self._arriving:
            # twisted.web has met a chunk that is none, and written "400 Bad Request" without a length.
            self.site.tell_no_request(self.peer_address, 400, MALFORMED)
            self._end_with(problem(400, MALFORMED).body)
            return
        if not self.delivery.linger():
            super().loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self.delivery.lost(reason)
        self._clear_deadline()
        if self._break and self._break.active():
            self._break.cancel()
        self.let_go()
        try:
            super().connectionLost(reason)
        finally:
            # Whatever fails, the connection must not count as open: the server could not stop.
            self.site.forget(self)

    def _refuse_unread(self, status: int, sentence: str) -> None:
        """Refuse what is no request, or not yet one."""
        self.site.tell_no_request(self.peer_address, status, sentence)
        self.refuse(problem(status, sentence))

    def _set_deadline(self, seconds: float, call: Callable[[], object]) -> None:
        self._clear_deadline()
        self._deadline = self.site.reactor.callLater(seconds, call)

    def _clear_deadline(self) -> None:
        if self._deadline and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
