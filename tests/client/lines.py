"""Connections for tests: to a server in this process, or with scripted answers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from http.client import HTTPResponse
from io import BytesIO
from typing import Any, TypeVar
from urllib.parse import urlsplit

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.web.http import datetimeToString
from twisted.web.http_headers import Headers

from mneme.client.exchange import Address, Exchange, Http, Patience, Response
from mneme.clocks import WallClock
from mneme.work import Worker
from tests.immediate import ImmediateWorker
from tests.in_process import InProcess
from tests.results import failure_of, result_of, started, waits
from tests.web.stub import Stub

T = TypeVar("T")

URL = "http://stub.invalid"


class Killed(BaseException):
    """The end of a killed process; no Exception, so that nothing handles it."""


@frozen
class Asked:
    """A request as it was sent."""

    method: str
    url: str
    headers: Headers
    body: bytes | None

    @property
    def path(self) -> str:
        """Where it went, on the server."""
        parts = urlsplit(self.url)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    def header(self, name: str) -> str | None:
        """The last value of a header."""
        values = self.headers.getRawHeaders(name)
        return values[-1] if values else None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def asked_of(method: str, url: str, headers: Headers, data: BytesIO | None, allow_redirects: bool) -> Asked:
    """The request in the arguments of `Http.request`."""
    assert not allow_redirects, "a key is shown to nobody that an answer names"
    return Asked(method, url, headers, None if data is None else data.getvalue())


@define
class Ahead:
    """A wall clock a number of seconds ahead of another."""

    clock: WallClock
    seconds_ahead: float = 0.0

    def seconds(self) -> float:
        """See `WallClock`."""
        return self.clock.seconds() + self.seconds_ahead


@frozen
class Scripted:
    """A canned answer, which breaks off with `error` if that is given."""

    code: int = 200
    body: bytes = b"{}"
    headers: Headers = field(factory=Headers)
    error: Exception | None = None

    def content(self) -> Deferred[bytes]:
        """See `Response`."""
        return succeed(self.body) if self.error is None else fail(self.error)


def answer(code: int = 200, body: bytes = b"{}", headers: Mapping[str, str] | None = None) -> Scripted:
    """An answer of a script."""
    return Scripted(code, body, Headers({name: [value] for name, value in (headers or {}).items()}))


def come(part: Scripted | Exception) -> Deferred[Response]:
    """An answer, or an error, which is there at once."""
    return fail(part) if isinstance(part, Exception) else succeed(part)


class Sender:
    """An `Http` that notes each request, and that is cut before or after one.

    `asked` has every request that was sent. `before` is called with each before it is sent, `after` once the server has
    answered it; what they raise is what becomes of it. `by_hand` has answers that the server does not give. The date of
    an answer is that of the server's `clock`.
    """

    def __init__(self, clock: WallClock) -> None:
        self.asked: list[Asked] = []
        self.is_cut = False
        self.before: Callable[[Asked], object] = lambda asked: None
        self.after: Callable[[Asked], object] = lambda asked: None
        self.by_hand: dict[str, Scripted | Exception] = {}
        self._clock = clock

    def request(
        self, method: str, url: str, *, headers: Headers, data: BytesIO | None, allow_redirects: bool
    ) -> Deferred[Response]:
        """See `Http`."""
        asked = asked_of(method, url, headers, data, allow_redirects)
        if self.is_cut:
            return fail(Refused())
        self.before(asked)
        self.asked.append(asked)
        if str(asked) in self.by_hand:
            return come(self.by_hand[str(asked)])
        return self._answer(asked).addCallback(self._answered, asked)

    def paths(self) -> list[str]:
        """The requests since the last call, in order."""
        paths = [str(asked) for asked in self.asked]
        self.asked.clear()
        return paths

    def flush(self) -> None:
        """Let what was sent arrive."""

    def _answer(self, asked: Asked) -> Deferred[Response]:
        raise NotImplementedError

    def _answered(self, response: Response, asked: Asked) -> Response:
        response.headers.setRawHeaders(b"date", [datetimeToString(self._clock.seconds())])
        self.after(asked)
        return response


class Line(Sender):
    """A connection to the stub of a server."""

    def __init__(self, stub: Stub, clock: WallClock) -> None:
        super().__init__(clock)
        self._treq = stub.connected()

    def flush(self) -> None:
        """Let what was sent arrive."""
        self._treq.flush()

    def _answer(self, asked: Asked) -> Deferred[Response]:
        answer: Deferred[Response] = self._treq.request(
            asked.method, asked.url, headers=asked.headers, data=asked.body, allow_redirects=False
        )
        self.flush()
        return answer


class InProcessLine(Sender):
    """A line to a whole server in this process, with a connection per request."""

    def __init__(self, server: InProcess, clock: WallClock) -> None:
        super().__init__(clock)
        self._server = server

    def _answer(self, asked: Asked) -> Deferred[Response]:
        size = len(asked.body or b"")
        headers = [(b"Host", [b"mneme.invalid:3847"]), (b"Content-Length", [b"%d" % size])]
        told = [
            b"%b: %b" % (name, value)
            for name, values in (*headers, *asked.headers.getAllRawHeaders())
            for value in values
        ]
        head = [f"{asked.method} {asked.path} HTTP/1.1".encode(), *told, b"", b""]
        try:
            connection = self._server.connect()
            connection.sendall(b"\r\n".join(head) + (asked.body or b""))
            with HTTPResponse(connection, method=asked.method) as response:  # type: ignore[arg-type]  # it asks no more of a socket
                response.begin()
                body = response.read()
            connection.close()
        except OSError as error:
            return fail(error)
        return succeed(answer(response.status, body, dict(response.getheaders())))


class Script:
    """Answers each request with the next answer or error of a script.

    None is no answer at all. The last part is the answer to all that is still asked.
    """

    def __init__(self, *parts: Scripted | Exception | None) -> None:
        self.asked: list[Asked] = []
        self.hanging: list[Deferred[Response]] = []
        self._parts = list(parts)

    def request(
        self, method: str, url: str, *, headers: Headers, data: BytesIO | None, allow_redirects: bool
    ) -> Deferred[Response]:
        """See `Http`."""
        self.asked.append(asked_of(method, url, headers, data, allow_redirects))
        part = self._parts.pop(0) if len(self._parts) > 1 else self._parts[0]
        if part is not None:
            return come(part)
        self.hanging.append(Deferred())
        return self.hanging[-1]

    def __len__(self) -> int:
        return len(self.asked)


def exchange_over(
    http: Http,
    clock: Clock,
    *,
    wall: WallClock | None = None,
    worker: Worker | None = None,
    url: str = URL,
    key: str | None = None,
    patience: Patience | None = None,
) -> Exchange:
    """An exchange with a server."""
    by = ImmediateWorker() if worker is None else worker
    return Exchange(clock, wall or clock, by, http, Address(url, key), patience or Patience())


def in_time(clock: Clock, awaitable: Deferred[T] | Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, however long it takes; its error is raised."""
    deferred = started(awaitable)
    while waits(deferred):
        to_the_next_timer(clock)
    return result_of(deferred)


def problem_in(clock: Clock, awaitable: Deferred[T] | Coroutine[Any, Any, T]) -> BaseException:
    """The error of a coroutine, however long it takes."""
    deferred = started(awaitable)
    while waits(deferred):
        to_the_next_timer(clock)
    return failure_of(deferred)


def times_of(clock: Clock, http: Script, awaitable: Coroutine[Any, Any, object]) -> Sequence[float]:
    """When each request was sent, in seconds after the first."""
    deferred = started(awaitable)
    times = [clock.seconds()] * len(http)
    while waits(deferred):
        to_the_next_timer(clock)
        times += [clock.seconds()] * (len(http) - len(times))
    deferred.addErrback(lambda _: None)
    return [one - times[0] for one in times]


def to_the_next_timer(clock: Clock) -> None:
    """Let time pass until the next timer."""
    calls = clock.getDelayedCalls()
    assert calls, "it waits, and not for time to pass"
    clock.advance(max(0.0, min(call.getTime() for call in calls) - clock.seconds()))
