"""Connections to a stub's site at the level of bytes, without sockets."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from mneme.web.connection import Channel
from mneme.web.receipts import bytes_under_way
from mneme.web.site import Site
from mneme.work import Worker
from tests.kept import DiskStore, MemoryStore
from tests.stepped import SteppedSteps
from tests.web.stub import Stub

LIMIT = 1000
"""How many bytes a body may have here."""


class Transport(StringTransport):
    """A transport that can be closed by half."""

    half_closed = False
    aborted = False
    full = False
    """Whether it asks to be sent no more, whatever it is sent."""

    def write(self, data: bytes) -> None:
        """See `ITransport`."""
        super().write(data)
        if self.full and self.producer:
            self.producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """See `ITransport`."""
        self.write(b"".join(data))

    def abortConnection(self) -> None:
        """See `ITCPTransport`."""
        self.aborted = True

    def loseWriteConnection(self) -> None:
        """See `ITCPTransport`."""
        self.half_closed = True


PEER = IPv4Address("TCP", "192.0.2.7", 50000)
"""The address of every client."""


class Choked(Transport, AbstractContextManager["Choked"]):
    """A transport with a real socket, whose bytes stay under way until somebody reads them."""

    def __init__(self) -> None:
        super().__init__(peerAddress=PEER)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self.other_end = socket.create_connection(listening.getsockname())
            self._socket, _ = listening.accept()
        # Both ends have the buffers of the system, which are full at some point.
        self._socket.setblocking(False)
        self.sent = 0
        with suppress(BlockingIOError):
            while True:
                self.sent += self._socket.send(bytes(65_536))

    def fileno(self) -> int:
        """The descriptor of the server's end."""
        return self._socket.fileno()

    def read_all(self) -> None:
        """Read at the other end all that was sent."""
        while self.sent:
            self.sent -= len(self.other_end.recv(1 << 20))
        while bytes_under_way(self.fileno()):
            time.sleep(0.001)

    def __exit__(self, *exception: object) -> None:
        self._socket.close()
        self.other_end.close()


class Connection:
    """A client's end of a connection."""

    def __init__(self, site: Site, transport: Transport | None = None) -> None:
        built = site.buildProtocol(PEER)
        assert isinstance(built, Channel)
        self.channel: Channel = built
        self.transport = transport or Transport(peerAddress=PEER)
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """Let the server receive bytes."""
        self.channel.dataReceived(data)

    def ask(self, method: str, target: str, *headers: str, version: str = "HTTP/1.1") -> None:
        """Send a request with exactly these headers."""
        self.send("\r\n".join([f"{method} {target} {version}", *headers, "", ""]).encode())

    def get(self, target: str, *headers: str) -> None:
        """Ask for something with exactly these headers."""
        self.ask("GET", target, *headers)

    def go_on(self) -> None:
        """Send another request, as a client that has taken its answer."""
        self.get("/health", "Host: x")

    def hang_up(self) -> None:
        """Close the connection from the client's end."""
        self.channel.connectionLost(Failure(ConnectionDone()))

    def break_off(self) -> None:
        """End the connection out of order, as a process that is killed."""
        self.channel.connectionLost(Failure(ConnectionLost()))

    @property
    def statuses(self) -> list[int]:
        """The status of each answer so far."""
        return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d+) ", self.transport.value())]

    @property
    def answers(self) -> bytes:
        """All answers, without times, tokens and names of faults."""
        varies = rb"Date: [^\r]*|look for \w+|\d{4}-\d\d-\d\dT[\d:.]+Z|\"token\":\"[^\"]*\""
        return re.sub(varies, b"", self.transport.value())

    def ends_like(self, other: Connection) -> bool:
        """Whether another connection had the same answers, and is closed as far."""
        mine, theirs = self.transport, other.transport
        return (self.answers, mine.half_closed, mine.disconnecting) == (
            other.answers,
            theirs.half_closed,
            theirs.disconnecting,
        )

    @property
    def json(self) -> Any:
        """The body of the last answer, which must be JSON with the right length."""
        head, _, body = self.transport.value().rpartition(b"\r\n\r\n")
        assert b"content-type: application/json" in head.lower()
        assert b"content-length: %d" % len(body) in head.lower()
        return json.loads(body)

    @property
    def error(self) -> str:
        """The sentence of the last answer, which must be the contract's."""
        error = self.json["error"]
        assert isinstance(error, str)
        return error


class Server:
    """A site on a stub, whose limit for bodies is small."""

    def __init__(
        self,
        keys: tuple[str, ...] = (),
        worker: Worker | None = None,
        store: MemoryStore | DiskStore | None = None,
        helps_stock_push: bool = True,
        steps: SteppedSteps | None = None,
    ) -> None:
        self.stub = Stub(
            keys=keys,
            worker=worker,
            store=store,
            helps_stock_push=helps_stock_push,
            steps=steps,
            max_body_bytes=LIMIT,
        )
        # Two servers then give the same answers.
        self.stub.sync.server_id = "0123456789abcdef"
        self.site = self.stub.site
        self.clock = self.stub.clock

    def connect(self, transport: Transport | None = None) -> Connection:
        """Open a connection."""
        return Connection(self.site, transport)
