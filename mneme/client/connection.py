"""A client over the network, and the connections that it keeps open."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import cast

from treq.client import HTTPClient
from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool

from mneme.client.authorities import MoreAuthorities
from mneme.client.calls import Client
from mneme.client.exchange import Address, Exchange, Http, Patience
from mneme.clocks import WallClock
from mneme.model import ClientId
from mneme.work import Worker

_CLOSE_SECONDS = 2.0


@asynccontextmanager
async def connected(
    reactor: IReactorTime,
    wall: WallClock,
    worker: Worker,
    address: Address,
    client: ClientId,
    patience: Patience,
) -> AsyncIterator[Client]:
    """A client of the server at `address`, whose connections are closed at the end."""
    pool = HTTPConnectionPool(reactor)
    # Exchange does the retries.
    pool.retryAutomatically = False
    policy = MoreAuthorities(address.authorities) if address.authorities else BrowserLikePolicyForHTTPS()
    http = HTTPClient(Agent(reactor, policy, connectTimeout=patience.timeout, pool=pool))
    try:
        yield Client(Exchange(reactor, wall, worker, cast(Http, http), address, patience), client)
    finally:
        # On a broken network the pool may never report that a connection is closed.
        with suppress(defer.TimeoutError):
            await pool.closeCachedConnections().addTimeout(_CLOSE_SECONDS, reactor)
