"""The site: all connections of the server, and the state that they share."""

from typing import cast

from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.web import http, server

from mneme.clocks import WallClock
from mneme.feed import Feed
from mneme.service import SyncService
from mneme.web import proxies
from mneme.web.admission import Admission
from mneme.web.answers import Answer
from mneme.web.api import Api
from mneme.web.coding import Coding
from mneme.web.connection import Channel
from mneme.web.encoding import Encoding
from mneme.web.policy import Policy
from mneme.web.receipts import IDLE_SECONDS
from mneme.web.request import Request
from mneme.web.requestlog import RequestLog
from mneme.web.slots import Slots, group_of
from mneme.web.tree import Tree
from mneme.work import Worker

_ACCEPTS = 4
"""Connections taken from a port in one turn of the reactor: those that give way to them close only after it."""


class TurnedAway(Protocol):
    """Protocol of a connection too many, which is closed: TLS needs some protocol."""

    def connectionMade(self) -> None:
        """Close it."""
        cast(ITCPTransport, self.transport).abortConnection()


class Site(server.Site):
    """The server's connections, over which an `Admission` answers."""

    _log = Logger()

    protocol = Channel  # type: ignore[assignment]  # Twisted declares its own wrapper, which tells HTTP/2 apart
    requestFactory = Request
    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        wall: WallClock,
        worker: Worker,
        sync: SyncService,
        policy: Policy,
        max_body_bytes: int,
        feed: Feed,
        slots: Slots | None = None,
    ) -> None:
        """Take `clock` for timers, `wall` for the time of day; `max_body_bytes` may change."""
        self._sync, self._coding = sync, Coding(worker)
        self._feed = feed
        self._api = Api(clock, sync, self._coding, Encoding(worker), policy, self._feed)
        self.admission = Admission(Tree(self._api.app.resource()), policy)
        super().__init__(self.admission, timeout=IDLE_SECONDS, reactor=clock, parsePOSTFormSubmission=False)
        self.displayTracebacks = False
        self.request_log = RequestLog(clock)
        self.max_body_bytes = max_body_bytes
        self.slots = slots or Slots()
        self.held = 0
        self._time_of_day = wall
        self._date = -1, b""
        self.closing = False
        self._channels: set[Channel] = set()
        self._ports: list[IListeningPort] = []
        self._is_accepting = False
        self._emptied: Deferred[None] | None = None

    @property
    def policy(self) -> Policy:
        """The policy in force; setting it counts from the next request."""
        return self.admission.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self.admission.policy = self._api.policy = policy

    def abandoned(self) -> int:
        """The bytes that are held for clients that have hung up: see `SyncService` and `Coding`."""
        return self._sync.abandoned_bytes + self._coding.abandoned_bytes

    def log(self, request: http.Request) -> None:
        """Write the line of a request that has been answered."""
        self.request_log.write_end(cast(Request, request))

    def tell_end(self, request: Request, ending: str) -> None:
        """Log a request that has ended without an answer."""
        self.request_log.write_end(request, ending)

    def tell_refusal(self, request: Request, answer: Answer) -> None:
        """Log a request that was refused before it was here."""
        self.request_log.write_refusal(request, answer.status, len(answer.body))

    def tell_no_request(self, address: str, status: int, sentence: str) -> None:
        """Count and log what was refused without being a request."""
        self.admission.count_refusal(address)
        if self.request_log.is_told(address):
            self._log.info(
                "{address} {status}: {sentence}", address=address, status=status, sentence=sentence
            )

    def keeps_body(self, request: Request) -> bool:
        """Whether the body of a request is worth keeping: whoever shows no key is refused."""
        return self.admission.shows_key(request)

    def address_of(self, request: Request) -> str:
        """The address that a request comes from, by the word of trusted proxies."""
        return self.admission.address_of(request)

    def now(self) -> float:
        """The time on the reactor's clock, in seconds."""
        return self.reactor.seconds()

    def date(self) -> bytes:
        """The time of day for the head of an answer; written anew once a second."""
        second = int(self._time_of_day.seconds())
        if second != self._date[0]:
            self._date = second, http.datetimeToString(second)
        return self._date[1]

    def watch(self, port: IListeningPort) -> None:
        """Take connections from a port few at a time."""
        self._ports.append(port)
        self._bound_accepts()

    def _bound_accepts(self) -> None:
        """Bound the connections that each port accepts in its next turn."""
        self._is_accepting = False
        for port in self._ports:
            if isinstance(port, tcp.Port):
                port.numberAccepts = min(port.numberAccepts, _ACCEPTS)

    def buildProtocol(self, addr: IAddress | None) -> Channel | TurnedAway:  # type: ignore[override]  # as above
        """Take a connection, for which an idle one may be closed; else close it."""
        if self._ports and not self._is_accepting:
            self._is_accepting = True
            self.reactor.callLater(0, self._bound_accepts)
        peer = getattr(addr, "host", "")
        # A proxy asks for many, whose number is its own business.
        group = "" if self.policy.proxies.trust(proxies.plain(peer)) else group_of(peer)
        if self.closing or not self.slots.has_room(group):
            return TurnedAway()
        channel = cast(Channel, super().buildProtocol(addr))
        channel.group, channel.idle_since = group, self.reactor.seconds()
        self.slots.take(channel)
        self._channels.add(channel)
        return channel

    def forget(self, channel: Channel) -> None:
        """A connection is gone."""
        self._channels.discard(channel)
        self.slots.leave(channel)
        if self._emptied and not self._channels:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)

    async def close(self, seconds: float) -> None:
        """Wait for requests under way, for `seconds` at most, and close all connections."""
        self.closing = True
        self._feed.close()
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
