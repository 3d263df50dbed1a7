"""Clients that go away in the middle of an upload or of an answer."""

from __future__ import annotations

import pytest

from mneme.web.receipts import bytes_under_way
from tests.daemon import Daemon, wait_until
from tests.integration import wire
from tests.integration.wire import NAME, NEW, OLD, PLACE, PROJECT
from tests.plugin_files import log
from tests.stock_client import envelope

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
def test_a_hang_up_in_the_middle_of_an_upload_changes_nothing(daemon: Daemon, reset: bool) -> None:
    """The content, the lock and the server stay as they were."""
    for chunked in (False, True):
        request = wire.upload(envelope(NEW), chunked=chunked)
        for tenth in range(10):
            with wire.connect(daemon) as connection:
                connection.sendall(request[: len(request) * tenth // 10 + 1])
                wire.hang_up(connection, reset=reset)
    wire.wait_until_alone(daemon)
    wire.assert_serves(daemon, OLD)
    wire.assert_locked(daemon)


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
def test_a_hang_up_in_the_middle_of_a_write_leaves_a_whole_file(daemon: Daemon, reset: bool) -> None:
    """Before the answer, the content is the old or a new one, whole."""
    contents = [log(seed).decode("utf-8") for seed in range(20, 30)]
    for number in range(40):
        with wire.connect(daemon) as connection:
            connection.sendall(wire.upload(envelope(contents[number % len(contents)])))
            if number % 2:
                wait_until(lambda: bytes_under_way(connection.fileno()) == 0, within=10, every=0.0005)
            wire.hang_up(connection, reset=reset)
        status, body = daemon.ask("GET", f"{PLACE}/files/{NAME}")
        assert status == 200
        assert body["content"] in (OLD, *contents)
    wire.wait_until_alone(daemon)
    wire.assert_locked(daemon)
    with wire.client(daemon) as client:
        assert client.upload(PROJECT, NAME, NEW).status == 200
    wire.assert_serves(daemon, NEW)
