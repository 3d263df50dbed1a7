"""Clients that go away in the middle of an upload or of an answer, or never read it to its end."""

from __future__ import annotations

import fcntl
import socket
import termios

import pytest

from tests.daemon import Daemon, wait_until
from tests.integration import wire
from tests.integration.wire import NAME, NEW, OLD, PLACE, PROJECT, UPLOADER
from tests.plugin_files import log
from tests.stock_client import envelope

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_hang_up_in_the_middle_of_an_upload_changes_nothing(
    daemon: Daemon, reset: bool, chunked: bool
) -> None:
    """An upload whose client goes away before its end leaves the content, the lock and the server as they were."""
    request = wire.upload(envelope(NEW), chunked=chunked)
    for tenth in range(10):
        with wire.connect(daemon) as connection:
            connection.sendall(request[: len(request) * tenth // 10 + 1])
            wire.hang_up(connection, reset=reset)
    wire.wait_until_alone(daemon)
    wire.assert_serves(daemon, OLD)
    wire.assert_locked(daemon)
    with wire.client(daemon) as client:
        assert client.upload(PROJECT, NAME, NEW).status == 200
    wire.assert_serves(daemon, NEW)


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
def test_a_hang_up_in_the_middle_of_a_write_leaves_a_whole_file(daemon: Daemon, reset: bool) -> None:
    """Clients that go away between a full upload and its answer leave the old content or a new one, whole."""
    contents = [log(seed).decode("utf-8") for seed in range(20, 30)]
    for number in range(40):
        with wire.connect(daemon) as connection:
            connection.sendall(wire.upload(envelope(contents[number % len(contents)])))
            if number % 2:
                wait_until(lambda: _is_read_by_the_server(connection), within=10, every=0.0005)
            wire.hang_up(connection, reset=reset)
        status, body = daemon.ask("GET", f"{PLACE}/files/{NAME}")
        assert status == 200
        assert body["content"] in (OLD, *contents)
    wire.wait_until_alone(daemon)
    wire.assert_locked(daemon)
    with wire.client(daemon) as client:
        assert client.upload(PROJECT, NAME, NEW).status == 200
    wire.assert_serves(daemon, NEW)


def test_an_upload_cut_short_is_refused_whole(daemon: Daemon) -> None:
    """A body shorter than its Content-Length is no upload, however much of it came."""
    body = envelope(NEW)
    for length in (1, 10, 100, len(body) // 2, len(body) - 1):
        head = wire.head("PUT", f"{PLACE}/files/{NAME}", *UPLOADER, f"Content-Length: {len(body)}")
        answer = wire.exchange(daemon, head + body[:length], end=True)
        assert answer is None or 400 <= answer.status < 500
    wire.wait_until_alone(daemon)
    wire.assert_serves(daemon, OLD)
    wire.assert_locked(daemon)


def test_a_download_nobody_reads_to_the_end_disturbs_nobody(daemon: Daemon) -> None:
    """Clients that hang up in the middle of an answer, or never read it, cost the others nothing."""
    large = log(4, 5_000_000).decode("utf-8")
    with wire.client(daemon) as client:
        assert client.upload(PROJECT, NAME, large).status == 200
    slow = [wire.connect(daemon) for _ in range(10)]
    for connection in slow:
        connection.sendall(wire.head("GET", f"{PLACE}/files/{NAME}"))
        assert connection.recv(1000)
    wire.assert_serves(daemon, large)
    for connection in slow:
        wire.hang_up(connection, reset=True)
    wire.wait_until_alone(daemon)
    wire.assert_serves(daemon, large)


def _is_read_by_the_server(connection: socket.socket) -> bool:
    """Whether everything sent on the connection has left this side's buffer."""
    return fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4) == b"\0" * 4
