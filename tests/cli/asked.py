"""Requests of the command to a stub of the server, on a fake clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mneme.cli.asking import VISITOR
from mneme.client.calls import Client
from mneme.model import BRIEFINGS, ProjectId
from tests.client.lines import Ahead, Line, canned, exchange_over
from tests.web.stub import Stub

T = TypeVar("T")

DEMO = ProjectId("demo")


class Asked:
    """A client of a stub; `meanwhile` maps requests to functions called once before them."""

    def __init__(self, stub: Stub) -> None:
        self.stub = stub
        self.meanwhile: dict[str, Callable[[], object]] = {}
        self._line = Line(stub)
        self._line.before = lambda request: self.meanwhile.pop(str(request), lambda: None)()
        exchange = exchange_over(self._line, Ahead(stub.clock), url="http://homeserver:3847")
        self.client = Client(exchange, VISITOR)

    @property
    def requests(self) -> list[str]:
        """The requests that were sent."""
        return list(map(str, self._line.asked))

    @property
    def named(self) -> set[str]:
        """The clients in whose name they were sent, apart from lists and briefings."""
        return {
            name
            for request in self._line.asked
            if not request.path.endswith("/files") and not any(one.value in request.path for one in BRIEFINGS)
            if (name := request.header("X-Client-Id"))
        }

    def answer_by_hand(self, request: str, status: int, body: object, **headers: str) -> None:
        """Answer a request, such as `GET /status`, with this from now on."""
        self._line.by_hand[request] = canned(status, body, headers)

    def ask(self, server: str | None, key: str | None, question: Callable[[Client], T]) -> T:
        """See `mneme.cli.asking.ask`."""
        return question(self.client)
