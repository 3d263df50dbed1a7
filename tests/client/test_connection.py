"""Connections that are kept open: by a client for as long as it is needed, and closed with it."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from mneme.client.connection import connected
from mneme.client.exchange import Address, Patience
from mneme.model import ClientId
from mneme.work import ImmediateWorker
from tests.client.lines import URL
from tests.results import result_of

LAPTOP = ClientId("laptop-0a1b2c3d")


def test_a_client_asks_for_nothing_by_itself() -> None:
    """Whoever makes one is who it says, and where; nothing is left when it is no more needed."""
    clock = Clock()

    async def use() -> str:
        async with connected(clock, clock, ImmediateWorker(), Address(URL), LAPTOP, Patience()) as client:
            assert client.client == LAPTOP
            return client.url

    assert result_of(use()) == URL
    assert not clock.getDelayedCalls()


def test_connections_are_closed_whatever_happens() -> None:
    """What went wrong is what is told."""
    clock = Clock()

    async def fail() -> None:
        async with connected(clock, clock, ImmediateWorker(), Address(URL), LAPTOP, Patience()):
            raise LookupError

    with pytest.raises(LookupError):
        result_of(fail())
