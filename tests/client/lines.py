"""Connections for tests: to a server in this process, or with scripted answers.

Both are an `Http`. Nothing in either is real but the bytes of requests and answers.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from http.client import HTTPResponse
from io import BytesIO
from typing import Any, TypeVar
from urllib.parse import urlsplit

from attrs import field, frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.http import datetimeToString
from twisted.web.http_headers import Headers

from mneme.client.exchange import Address, Exchange, Http, Patience, Response
from mneme.clocks import WallClock
from mneme.work import Worker
from tests.immediate import ImmediateWorker
from tests.in_process import InProcess
from tests.results import result_of, started, waits
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


class Line:
    """A connection to a server in this process, cut before or after a request.

    `asked` has every request that was sent. `before` is called with each before it is sent, `after` once the server has
    answered it; what they raise is what becomes of it. The date of an answer is that of the server's `clock`.
    """

    def __init__(self, stub: Stub, clock: WallClock) -> None:
        self._clock = clock
        self.asked: list[Asked] = []
        self.is_cut = False
        self.before: Callable[[Asked], object] = lambda asked: None
        self.after: Callable[[Asked], object] = lambda asked: None
        self._treq = stub.connected()

    def request(
        self, method: str, url: str, *, headers: Headers, data: BytesIO | None, allow_redirects: bool
    ) -> Deferred[Response]:
        """See `Http`."""
        asked = asked_of(method, url, headers, data, allow_redirects)
        if self.is_cut:
            return fail(Refused())
        self.before(asked)
        self.asked.append(asked)
        answer: Deferred[Response] = self._treq.request(
            method, url, headers=headers, data=asked.body, allow_redirects=False
        )
        self.flush()
        return answer.addCallback(self._answered, asked)

    def flush(self) -> None:
        """Let what was sent arrive."""
        self._treq.flush()

    def paths(self) -> list[str]:
        """The requests since the last call, in order."""
        paths = [str(asked) for asked in self.asked]
        self.asked.clear()
        return paths

    def _answered(self, response: Response, asked: Asked) -> Response:
        response.headers.setRawHeaders(b"date", [datetimeToString(self._clock.seconds())])
        self.after(asked)
        return response


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
        if isinstance(part, Exception):
            return fail(part)
        if part is not None:
            return succeed(part)
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
    key: str | None = None,
    patience: Patience | None = None,
) -> Exchange:
    """An exchange with a server at `URL`."""
    address = Address(URL, key)
    by = ImmediateWorker() if worker is None else worker
    return Exchange(clock, wall or clock, by, http, address, patience or Patience())


def in_time(clock: Clock, awaitable: Deferred[T] | Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, however long it takes; its error is raised."""
    deferred = started(awaitable)
    while waits(deferred):
        calls = clock.getDelayedCalls()
        assert calls, "it waits, and not for time to pass"
        clock.advance(max(0.0, min(call.getTime() for call in calls) - clock.seconds()))
    return result_of(deferred)


def problem_in(clock: Clock, awaitable: Deferred[T] | Coroutine[Any, Any, T]) -> BaseException:
    """The error of a coroutine, however long it takes."""
    errors: list[Failure] = []
    in_time(clock, started(awaitable).addErrback(errors.append))
    assert errors, "it has not failed"
    assert isinstance(errors[0].value, BaseException)
    return errors[0].value


def times_of(clock: Clock, http: Script, awaitable: Coroutine[Any, Any, object]) -> Sequence[float]:
    """When each request was sent, in seconds after the first."""
    deferred = started(awaitable)
    times = [clock.seconds()] * len(http)
    while waits(deferred):
        clock.advance(max(0.0, min(call.getTime() for call in clock.getDelayedCalls()) - clock.seconds()))
        times += [clock.seconds()] * (len(http) - len(times))
    deferred.addErrback(lambda _: None)
    return [one - times[0] for one in times]


class InProcessLine:
    """A `Line` to a whole server in this process, with a connection per request."""

    def __init__(self, server: InProcess) -> None:
        self.asked: list[Asked] = []
        self.before: Callable[[Asked], object] = lambda asked: None
        self.after: Callable[[Asked], object] = lambda asked: None
        self._server = server

    def request(
        self, method: str, url: str, *, headers: Headers, data: BytesIO | None, allow_redirects: bool
    ) -> Deferred[Response]:
        """See `Http`."""
        asked = asked_of(method, url, headers, data, allow_redirects)
        self.before(asked)
        self.asked.append(asked)
        try:
            reply = self._answer(asked)
        except OSError as error:
            return fail(error)
        self.after(asked)
        return succeed(reply)

    def _answer(self, asked: Asked) -> Response:
        size = len(asked.body or b"")
        headers = [(b"Host", [b"mneme.invalid:3847"]), (b"Content-Length", [b"%d" % size])]
        told = [
            b"%b: %b" % (name, value)
            for name, values in (*headers, *asked.headers.getAllRawHeaders())
            for value in values
        ]
        path = asked.url.removeprefix(self._server.url)
        head = [f"{asked.method} {path} HTTP/1.1".encode(), *told, b"", b""]
        connection = self._server.connect()
        connection.sendall(b"\r\n".join(head) + (asked.body or b""))
        with HTTPResponse(connection, method=asked.method) as response:  # type: ignore[arg-type]  # it asks no more of a socket
            response.begin()
            body = response.read()
        connection.close()
        got = Headers({name: [value] for name, value in response.getheaders()})
        got.setRawHeaders(b"date", [datetimeToString(self._server.now())])
        return Scripted(response.status, body, got)
