"""Connections for tests: to a server in this process, or with scripted answers."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPResponse
from typing import Protocol

from attrs import define, frozen
from twisted.internet.task import Clock
from twisted.web.http import datetimeToString

from mneme.client.exchange import Exchange, Patience
from mneme.client.http import Address, Response
from mneme.clocks import SleepingClock, WallClock
from tests.in_process import InProcess
from tests.web.stub import Stub

URL = "http://stub.invalid"


class Killed(BaseException):
    """The end of a killed process; no Exception, so that nothing handles it."""


class FakeTime(WallClock, Protocol):
    """A clock that a test moves, such as Twisted's."""

    def advance(self, amount: float) -> object:
        """Let time pass."""
        ...


@define
class Ahead:
    """A clock some seconds ahead of another; a sleep lets time pass at once."""

    clock: FakeTime
    seconds_ahead: float = 0.0

    def seconds(self) -> float:
        """See `WallClock`."""
        return self.clock.seconds() + self.seconds_ahead

    def sleep(self, seconds: float) -> None:
        """See `SleepingClock`."""
        self.clock.advance(seconds)


@frozen
class Asked:
    """A request as it was sent, with the seconds that its answer may take."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None
    seconds: float

    def header(self, name: str) -> str | None:
        """The value of a header."""
        return self.headers.get(name)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def answer(code: int = 200, body: bytes = b"{}", headers: Mapping[str, str] | None = None) -> Response:
    """An answer with these headers."""
    return Response(code, {name.lower(): value for name, value in (headers or {}).items()}, body)


def canned(code: int, document: object, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that is JSON."""
    return answer(code, json.dumps(document).encode(), headers)


def come(part: Response | Exception) -> Response:
    """An answer, or an error, which is raised."""
    if isinstance(part, Exception):
        raise part
    return part


class Sender:
    """An `Http` that notes each request, and that is cut before or after one.

    `asked` has every request that was sent. `before` is called with each before it is sent, `after` once the server has
    answered it; what they raise is what becomes of it. `by_hand` has answers that the server does not give.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.is_cut = False
        self.before: Callable[[Asked], object] = lambda asked: None
        self.after: Callable[[Asked], object] = lambda asked: None
        self.by_hand: dict[str, Response | Exception] = {}

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, seconds: float
    ) -> Response:
        """See `Http`."""
        asked = Asked(method, path, headers, body, seconds)
        if self.is_cut:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        self.before(asked)
        self.asked.append(asked)
        if str(asked) in self.by_hand:
            return come(self.by_hand[str(asked)])
        response = self._answer(asked)
        self.after(asked)
        return response

    def lines(self, path: str, headers: Mapping[str, str], seconds: float) -> Iterator[bytes]:
        """See `Http`."""
        raise NotImplementedError

    def close(self) -> None:
        """See `Http`."""

    def paths(self) -> list[str]:
        """The requests since the last call, in order."""
        paths = [str(asked) for asked in self.asked]
        self.asked.clear()
        return paths

    def _answer(self, asked: Asked) -> Response:
        raise NotImplementedError


class Line(Sender):
    """A connection to the stub of a server, which tells the time of `clock`."""

    def __init__(self, stub: Stub, clock: WallClock | None = None) -> None:
        super().__init__()
        self._stub = stub
        self._clock = clock or stub.clock

    def _answer(self, asked: Asked) -> Response:
        reply = self._stub.answer(asked.method, asked.path, asked.headers, asked.body)
        headers = {name.decode(): values[-1].decode() for name, values in reply.headers.getAllRawHeaders()}
        return answer(reply.status, reply.body, headers | _date(self._clock))


class InProcessLine(Sender):
    """A line to a whole server in this process, with a connection per request."""

    def __init__(self, server: InProcess, clock: WallClock) -> None:
        super().__init__()
        self._server = server
        self._clock = clock

    def _answer(self, asked: Asked) -> Response:
        size = len(asked.body or b"")
        headers = {"Host": "mneme.invalid:3847", **asked.headers, "Content-Length": f"{size}"}
        told = [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([f"{asked} HTTP/1.1", *told, "", ""])
        connection = self._server.connect()
        connection.sendall(head.encode() + (asked.body or b""))
        with HTTPResponse(connection, method=asked.method) as response:  # type: ignore[arg-type]  # it asks no more of a socket
            response.begin()
            body = response.read()
        connection.close()
        return answer(response.status, body, dict(response.getheaders()) | _date(self._clock))


class Script(Sender):
    """The next answer or error of a script to each request; the last again."""

    def __init__(self, *parts: Response | Exception) -> None:
        super().__init__()
        self._parts = list(parts)

    def _answer(self, asked: Asked) -> Response:
        return come(self._parts.pop(0) if len(self._parts) > 1 else self._parts[0])

    def __len__(self) -> int:
        return len(self.asked)


def exchange_over(
    http: Sender,
    wall: SleepingClock | None = None,
    *,
    url: str = URL,
    key: str | None = None,
    patience: Patience | None = None,
) -> Exchange:
    """An exchange with a server."""
    return Exchange(http, wall or Ahead(Clock()), Address(url, key), patience or Patience())


def _date(clock: WallClock) -> dict[str, str]:
    return {"date": datetimeToString(clock.seconds()).decode()}
