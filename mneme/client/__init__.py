"""The client of the server, for Twisted code: the calls, the memory on this machine, and how it is kept in step.

`Client` has a method for each call of the API. `connect` makes one over treq.
"""

from mneme.client.calls import Client, Download, Outdated, Unmodified
from mneme.client.errors import (
    ClientError,
    KeyRefused,
    Refused,
    ServerTrouble,
    StrangeAnswer,
    Unreachable,
)
from mneme.client.exchange import Address, Exchange, Patience

__all__ = [
    "Address",
    "Client",
    "ClientError",
    "Download",
    "Exchange",
    "KeyRefused",
    "Outdated",
    "Patience",
    "Refused",
    "ServerTrouble",
    "StrangeAnswer",
    "Unmodified",
    "Unreachable",
]
