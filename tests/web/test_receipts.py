"""Bytes of answers between this process, the system and the other end."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from attrs import define
from twisted.internet import tcp
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor

from mneme.web.receipts import Delivery, bytes_under_way

ANSWER = bytes(range(250)) * 100_000
"""More than the buffers of the system take."""


@define
class Line:
    """A transport of Twisted over a real socket, whose reactor is the test."""

    reactor: MemoryReactor
    transport: tcp.Server
    other_end: socket.socket
    delivery: Delivery

    def send(self, data: bytes) -> None:
        """Send as a channel does."""
        self.transport.write(self.delivery.send(data))

    def read(self) -> bytes:
        """Read at the other end what has been sent."""
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(self.other_end.recv(1 << 20))
        return b"".join(found)

    def read_all(self, length: int) -> bytes:
        """Read so many bytes at the other end, while the reactor turns."""
        found = b""
        while len(found) < length:
            found += self.read()
            if self.transport in self.reactor.getWriters():
                self.transport.doWrite()
        return found


@pytest.fixture
def line() -> Iterator[Line]:
    """A connection on which nothing has been sent."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        other_end = socket.create_connection(listening.getsockname())
        here, address = listening.accept()
    here.setblocking(False)
    other_end.setblocking(False)
    reactor = MemoryReactor()
    transport = tcp.Server(here, Protocol(), address, tcp.Port(0, Factory()), 0, reactor)
    delivery = Delivery(Clock(), transport, lambda: False, transport.abortConnection)
    yield Line(reactor, transport, other_end, delivery)
    here.close()
    other_end.close()


def test_answers_stay_in_order_whenever_the_other_end_reads(line: Line) -> None:
    """Room in the system is for what has waited longest."""
    line.send(ANSWER)
    found = line.read()
    line.send(b"the next")
    assert found + line.read_all(len(ANSWER) + 8 - len(found)) == ANSWER + b"the next"


def test_an_answer_has_not_arrived_while_bytes_of_it_wait_in_this_process(line: Line) -> None:
    """Though the other end has acknowledged all that it was sent."""
    line.send(ANSWER)
    found = line.read()
    while bytes_under_way(line.transport.fileno()):
        found += line.read()
    assert not line.delivery.has_arrived()
    line.read_all(len(ANSWER) - len(found))
    assert line.delivery.has_arrived()


def test_a_look_at_a_connection_that_is_being_closed_does_not_keep_it_from_closing(line: Line) -> None:
    """Its end is the reactor's to see."""
    line.send(ANSWER)
    line.transport.loseConnection()
    for _ in range(1000):
        line.read()
        line.delivery.bytes_left()
    assert line.transport in line.reactor.getWriters()
