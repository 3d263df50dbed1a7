"""Generator of load: processes in which each machine is a thread with a socket."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from typing import Protocol

from tests.bench.loads import TIMEOUT, Lap, Load, Outcome, Request
from tests.bench.processes import NotMeasured
from tests.bench.sessions import change, client_name, cut, filled, project_name

GRACE = 60.0
"""Seconds that a load may take longer than it should."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_BLOCK = 256 * 1024


class BadAnswer(Exception):
    """An answer that is no HTTP, or has no end."""


class Generator(Protocol):
    """Maker of loads."""

    def __call__(self, load: Load) -> Outcome:
        """Make the load, and wait for its end. `NotMeasured` if it does not come."""


@contextmanager
def generating() -> Iterator[Generator]:
    """A generator with as many processes as there are processors, two at least."""
    count = max(2, os.cpu_count() or 1)
    ignoring = (signal.SIGINT, signal.SIG_IGN)
    with multiprocessing.get_context("spawn").Pool(count, signal.signal, ignoring) as pool:

        def generate(load: Load) -> Outcome:
            shares = [
                (load, range(first, load.machines, count)) for first in range(min(count, load.machines))
            ]
            within = load.seconds + TIMEOUT * len(load.requests) * max(1, load.sessions) + GRACE
            try:
                laps = pool.starmap_async(_run, shares, chunksize=1).get(within)
            except multiprocessing.TimeoutError as error:
                raise NotMeasured(f"The load did not end within {within:g} s") from error
            return Outcome(len(load.requests), tuple(lap for share in laps for lap in share))

        yield generate


def _run(load: Load, machines: range) -> list[Lap]:
    """Play some machines of a load, all at once."""
    with ThreadPoolExecutor(len(machines)) as pool:
        return list(pool.map(lambda number: _Machine(load, number).run(), machines))


class _Line:
    """A connection that is made when first needed, and again after it broke."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._block = bytearray(_BLOCK)

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; status and body of its answer."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, TIMEOUT)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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

    def _answer(self, connection: socket.socket) -> tuple[int, bytes]:
        received = bytearray()
        while (end := received.find(b"\r\n\r\n")) < 0:
            self._receive(connection, received)
        head, at = bytes(received[: end + 2]), end + 4
        length = _LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 ") or not length:
            raise BadAnswer(head[:40])
        while len(received) < at + int(length[1]):
            self._receive(connection, received)
        return int(head[9:12]), bytes(received[at:])

    def _receive(self, connection: socket.socket, received: bytearray) -> None:
        count = connection.recv_into(self._block)
        if not count:
            raise BadAnswer("the server has closed the connection")
        received += memoryview(self._block)[:count]


class _Machine:
    """A machine, which goes through the requests of the load until it is over."""

    def __init__(self, load: Load, number: int) -> None:
        self._load = load
        self._number = number
        self._steps = [(request, cut(request.template)) for request in load.requests]
        self._line = _Line(load.address)
        self._requests: list[float] = []
        self._sessions: list[float] = []
        self._failed = 0

    def run(self) -> Lap:
        """All sessions, up to the end of the load."""
        self._began = self._ended = time.monotonic()
        count = 0
        while not self._is_over(count):
            self._session(count)
            count += 1
        self._line.close()
        return Lap(self._began, self._ended, self._requests, self._sessions, self._failed)

    def _is_over(self, count: int) -> bool:
        return count >= self._load.sessions if self._load.sessions else self._is_late()

    def _is_late(self) -> bool:
        return time.monotonic() >= self._began + self._load.seconds

    def _session(self, count: int) -> None:
        project = project_name(self._number * self._load.projects + count % self._load.projects)
        client, changed = client_name(self._number), change(time.time_ns(), self._number)
        start = time.monotonic()
        for request, pieces in self._steps:
            sent = filled(pieces, project, client, changed)
            # A session is cut short at the end of the time: else its machine would run on with fewer beside it.
            if not self._load.sessions and self._requests and self._is_late():
                return
            before = time.monotonic()
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
