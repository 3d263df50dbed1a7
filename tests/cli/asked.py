"""Requests of the command to a stub of the server, on a fake clock."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from io import BytesIO
from typing import Any, TypeVar

import msgspec
from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from mneme.cli.asking import VISITOR
from mneme.client import Address, Client, Exchange, Patience
from mneme.model import ProjectId
from tests.immediate import ImmediateWorker
from tests.web.stub import Stub

T = TypeVar("T")

DEMO = ProjectId("demo")


@frozen
class Answer:
    """An answer that is made by hand."""

    code: int
    body: bytes
    headers: Headers

    def content(self) -> Deferred[bytes]:
        """The body."""
        return succeed(self.body)


class Asked:
    """A client of a stub; `meanwhile` maps requests to functions called once before them."""

    def __init__(self, stub: Stub) -> None:
        self.stub = stub
        self.requests: list[str] = []
        self.named: set[str] = set()
        self.meanwhile: dict[str, Callable[[], object]] = {}
        self._by_hand: dict[str, Answer] = {}
        patience = Patience(retries=0)
        exchange = Exchange(
            stub.clock, stub.clock, ImmediateWorker(), self, Address("http://homeserver:3847"), patience
        )
        self.client = Client(exchange, VISITOR)

    def answer_by_hand(self, request: str, status: int, body: object, **headers: str) -> None:
        """Answer a request, such as `GET /status`, with this from now on."""
        lines = Headers({name: [value] for name, value in headers.items()})
        self._by_hand[request] = Answer(status, msgspec.json.encode(body), lines)

    def ask(
        self,
        server: str | None,
        key: str | None,
        question: Callable[[Client], Coroutine[Any, Any, T]],
        *,
        patiently: bool = False,
    ) -> T:
        """See `mneme.cli.asking.ask`."""
        return self.run(question(self.client))

    def run(self, question: Coroutine[Any, Any, T]) -> T:
        """The result of a question; its error is raised."""
        results: list[T | Failure] = []
        Deferred.fromCoroutine(question).addBoth(results.append)
        while not results:
            self.stub._treq.flush()
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def request(
        self, method: str, url: str, *, headers: Headers, data: BytesIO | None, allow_redirects: bool
    ) -> Deferred[Any]:
        """See `mneme.client.exchange.Http`."""
        request = f"{method} {url.removeprefix('http://homeserver:3847')}"
        self.requests.append(request)
        self.named.update(headers.getRawHeaders("x-client-id", []))
        self.meanwhile.pop(request, lambda: None)()
        if request in self._by_hand:
            return succeed(self._by_hand[request])
        asked: Deferred[Any] = self.stub._treq.request(
            method,
            url,
            headers=headers,
            data=data.read() if data else None,
            allow_redirects=allow_redirects,
        )
        return asked
