"""Requests and answers: each request is tried until an answer comes, and an answer that means trouble is an error.

What is raised here any call of `Client` may raise; its module says what means what.
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
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import defer
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.http import stringToDatetime
from twisted.web.http_headers import Headers

from mneme import __version__, files, wire
from mneme.client.errors import KeyRefused, ServerFault, ServerTrouble, StrangeAnswer, Unreachable
from mneme.clocks import WallClock
from mneme.work import Worker

T = TypeVar("T", bound=msgspec.Struct)
V = TypeVar("V")

SLOWEST = 32 * 1024
"""Bytes a second on the slowest line that is worth waiting for: so much longer may a larger body take."""

WORTH_COMPRESSING = 1024
"""Bytes of a body from which on it is compressed: a smaller one fits into one packet as it is."""

_FIRST_DELAY = 0.5
_WRONG_KEY = "Invalid API key"


class Response(Protocol):
    """What treq answers with, as far as it is used here."""

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
    """What sends requests: `treq.client.HTTPClient`, or in tests `treq.testing.StubTreq`."""

    def request(
        self, method: str, url: str, *, headers: Headers, data: BytesIO | None, allow_redirects: bool
    ) -> "defer.Deferred[Response]":
        """Send one."""
        ...


@frozen
class Address:
    """Where a server is, and the API key that opens it; `url` without a slash at its end."""

    url: str
    key: str | None = field(default=None, repr=False)


@frozen
class Patience:
    """How long to wait for an answer, in seconds, and how often to try again when none comes."""

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
    """What was answered to it."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """The last value of a header."""
        values = self.headers.getRawHeaders(name)
        return values[-1] if values else None


class Exchange:
    """Sends requests to one server.

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
        """Bodies are compressed on `worker`."""
        self.address = address
        self.server_ahead: float | None = None
        self._clock = clock
        self._wall = wall
        self._worker = worker
        self._http = http
        self._patience = patience

    def server_seconds(self) -> float:
        """What the server's clock says now, as far as is known, in seconds since 1970."""
        return self._wall.seconds() + (self.server_ahead or 0.0)

    async def send(self, ask: Ask) -> Reply:
        """Send a request, again if no answer comes, and raise what no call can do anything with."""
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
        if reply.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ServerFault(f"The server at {url} answered 500{self._trouble(reply)}")
        if reply.status == HTTPStatus.TOO_MANY_REQUESTS or reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ServerTrouble(f"The server at {url} answered {reply.status}{self._trouble(reply)}")
        return reply

    def _trouble(self, reply: Reply) -> str:
        # What stands before the server answers for it while it is away, in words of its own.
        with suppress(StrangeAnswer):
            return f": {self.problem(reply).error}"
        return ""

    def problem(self, reply: Reply) -> wire.Problem:
        """What an answer that is a no says; raises `StrangeAnswer`."""
        return self.decoded(reply, wire.Problem)

    def decoded(self, reply: Reply, form: type[T]) -> T:
        """The body of an answer; raises `StrangeAnswer`."""
        try:
            return msgspec.json.decode(reply.body, type=form)
        except files.NOT_JSON as error:
            raise self.strange(f"status {reply.status}, {error}") from None

    def strange(self, what: str) -> StrangeAnswer:
        """The error that says that it cannot be our server."""
        return StrangeAnswer(
            f"What answers at {self.address.url} does not speak as a mneme server does ({what}): "
            "see that serverUrl is right, and that the server is no older than this client"
        )

    async def _compressed(self, ask: Ask) -> Ask:
        body = ask.body or b""
        if len(body) < WORTH_COMPRESSING:
            return ask
        compressed = await self._worker.run(lambda: _gzipped(body))
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
            raise Unreachable(
                f"The server at {self.address.url} cannot be reached: {_reason(error)}"
            ) from None

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
        # What is no date is a ValueError, or an IndexError.
        with suppress(ValueError, IndexError):
            # The header has whole seconds, on average half a second past.
            self.server_ahead = stringToDatetime(reply.header(b"date") or b"") + 0.5 - here


def _cancellable(answer: "defer.Deferred[V]") -> "defer.Deferred[V]":
    """The same, but it is cancelled at once: what treq fails with then could be any error, and look like no answer."""

    def cancel(outer: "defer.Deferred[V]") -> None:
        outer.errback(defer.CancelledError())
        answer.cancel()

    def pass_on(result: V | Failure) -> None:
        if not outer.called:
            outer.callback(result)

    outer: defer.Deferred[V] = defer.Deferred(cancel)
    answer.addBoth(pass_on)
    return outer


def _gzipped(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=31)
    return compressor.compress(body) + compressor.flush()


def _reason(error: Exception) -> str:
    """Why no answer came, in a few words."""
    reasons: list[Failure] = getattr(error, "reasons", [])
    if reasons and isinstance(reasons[-1].value, Exception):
        return _reason(reasons[-1].value)
    if isinstance(error, ConnectError) and isinstance(error.osError, int):
        return os.strerror(error.osError).lower()
    if isinstance(error, defer.TimeoutError):
        return "it did not answer in time"
    if isinstance(error, VerificationError):
        return "its certificate is for another name: use one that the certificate has"
    if isinstance(error, SSL.Error):
        return (
            "its certificate is not trusted on this machine, or it speaks no TLS; SSL_CERT_FILE=cert.pem in the "
            "environment makes a self-signed one trusted"
        )
    if isinstance(error, ConnectionDone | ConnectionLost):
        return "it closed the connection before it had answered; is the address one of http, or of https?"
    return str(error).rstrip(".") or type(error).__name__
