"""A request, as the routes see it: its body is kept in memory within limits, and its answer is one value, sent at once.

twisted.web keeps the state of the exchange. What it would do for any site at each request (cookies, forms, resources
to walk, a temporary file for the body, headers set one by one) is left out here: it cost more than all the rest.
"""

from io import BytesIO
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import parse_qs

from mneme.errors import MnemeError
from mneme.web.answers import Answer, head_of
from mneme.web.errors import BodyTooLarge, Busy, answer_to
from mneme.web.proxies import client_behind

if TYPE_CHECKING:
    from mneme.web.site import Channel


class Request(server.Request):
    """A request whose body stays in memory, within limits; one that shows no key has its body dropped unread."""

    channel: "Channel"

    started: float | None = None
    """When it was here, on the reactor's clock; None before."""
    answering: "Deferred[Answer] | None" = None
    """What is under way to answer it; cancelled when the client hangs up."""

    is_turned_away = False
    """Whether it was refused for who sent it, or how often, and not for what it asks."""

    _address: str | None = None
    _kept = True
    _received = 0
    _body: BytesIO

    def gotLength(self, length: int | None) -> None:
        """All headers are here, and say that the body has `length` bytes (None: they don't say)."""
        self._body = BytesIO()
        if length == 0:
            return
        site = self.channel.site
        self._kept = site.front.shows_key(self)
        if length is not None and length > site.max_body_bytes:
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
        """All of the request is here. The target may be a whole URL, of which only the path counts, or `*`."""
        channel = self.channel
        if channel.refused:
            return
        self.method, self.uri, self.clientproto = command, path, version
        self.path, _, query = path.partition(b"?")
        if not path.startswith(b"/"):
            _, _, rest = self.path.partition(b"://")
            self.path = b"/" + (rest.partition(b"/")[2] if rest else self.path)
        self.args = parse_qs(query, True) if query else {}
        self.started = channel.site.reactor.seconds()
        channel.site.front.answer(self)

    def take_body(self) -> bytes:
        """The body, which the request lets go of: kept here, too, it would double what a waiting upload holds."""
        body, self._body = self._body, BytesIO()
        return body.getvalue()

    def send(self, answer: Answer) -> None:
        """Send the answer, which ends the request; it is held until the client has read it."""
        channel = self.channel
        if not channel.unread:
            self._let_go()
        if not channel.hold_answer(len(answer.body)):
            channel.give_receipts(read=False)
            answer = answer_to(Failure(Busy()))
        body = b"" if self.method == b"HEAD" else answer.body
        self.code, self.startedWriting, self.sentLength = answer.status, 1, len(body)
        others = self.responseHeaders.getAllRawHeaders()
        head = head_of(answer, self.clientproto, channel.site.date(), others)
        channel.send(head + body if body else head)
        channel.take_note(answer)
        if not channel.unread:
            self._let_go()
        self.finish()

    @property
    def address(self) -> str:
        """The address that it comes from, by the word of trusted proxies; `local` for a socket in the file system."""
        if self._address is None:
            proxies = self.channel.site.front.policy.proxies
            self._address = peer = self.channel.peer_address
            if proxies.trust(peer):
                forwarded, listed = map(self._texts, (b"forwarded", b"x-forwarded-for"))
                self._address = client_behind(peer, forwarded, listed, proxies)
        return self._address

    def _texts(self, name: bytes) -> list[str]:
        return [value.decode("latin-1") for value in self.requestHeaders.getRawHeaders(name, [])]

    @property
    def max_body_bytes(self) -> int:
        """How many bytes its body may have, inflated."""
        return self.channel.site.max_body_bytes

    def hold(self, count: int) -> bool:
        """Count so many bytes until it is answered, or its client is gone; False if that would be too many."""
        return self.channel.hold(count)

    @property
    def is_over(self) -> bool:
        """Whether the client has hung up."""
        return self._disconnected

    def connectionLost(self, reason: Failure) -> None:
        """The client has hung up."""
        log = self.channel.site.front.log
        self._let_go()
        super().connectionLost(reason)
        if self.answering:
            self.answering.cancel()
        if self.started is not None:
            log.write_end(self, " (the client hung up)")

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
            self.channel.site.front.log.write_refusal(self, answer.status, len(answer.body))
