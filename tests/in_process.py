"""The server in this process, with a fake clock, real files and no sockets.

All of it but the reactor, the threads and the sockets is what `twistd mneme` runs; the pruner makes its round when the
test says so. Bytes that are sent are received at once, and answered before `sendall` returns. Time stands still but for
what a request takes (`REQUEST_SECONDS`) and for what the test lets pass. The server can be stopped and started, or
killed, at any moment between two requests.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast
from urllib.parse import quote

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from mneme.feed import Feed
from mneme.model import Merging, Millis
from mneme.retention import Retention
from mneme.service import SyncService
from mneme.timers import Exporter, Pruner, Reaper
from mneme.web.auth import Keys
from mneme.web.policy import Policy
from mneme.web.site import Site
from tests.immediate import ImmediateWorker
from tests.keeping import KEEP_ALL
from tests.kept import DiskStore, lane_of

START = 1_773_133_200.0
"""2026-03-10T09:00:00.000Z, in seconds."""

TTL_SECONDS = 30 * 60.0
REQUEST_SECONDS = 0.007
MAX_BODY_BYTES = 10 * 1024 * 1024
URL = "http://mneme.invalid:3847"

_ADDRESS = IPv4Address("TCP", "192.0.2.7", 50000)
_CURL = "Host: mneme.invalid:3847\r\nUser-Agent: curl/8.14.1\r\nAccept: */*"


class InProcess:
    """A server on a data directory; both directory and time outlive restarts.

    Whatever the server logs as a fault is in `faults`.
    """

    url = URL

    def __init__(self, directory: Path, *, ttl_seconds: float = TTL_SECONDS) -> None:
        self.directory = directory
        self.ttl = Millis(round(ttl_seconds * 1000))
        self.faults: list[str] = []
        self.wrong_by = 0.0
        """Seconds by which the server's clock is ahead of the true time."""
        self._now = START
        self._life: _Life | None = None
        self._reachable = True
        self._observe = cast(ILogObserver, self._note_fault)
        self.start()

    # Time.

    def now(self) -> float:
        """The time of day, in seconds since 1970."""
        return self._now

    def let_pass(self, seconds: float) -> None:
        """Let time pass, in steps that are shorter than the server's shortest interval."""
        end = self._now + seconds
        while self._now < end:
            step = min(5.0, end - self._now)
            self._now = min(end, self._now + step)
            if self._life:
                self._life.advance_to(self._now)

    def be_off(self, seconds: float) -> None:
        """Stop, and start again after so long."""
        self.stop()
        self._now += seconds
        self.start()

    def set_clock(self, seconds: float) -> None:
        """Move the server's time of day; the true time of the machines stays."""
        self.wrong_by += seconds
        if self._life:
            self._life.wall.rightNow += seconds

    # Coming and going.

    def start(self) -> None:
        """Build a server on what is on disk."""
        assert self._life is None, "the server runs already"
        self._life = _Life(self)

    def stop(self) -> None:
        """Stop as on SIGTERM: requests end, services stop, connections close."""
        life = self._running()
        with self._watched():
            life.stop()
        self.kill()

    def kill(self) -> None:
        """End as on SIGKILL: nothing is told, and nothing done, any more."""
        self._running().store.database.close()
        self._life = None

    def restart(self) -> None:
        """Stop, and start again."""
        self.stop()
        self.start()

    def kill_and_restart(self) -> None:
        """Kill, and start again."""
        self.kill()
        self.start()

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """While this lasts, there is no way to the server; it runs on."""
        self._reachable = False
        try:
            yield
        finally:
            self._reachable = True

    def prune(self, retention: Retention) -> None:
        """Let the pruner make a round."""
        life = self._running()
        with self._watched():
            life.prune(retention)

    # Requests.

    def connect(self) -> InProcessConnection:
        """A connection, as `StockClient` and `http.client` use one."""
        if self._life is None or not self._reachable:
            raise ConnectionRefusedError
        return InProcessConnection(self, self._life)

    def ask(self, method: str, path: str) -> tuple[int, Any]:
        """A request of curl on a connection of its own: status and JSON body."""
        return self._ask(method, path)

    def link(self, alias: str, project: str) -> bool:
        """Make an id another name of a project; False if the server refuses that."""
        path, body = f"/projects/{quote(alias, safe='')}/alias", json.dumps({"of": project}).encode()
        headers = f"X-Client-Id: linker\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        status, _ = self._ask("PUT", path, headers, body)
        assert status in (200, 409), status
        return status == 200

    def _ask(self, method: str, path: str, headers: str = "", body: bytes = b"") -> tuple[int, Any]:
        connection = self.connect()
        connection.sendall(f"{method} {path} HTTP/1.1\r\n{_CURL}\r\n{headers}\r\n".encode() + body)
        with http.client.HTTPResponse(connection, method=method) as response:  # type: ignore[arg-type]  # it asks no more of a socket
            response.begin()
            raw = response.read()
        connection.close()
        return response.status, json.loads(raw)

    # For the parts below.

    def is_alive(self, life: _Life) -> bool:
        """Whether this is the server that runs now, and it can be reached."""
        return self._life is life and self._reachable

    def receive(self, life: _Life, protocol: Protocol, data: bytes) -> None:
        """Let the server receive bytes, which takes a moment."""
        self.let_pass(REQUEST_SECONDS)
        with self._watched():
            protocol.dataReceived(data)

    def _note_fault(self, event: LogEvent) -> None:
        if "log_failure" in event:
            failure: Failure = event["log_failure"]
            self.faults.append(f"{formatEvent(event)}\n{failure.getTraceback()}")

    def _running(self) -> _Life:
        assert self._life is not None, "the server does not run"
        return self._life

    @contextmanager
    def _watched(self) -> Iterator[None]:
        globalLogPublisher.addObserver(self._observe)
        try:
            yield
        finally:
            globalLogPublisher.removeObserver(self._observe)


class _Life:
    """A server from its start to its end; its timers die with its clock."""

    def __init__(self, owner: InProcess) -> None:
        self.clock, self.wall = Clock(), Clock()
        self.clock.advance(owner.now())
        self.wall.advance(owner.now() + owner.wrong_by)
        self.store = DiskStore(owner.directory, Merging(True, MAX_BODY_BYTES))
        lane, worker = lane_of(self.store), ImmediateWorker()
        self._sync = SyncService(self.wall, lane, lane, worker, owner.ttl, KEEP_ALL)
        feed, policy = Feed(self.clock, self._sync), Policy(Keys(()))
        self.site = Site(self.clock, self.wall, worker, self._sync, policy, MAX_BODY_BYTES, feed)
        self._timers = (Reaper(self.clock, self._sync), Exporter(self.clock, self._sync))
        for service in (self._sync, *self._timers):
            service.startService()

    def advance_to(self, now: float) -> None:
        """Let time pass until then, by both clocks."""
        self.wall.advance(now - self.clock.seconds())
        self.clock.advance(now - self.clock.seconds())

    def stop(self) -> None:
        """Stop everything in the order in which `Server` does."""
        self._end(self.site.close(0.5))
        for service in (*self._timers, self._sync):
            self._end(service.stopService())

    def prune(self, retention: Retention) -> None:
        """Make a round of pruning."""
        self._sync.retention = retention
        pruner = Pruner(self.clock, self._sync)
        pruner.startService()
        self._end(pruner._prune())
        self._end(pruner.stopService())

    def _end(self, coroutine: Any) -> None:
        ended: list[object] = []
        Deferred.fromCoroutine(coroutine).addBoth(ended.append)
        self.clock.advance(1.0)
        assert ended == [None], ended


class _Transport(StringTransport):
    """A transport that tells of the end of the connection a moment later, by `end`."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(peerAddress=_ADDRESS)
        self.end: Callable[[], None] = lambda: None
        self._clock = clock

    def loseConnection(self) -> None:
        super().loseConnection()
        self._clock.callLater(0, self.end)

    abortConnection = loseWriteConnection = loseConnection


class InProcessConnection:
    """A client's end of a connection to a server in this process."""

    def __init__(self, server: InProcess, life: _Life) -> None:
        self._server = server
        self._life = life
        self._transport = _Transport(life.clock)
        self._protocol = life.site.buildProtocol(_ADDRESS)
        self._transport.end = self._end
        self._protocol.makeConnection(self._transport)
        self._open = True
        self._ended = False

    def sendall(self, data: bytes, /) -> None:
        """Send, and have it answered."""
        if self.is_over():
            raise BrokenPipeError
        self._server.receive(self._life, self._protocol, data)

    def makefile(self, mode: Literal["rb"], /) -> BinaryIO:
        """The answer, as far as it is not yet read."""
        answered = self._transport.value()
        self._transport.clear()
        return BytesIO(answered)

    def close(self) -> None:
        """Hang up; a server that is no more does not notice."""
        if self._open and self._server.is_alive(self._life):
            self._end()
        self._open = False

    def break_off(self) -> None:
        """End by a reset, as for a client that is gone."""
        self._end(Failure(ConnectionLost()))
        self._open = False

    def _end(self, reason: Failure | None = None) -> None:
        if not self._ended:
            self._ended = True
            self._protocol.connectionLost(reason or Failure(ConnectionDone()))

    def is_over(self) -> bool:
        """Whether the server has closed the connection, or is gone."""
        return not self._open or self._transport.disconnecting or not self._server.is_alive(self._life)
