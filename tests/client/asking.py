"""Substitutes for the network: a stub of the server, or canned answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.web.http import datetimeToString
from twisted.web.http_headers import Headers

from mneme.client import Address, Client, Exchange, Patience
from mneme.client.doctor import Connect
from mneme.client.exchange import Http, Response
from mneme.model import ClientId
from tests.client.lines import Asked, Scripted, answer, asked_of
from tests.immediate import ImmediateWorker
from tests.web.stub import Stub

T = TypeVar("T")


class Network:
    """An `Http` to a stub whose clock is `ahead` and whose answers take `seconds`."""

    def __init__(self, stub: Stub, *, ahead: float = 0.0, seconds: float = 0.0) -> None:
        self.clock = stub.clock
        self.asked: list[Asked] = []
        self._treq = stub.connected()
        self._ahead = ahead
        self._seconds = seconds
        # A date has whole seconds: in the middle of one it is right on average.
        self.clock.advance(0.5)

    def request(
        self, method: str, url: str, *, headers: Headers, data: BytesIO | None, allow_redirects: bool
    ) -> Deferred[Response]:
        """See `Http`."""
        asked = asked_of(method, url, headers, data, allow_redirects)
        self.asked.append(asked)
        self.clock.advance(self._seconds)
        sent = self._treq.request(method, url, headers=headers, data=asked.body, allow_redirects=False)
        self._treq.flush()
        return cast("Deferred[Response]", sent.addCallback(self._stamped))

    def flush(self) -> None:
        """Carry what was sent, both ways."""
        self._treq.flush()

    def _stamped(self, response: Response) -> Response:
        # Twisted stamps its answers by the real clock.
        response.headers.setRawHeaders("date", [datetimeToString(self.clock.seconds() + self._ahead)])
        return response


def canned(code: int, document: object) -> Scripted:
    """An answer that is JSON."""
    return answer(code, json.dumps(document).encode())


class Canning:
    """An `Http` with canned answers by path; others are the Node server's 404."""

    def __init__(self, answers: Mapping[str, Scripted | Exception]) -> None:
        self.asked: list[Asked] = []
        self._answers = answers

    def request(
        self, method: str, url: str, *, headers: Headers, data: BytesIO | None, allow_redirects: bool
    ) -> Deferred[Response]:
        """See `Http`."""
        asked = asked_of(method, url, headers, data, allow_redirects)
        self.asked.append(asked)
        found = self._answers.get(asked.path, canned(404, {"error": "Not found"}))
        return fail(found) if isinstance(found, Exception) else succeed(found)

    def flush(self) -> None:
        """There is nothing to carry."""


def connecting(http: Network | Canning, clock: Clock) -> Connect:
    """A substitute for `connected` over this `Http`."""

    @asynccontextmanager
    async def connect(address: Address, machine: ClientId, patience: Patience) -> AsyncIterator[Client]:
        exchange = Exchange(clock, clock, ImmediateWorker(), cast(Http, http), address, patience)
        yield Client(exchange, machine)

    return connect


def come_to(coroutine: Coroutine[Any, Any, T], http: Network | Canning) -> T:
    """The result of a coroutine while its requests are delivered."""
    results: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    for _ in range(100):
        if results:
            break
        http.flush()
    assert results, "there is no result"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return cast(T, results[0])
