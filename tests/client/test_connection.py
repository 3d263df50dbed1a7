"""Connections are kept open by a client, and closed with it."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.client import HTTPConnectionPool

from mneme.client.connection import connected
from mneme.client.exchange import Address, Patience
from mneme.model import ClientId
from tests.client.lines import URL
from tests.immediate import ImmediateWorker
from tests.results import failure_of, result_of, started, waits

LAPTOP = ClientId("laptop-0a1b2c3d")


def test_a_client_asks_for_nothing_by_itself() -> None:
    """The client has its id and address, and leaves no connection open."""
    clock = Clock()

    async def use() -> str:
        async with connected(clock, clock, ImmediateWorker(), Address(URL), LAPTOP, Patience()) as client:
            assert client.client == LAPTOP
            return client.url

    assert result_of(use()) == URL
    assert not clock.getDelayedCalls()


def test_connections_are_closed_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first error is raised; a connection that never closes is not waited for."""
    clock, closing = Clock(), list[Deferred[None]]()

    def close(_pool: HTTPConnectionPool) -> Deferred[None]:
        closing.append(Deferred())
        return closing[-1]

    monkeypatch.setattr(HTTPConnectionPool, "closeCachedConnections", close)

    async def fail() -> None:
        async with connected(clock, clock, ImmediateWorker(), Address(URL), LAPTOP, Patience()):
            raise LookupError

    failing = started(fail())
    assert len(closing) == 1
    assert waits(failing)
    clock.advance(2)
    assert isinstance(failure_of(failing), LookupError)
