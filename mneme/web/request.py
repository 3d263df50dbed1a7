"""Requests: bodies stay in memory within limits; answers are held until they are read.

twisted.web keeps the state of the exchange. What it would do for any site (cookies, forms, a temporary file for the
body) is left out here.
"""

from io import BytesIO
from typing import Any, Protocol, cast

from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import parse_qs
from twisted.web.resource import IResource

from mneme.errors import MnemeError
from mneme.web import connection, reading
from mneme.web.answers import Answer
from mneme.web.connection import Channel
from mneme.web.errors import BodyTooLarge, Busy, answer_to


class Home(connection.Home, Protocol):
    """The site, as far as its requests know it."""

    resource: Any
    max_body_bytes: int

    def now(self) -> float:
        """The time on the reactor's clock, in seconds."""
        ...

    def keeps_body(self, request: "Request") -> bool:
        """Whether the body of a request is worth keeping: whoever shows no key is refused."""
        ...

    def address_of(self, request: "Request") -> str:
        """The address that a request comes from, by the word of trusted proxies."""
        ...

    def tell_end(self, request: "Request", ending: str) -> None:
        """Log a request that has ended."""
        ...

    def tell_refusal(self, request: "Request", answer: Answer) -> None:
        """Log a request that was refused before it was here."""
        ...


class Request(server.Request):
    """A request with its body in memory; without a good key the body is dropped."""

    channel: Channel

    started: float | None = None
    """When it was here, on the reactor's clock; None before."""

    is_turned_away = False
    """Whether it was refused for who sent it, or how often, and not for what it asks."""

    key: int | MnemeError | None = None
    """Number of its key, None if none is needed, or what is wrong; known once it `is_key_checked`."""
    is_key_checked = False

    _address: str | None = None
    _kept = True
    _received = 0
    _body: BytesIO

    @property
    def home(self) -> Home:
        """The site that it was sent to."""
        return cast(Home, self.channel.site)

    def gotLength(self, length: int | None) -> None:
        """Begin the body; `length` is in bytes, None if the headers do not say."""
        self._body = BytesIO()
        if length == 0:
            return
        self._kept = self.home.keeps_body(self)
        if length is not None and length > self.max_body_bytes:
            # Otherwise twisted.web invites the body that was just refused.
            self.requestHeaders.removeHeader(b"expect")
            self._refuse_size()

    def handleContentChunk(self, data: bytes) -> None:
        """More of the body is here."""
        self._received += len(data)
        if self._received > self.max_body_bytes:
            self._refuse_size()
        elif self._kept:
            self._keep(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Answer the whole request. Its target may also be a URL, or `*`."""
        if self.channel.refused:
            return
        self.method, self.uri, self.clientproto = command, path, version
        self.path, _, query = path.partition(b"?")
        if not path.startswith(b"/"):
            _, _, rest = self.path.partition(b"://")
            self.path = b"/" + (rest.partition(b"/")[2] if rest else self.path)
        self.args = parse_qs(query, True) if query else {}
        self.started = self.home.now()
        self.process()

    def process(self) -> None:
        """Have the site's resource answer; the segments of the path stay percent-encoded."""
        self.prepath = []
        self.postpath = reading.raw_segments(self.path)
        self.setHeader(b"Date", self.home.date())
        self.render(self.home.resource)

    def render(self, resrc: IResource) -> None:
        """Render a resource; an answer for which there is no room is refused."""
        channel = self.channel
        if isinstance(resrc, Answer):
            if not channel.unread:
                self._let_go()
            if not channel.hold_answer(len(resrc.body)):
                channel.delivery.fails()
                resrc = answer_to(Failure(Busy()))
            channel.take_note(resrc)
        super().render(resrc)
        if isinstance(resrc, Answer) and not channel.unread:
            channel.let_go()

    def write(self, data: bytes) -> None:
        """Write and flush the answer, so that the number of unsent bytes is known."""
        super().write(data)
        self.channel.flush()

    def getRequestHostname(self) -> bytes:
        """Host name for Klein, which needs one for redirects alone."""
        return b"mneme"

    def isSecure(self) -> bool:
        """Whether TLS is used, for Klein, which needs it for redirects alone."""
        return False

    def parseCookies(self) -> None:
        """Leave cookies unread."""

    def take_body(self) -> bytes:
        """Take the body from the request, which then holds no copy of it."""
        body, self._body = self._body, BytesIO()
        return body.getvalue()

    @property
    def address(self) -> str:
        """Address of the client, by the word of trusted proxies; `local` for a Unix socket."""
        if self._address is None:
            self._address = self.home.address_of(self)
        return self._address

    def texts(self, name: bytes) -> list[str]:
        """The values of a header."""
        return [value.decode("latin-1") for value in self.requestHeaders.getRawHeaders(name, [])]

    @property
    def max_body_bytes(self) -> int:
        """How many bytes its body may have, inflated."""
        return self.home.max_body_bytes

    def hold(self, count: int) -> bool:
        """Count bytes held until the answer; False if the server holds too many."""
        return self.channel.hold(count)

    def connectionLost(self, reason: Failure) -> None:
        """The client has hung up."""
        # Afterwards the request has no channel, by which to know its address.
        home, self._address = self.home, self.address
        self._let_go()
        super().connectionLost(reason)
        if self.started is not None:
            home.tell_end(self, " (the client hung up)")

    def _keep(self, data: bytes) -> None:
        if not self.channel.hold(len(data)):
            self._refuse(Busy())
            return
        self._body.write(data)

    def _let_go(self) -> None:
        """Let go of the body."""
        self._body = BytesIO()
        self.channel.let_go()

    def _refuse_size(self) -> None:
        limit = self.max_body_bytes
        self._refuse(BodyTooLarge(f"A body may have at most {limit} bytes, and this one has more"))

    def _refuse(self, error: MnemeError) -> None:
        answer = answer_to(Failure(error))
        if self.channel.refuse(answer):
            self.method, self.path = self.channel.target()
            self.home.tell_refusal(self, answer)
