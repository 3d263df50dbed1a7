"""`GET /events` of a real server: over restarts and kills."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from mneme import clocks
from mneme.client import listener
from mneme.client.http import Address, Connection
from mneme.client.listener import Heard
from tests.daemon import Daemon
from tests.integration.wire import NO_RATE_LIMIT
from tests.plugin_files import log
from tests.proxy import withholding
from tests.stock_client import StockClient

pytestmark = pytest.mark.integration


class Listener:
    """A client that reads a stream of events."""

    def __init__(self, daemon: Daemon, last: str | None = None) -> None:
        self.last = last
        self._connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)
        self._connection.request("GET", "/events", headers={"Last-Event-ID": last} if last else {})
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200

    def next(self) -> tuple[str, Any]:
        """Name and data of the next event; raises `EOFError` at the end."""
        fields: dict[str, str] = {}
        while line := self._answer.readline().decode():
            if line == "\n" and "event" in fields:
                self.last = fields["id"]
                return fields["event"], json.loads(fields["data"])
            name, found, value = line.rstrip("\n").partition(": ")
            if found and name:
                fields[name] = value
        raise EOFError

    def rest(self) -> bytes:
        """The stream up to its end."""
        return self._answer.read()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@contextmanager
def listening(daemon: Daemon, last: str | None = None) -> Iterator[Listener]:
    """A listener, which hangs up at the end."""
    with closing(Listener(daemon, last)) as listener:
        yield listener


def session(daemon: Daemon, lines: int) -> None:
    """A session that uploads a log."""
    with StockClient(daemon.url, "laptop-1", delays=()) as client:
        assert client.acquire("demo").status == 200
        assert client.upload("demo", "log.jsonl", log(lines).decode()).status == 200
        assert client.release("demo").status == 200


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_a_listener_misses_nothing_over_a_restart(tmp_path: Path, end: str) -> None:
    """The listener reads on from the last event that it had."""
    with Daemon(tmp_path / "server", NO_RATE_LIMIT) as daemon:
        with listening(daemon) as listener:
            assert listener.next()[0] == "ready"
            session(daemon, 3)
            assert [listener.next()[0] for _ in range(2)] == ["lock", "head"]
            last = listener.last
            getattr(daemon, end)()
        daemon.start()
        session(daemon, 4)
        with listening(daemon, last) as listener:
            told = [listener.next() for _ in range(4)]
        assert [name for name, _ in told] == ["lock", "lock", "head", "lock"]


def test_a_stopping_server_ends_its_streams_at_once(tmp_path: Path) -> None:
    """No stop waits for a listener."""
    with Daemon(tmp_path / "server", NO_RATE_LIMIT) as daemon, listening(daemon) as listener:
        assert listener.next()[0] == "ready"
        assert daemon.terminate() == 0
        assert listener.rest().endswith(b"\n\n") or listener.rest() == b""


def test_a_change_is_heard_through_a_proxy_that_holds_streams_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent's listener asks for changes; each comes at once."""
    monkeypatch.setattr(listener, "SILENT_SECONDS", 1.0)
    heard: Queue[Heard] = Queue()
    with Daemon(tmp_path, NO_RATE_LIMIT) as daemon, withholding(daemon.port) as url:
        address = Address(url)
        listening = listener.Listener(address, Connection(address, clocks.monotonic), heard.put)
        listening.start()
        # The stream brings nothing; then the first question tells where the server is.
        assert [heard.get(timeout=20.0) for _ in range(2)] == [Heard(None)] * 2
        for lines in (1, 2):
            session(daemon, lines)
            while (event := heard.get(timeout=10.0).event) is None or event.kind != "head":
                pass
            assert (event.project, event.file) == ("demo", "log.jsonl")
        listening.stop()
