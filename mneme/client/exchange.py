"""Requests with retries, and answers, of which 401, 429 and 5xx are raised.

Any call of `Client` may raise these errors.
"""

import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from io import BytesIO
from typing import Protocol, TypeVar

import msgspec
from attrs import evolve, field, frozen
from cryptography.x509 import Certificate
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import defer
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.http import stringToDatetime
from twisted.web.http_headers import Headers

from mneme import __version__, wire
from mneme.client.errors import (
    KeyRefused,
    ServerFault,
    ServerTrouble,
    StrangeAnswer,
    Unreachable,
    Untrusted,
)
from mneme.clocks import WallClock
from mneme.errors import NOT_JSON
from mneme.work import Worker

T = TypeVar("T", bound=msgspec.Struct)
V = TypeVar("V")

SLOWEST = 32 * 1024
"""Bytes a second on the slowest network; a timeout grows with the body by this."""

WORTH_COMPRESSING = 1024
"""Bytes from which a body is compressed; a smaller body fits into one packet."""

_FIRST_DELAY = 0.5
_GZIP = 31
_WRONG_KEY = "Invalid API key"


class Response(Protocol):
    """The part of a treq response that is used here."""

    @property
    def code(self) -> int:
        """The status."""
        ...

    @property
    def headers(self) -> Headers:
        """The headers."""
        ...

    def content(self) -> defer.Deferred[bytes]:
        """The body, whole."""
        ...


class Http(Protocol):
    """The sender of requests: `treq.client.HTTPClient`, or `treq.testing.StubTreq` in tests."""

    def request(
        self, method: str, url: str, *, headers: Headers, data: BytesIO | None, allow_redirects: bool
    ) -> "defer.Deferred[Response]":
        """Send a request."""
        ...


@frozen
class Address:
    """The URL of a server, without a slash at its end, and its API key.

    `authorities` are certificates that are trusted in addition to the system's.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    authorities: tuple[Certificate, ...] = field(default=(), repr=False)


@frozen
class Patience:
    """Seconds to wait for an answer, and the number of retries."""

    timeout: float = 10.0
    retries: int = 3


@frozen
class Ask:
    """A request. `size` is that of a large answer that is expected."""

    method: str
    path: str
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes | None = None
    size: int = 0


@frozen
class Reply:
    """The answer to a request."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """The last value of a header."""
        values = self.headers.getRawHeaders(name)
        return values[-1] if values else None


class Exchange:
    """The sender of requests to one server.

    `server_ahead` is by how many seconds the server's clock was ahead of this machine's at the last answer, to within a
    second; None before the first.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wall: WallClock,
        worker: Worker,
        http: Http,
        address: Address,
        patience: Patience,
    ) -> None:
        """Set up the exchange; bodies are compressed on `worker`."""
        self.address = address
        self.server_ahead: float | None = None
        self._clock = clock
        self._wall = wall
        self._worker = worker
        self._http = http
        self._patience = patience

    def server_seconds(self) -> float:
        """The time by the server's clock, if known, in seconds since 1970."""
        return self._wall.seconds() + (self.server_ahead or 0.0)

    async def send(self, ask: Ask) -> Reply:
        """Send with retries; raise for 401, a wrong key, 429 and 5xx."""
        reply = await self._answer(await self._compressed(ask))
        url = self.address.url
        if reply.status == HTTPStatus.UNAUTHORIZED:
            raise KeyRefused(
                f"The server at {url} wants an API key: put one of its apiKeys into sync.apiKey, or give --key"
            )
        if reply.status == HTTPStatus.FORBIDDEN and self.problem(reply).error == _WRONG_KEY:
            raise KeyRefused(
                f"The server at {url} does not know this API key: sync.apiKey must be one of its apiKeys"
            )
        if reply.status == HTTPStatus.NOT_IMPLEMENTED:
            # A server of files answers so to the POST that takes the lock.
            raise self.strange("status 501")
        if reply.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ServerFault(f"The server at {url} answered 500{self._trouble(reply)}")
        if reply.status == HTTPStatus.TOO_MANY_REQUESTS or reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ServerTrouble(f"The server at {url} answered {reply.status}{self._trouble(reply)}")
        return reply

    def _trouble(self, reply: Reply) -> str:
        # A proxy may answer in HTML while the server is away.
        with suppress(StrangeAnswer):
            return f": {self.problem(reply).error}"
        return ""

    def problem(self, reply: Reply) -> wire.Problem:
        """The body of an error answer; raises `StrangeAnswer`."""
        return self.decoded(reply, wire.Problem)

    def decoded(self, reply: Reply, form: type[T]) -> T:
        """The body of an answer; raises `StrangeAnswer`."""
        try:
            return msgspec.json.decode(reply.body, type=form)
        except NOT_JSON as error:
            raise self.strange(f"status {reply.status}, {error}") from None

    def strange(self, what: str) -> StrangeAnswer:
        """The error for an answer that is not from a mneme server."""
        return StrangeAnswer(
            f"What answers at {self.address.url} does not speak as a mneme server does ({what}): "
            "see that serverUrl is right, and that the server is no older than this client"
        )

    async def _compressed(self, ask: Ask) -> Ask:
        body = ask.body or b""
        if len(body) < WORTH_COMPRESSING:
            return ask
        compressed = await self._worker.run(lambda: zlib.compress(body, wbits=_GZIP))
        return evolve(ask, body=compressed, headers={**ask.headers, "Content-Encoding": "gzip"})

    async def _answer(self, ask: Ask) -> Reply:
        delay = _FIRST_DELAY
        for _ in range(self._patience.retries):
            try:
                reply = await self._attempt(ask)
            except Unreachable:
                pass
            else:
                if reply.status != HTTPStatus.SERVICE_UNAVAILABLE:
                    return reply
            await deferLater(self._clock, delay)
            delay *= 2
        return await self._attempt(ask)

    async def _attempt(self, ask: Ask) -> Reply:
        seconds = self._patience.timeout + (len(ask.body or b"") + ask.size) / SLOWEST
        answer = _cancellable(defer.Deferred.fromCoroutine(self._exchange(ask)))
        try:
            return await answer.addTimeout(seconds, self._clock)
        except defer.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - each way in which no answer comes has an exception of its own
            kind = Untrusted if _is_untrusted(_cause(error)) else Unreachable
            raise kind(f"The server at {self.address.url} cannot be reached: {_reason(error)}") from None

    async def _exchange(self, ask: Ask) -> Reply:
        headers = Headers({"User-Agent": [f"mneme/{__version__}"]})
        if self.address.key:
            headers.addRawHeader("Authorization", f"Bearer {self.address.key}")
        for name, value in ask.headers.items():
            headers.addRawHeader(name.encode(), value.encode())
        sent = self._wall.seconds()
        response = await self._http.request(
            ask.method,
            self.address.url + ask.path,
            headers=headers,
            data=None if ask.body is None else BytesIO(ask.body),
            allow_redirects=False,
        )
        reply = Reply(response.code, response.headers, await response.content())
        self._note_clock(reply, (sent + self._wall.seconds()) / 2)
        return reply

    def _note_clock(self, reply: Reply, here: float) -> None:
        # stringToDatetime raises either for a bad date.
        with suppress(ValueError, IndexError):
            # The header has whole seconds, on average half a second past.
            self.server_ahead = stringToDatetime(reply.header(b"date") or b"") + 0.5 - here


def _cancellable(answer: "defer.Deferred[V]") -> "defer.Deferred[V]":
    """A Deferred that fails with CancelledError at once when it is cancelled.

    treq's own may fail with any error then, which would look like no answer.
    """

    def cancel(outer: "defer.Deferred[V]") -> None:
        outer.errback(defer.CancelledError())
        answer.cancel()

    def pass_on(result: V | Failure) -> None:
        if not outer.called:
            outer.callback(result)

    outer: defer.Deferred[V] = defer.Deferred(cancel)
    answer.addBoth(pass_on)
    return outer


def _cause(error: Exception) -> Exception:
    """The error inside those that only say that a response or a request failed."""
    reasons: list[Failure] = getattr(error, "reasons", [])
    if reasons and isinstance(reasons[-1].value, Exception):
        return _cause(reasons[-1].value)
    return error


def _is_untrusted(error: Exception) -> bool:
    """Whether TLS failed at the certificate, and not at its name or at the protocol."""
    return isinstance(error, SSL.Error) and "certificate verify failed" in str(error)


def _reason(error: Exception) -> str:
    """The reason why no answer came, in a few words."""
    error = _cause(error)
    if isinstance(error, ConnectError) and isinstance(error.osError, int):
        return os.strerror(error.osError).lower()
    if isinstance(error, defer.TimeoutError):
        return "it did not answer in time"
    if isinstance(error, VerificationError):
        return "its certificate is for another name: use one that the certificate has"
    if _is_untrusted(error):
        return "its certificate is not trusted on this machine; name it, or its authority's, in sync.caFile"
    if isinstance(error, SSL.Error):
        return "it speaks no TLS that this machine understands; is the address one of http, or of https?"
    if isinstance(error, ConnectionDone | ConnectionLost):
        return "it closed the connection before it had answered; is the address one of http, or of https?"
    return str(error).rstrip(".") or type(error).__name__
