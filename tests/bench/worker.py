"""One process of the Python generator, `... -m tests.bench.worker`: two lines on stdin say what it does, and when."""

from __future__ import annotations

import re
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus

import msgspec
from attrs import frozen

from tests.bench.loads import TIMEOUT, Lap, Load, Request
from tests.bench.sessions import Pieces, change, client_name, project_name

READY = b"ready\n"
GO = b"go\n"

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSING = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_BLOCK = 256 * 1024


class BadAnswer(Exception):
    """The answer is no HTTP, or has no end."""


@frozen
class Job:
    """The machines, by number, whose part of a load this process plays."""

    load: Load
    machines: tuple[int, ...]


@frozen
class Laps:
    """What they have lived through."""

    laps: tuple[Lap, ...]


class Line:
    """A connection to the server, which is made when it is first needed, and again after it broke."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._block = bytearray(_BLOCK)

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request: the status and the body of its answer. `OSError` or `BadAnswer` if there is none."""
        try:
            if self._socket is None:
                self._socket = self._connected()
            self._socket.sendall(request)
            return self._answer(self._socket)
        except (OSError, BadAnswer):
            self.close()
            raise

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        made = socket.create_connection(self._address, TIMEOUT)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _answer(self, connection: socket.socket) -> tuple[int, bytes]:
        received = bytearray()
        while (end := received.find(b"\r\n\r\n")) < 0:
            self._receive(connection, received)
        head, at = bytes(received[: end + 2]), end + 4
        if not head.startswith(b"HTTP/1."):
            raise BadAnswer(head[:40])
        found = _LENGTH.search(head)
        if found:
            while len(received) < at + int(found[1]):
                self._receive(connection, received)
        elif _CHUNKED.search(head):
            while not received.endswith(b"0\r\n\r\n"):
                self._receive(connection, received)
        else:
            raise BadAnswer("an answer without a length")
        if _CLOSING.search(head):
            self.close()
        return int(head[9:12]), bytes(received[at:])

    def _receive(self, connection: socket.socket, received: bytearray) -> None:
        count = connection.recv_into(self._block)
        if not count:
            raise BadAnswer("the server has closed the connection")
        received += memoryview(self._block)[:count]


class Machine:
    """One machine, which goes through the requests of the load until it is over."""

    def __init__(self, load: Load, number: int) -> None:
        self._load = load
        self._number = number
        self._steps = [(request, Pieces(request.template)) for request in load.requests]
        self._line = Line(load.address)
        self._requests: list[float] = []
        self._sessions: list[float] = []
        self._failed = 0
        self._ended = 0.0

    def run(self) -> Lap:
        """All that it does."""
        began = self._ended = time.monotonic()
        count = 0
        while not self._is_over(began, count):
            self._session(began, count)
            count += 1
        self._line.close()
        return Lap(began, self._ended, self._requests, self._sessions, self._failed)

    def _is_over(self, began: float, count: int) -> bool:
        if self._load.sessions:
            return count >= self._load.sessions
        return time.monotonic() >= began + self._load.seconds

    def _session(self, began: float, count: int) -> None:
        project = project_name(self._number * self._load.projects + count % self._load.projects)
        client, changed = client_name(self._number), change(time.time_ns(), self._number)
        start = time.monotonic()
        for request, pieces in self._steps:
            sent = pieces.filled(project, client, changed)
            before = time.monotonic()
            # Cut short in the middle: whoever comes to the end of the time would else run on with fewer beside it.
            if not self._load.sessions and self._requests and before >= began + self._load.seconds:
                return
            self._ask(request, sent)
            self._ended = time.monotonic()
            self._requests.append(self._ended - before)
        self._sessions.append(self._ended - start)

    def _ask(self, request: Request, sent: bytes) -> None:
        try:
            status, body = self._line.ask(sent)
        except (OSError, BadAnswer):
            self._failed += 1
            return
        if status != HTTPStatus.OK or len(body) < request.least or request.token not in body:
            self._failed += 1


def main() -> None:
    """Play the part that the first line tells, once the second line comes."""
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    machines = [Machine(job.load, number) for number in job.machines]
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    if sys.stdin.buffer.readline() != GO:
        return
    with ThreadPoolExecutor(len(machines)) as pool:
        laps = Laps(tuple(pool.map(Machine.run, machines)))
    with suppress(BrokenPipeError):
        sys.stdout.buffer.write(msgspec.json.encode(laps))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
