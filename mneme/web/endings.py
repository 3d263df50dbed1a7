"""Ends of connections over TLS, as TCP tells them.

Many clients close a connection without the closing words of TLS, Node among them. Twisted reports such an end like a
reset, which tells nothing of whether the client has taken what it was sent.
"""

from typing import cast

from twisted.internet import tcp
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure


class TcpEnd(Protocol):
    """A protocol between TCP and TLS, which notes how the connection ends."""

    def __init__(self, tls: ProtocolWrapper) -> None:
        self.reason: Failure | None = None
        self._tls = tls

    @classmethod
    def noted_below(cls, transport: object) -> "TcpEnd | None":
        """The end that is noted below a transport; None where that is no TLS."""
        below = cast(object, transport.transport) if isinstance(transport, ProtocolWrapper) else None
        if not isinstance(transport, ProtocolWrapper) or not isinstance(below, tcp.Connection):
            return None
        end = cls(transport)
        below.protocol = end
        return end

    def dataReceived(self, data: bytes) -> None:
        """Bytes are here, for TLS."""
        self._tls.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self.reason = reason
        cast(Protocol, self._tls).connectionLost(reason)
