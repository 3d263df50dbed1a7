"""`GET /events` of a real server: over restarts and kills."""

from __future__ import annotations

from pathlib import Path
from queue import Queue

import pytest

from mneme import clocks
from mneme.client import listener
from mneme.client.http import Address, Connection
from mneme.client.listener import Heard
from mneme.model import ClientId
from tests.daemon import Daemon
from tests.integration.wire import NO_RATE_LIMIT
from tests.plugin_files import log
from tests.proxy import withholding
from tests.stock_client import StockClient

pytestmark = pytest.mark.integration


def session(daemon: Daemon, lines: int) -> None:
    """A session that uploads a log."""
    with StockClient(daemon.url, "laptop-1", delays=()) as client:
        assert client.acquire("demo").status == 200
        assert client.upload("demo", "log.jsonl", log(lines).decode()).status == 200
        assert client.release("demo").status == 200


def test_a_change_is_heard_through_a_proxy_that_holds_streams_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent's listener asks for changes; each comes at once."""
    monkeypatch.setattr(listener, "SILENT_SECONDS", 1.0)
    heard: Queue[Heard] = Queue()
    with Daemon(tmp_path, NO_RATE_LIMIT) as daemon, withholding(daemon.port) as url:
        address = Address(url)
        listening = listener.Listener(
            address, ClientId("laptop"), Connection(address, clocks.monotonic), heard.put
        )
        listening.start()
        # The stream brings nothing; then the first question tells where the server is.
        assert [heard.get(timeout=20.0) for _ in range(2)] == [Heard(None)] * 2
        for lines in (1, 2):
            session(daemon, lines)
            while (event := heard.get(timeout=10.0).event) is None or event.kind != "head":
                pass
            assert (event.project, event.file) == ("demo", "log.jsonl")
        listening.stop()
