"""Requests of the command to a stub of the server, on a fake clock."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec

from mneme.cli.asking import VISITOR
from mneme.client import Client
from mneme.model import ProjectId
from tests.client.lines import Line, answer, exchange_over
from tests.results import result_of
from tests.web.stub import Stub

T = TypeVar("T")

DEMO = ProjectId("demo")


class Asked:
    """A client of a stub; `meanwhile` maps requests to functions called once before them."""

    def __init__(self, stub: Stub) -> None:
        self.stub = stub
        self.meanwhile: dict[str, Callable[[], object]] = {}
        self._line = Line(stub, stub.clock)
        self._line.before = lambda request: self.meanwhile.pop(str(request), lambda: None)()
        self.client = Client(exchange_over(self._line, stub.clock, url="http://homeserver:3847"), VISITOR)

    @property
    def requests(self) -> list[str]:
        """The requests that were sent."""
        return list(map(str, self._line.asked))

    @property
    def named(self) -> set[str]:
        """The clients in whose name they were sent."""
        return {name for request in self._line.asked if (name := request.header("X-Client-Id"))}

    def answer_by_hand(self, request: str, status: int, body: object, **headers: str) -> None:
        """Answer a request, such as `GET /status`, with this from now on."""
        self._line.by_hand[request] = answer(status, msgspec.json.encode(body), headers)

    def ask(
        self,
        server: str | None,
        key: str | None,
        question: Callable[[Client], Coroutine[Any, Any, T]],
        *,
        patiently: bool = False,
    ) -> T:
        """See `mneme.cli.asking.ask`."""
        return result_of(question(self.client))

    def run(self, question: Coroutine[Any, Any, T]) -> T:
        """The result of a question; its error is raised."""
        return result_of(question)
