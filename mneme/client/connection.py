"""A client over the network, and the connection that it keeps open."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

from mneme import clocks
from mneme.client.calls import Client
from mneme.client.exchange import Exchange, Patience
from mneme.client.http import Address, Connection
from mneme.clocks import TimeOfDay
from mneme.model import ClientId


@contextmanager
def connected(
    address: Address, client: ClientId, patience: Patience, within: float = inf
) -> Iterator[Client]:
    """A client of the server at `address`, whose connection is closed at the end.

    All requests together end `within` some seconds.
    """
    connection = Connection(address, clocks.monotonic, within)
    try:
        yield Client(Exchange(connection, TimeOfDay(), address, patience), client)
    finally:
        connection.close()
