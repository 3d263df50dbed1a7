"""Bytes under way on real sockets, by which answers are known to have arrived."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mneme.web.receipts import bytes_under_way
from tests.daemon import wait_until
from tests.web.connections import Choked

pytestmark = pytest.mark.integration


def test_bytes_that_nobody_reads_are_under_way() -> None:
    """The other end's buffer is full, and the rest waits in this one's."""
    with Choked() as choked:
        assert 0 < bytes_under_way(choked.fileno()) <= choked.sent


def test_no_bytes_are_under_way_once_the_other_end_has_them() -> None:
    """All that waited is sent as the other end makes room."""
    with Choked() as choked:
        choked.read_all()
        assert bytes_under_way(choked.fileno()) == 0


def test_bytes_that_lie_unread_at_the_other_end_have_arrived() -> None:
    """Clients that close without reading are known by the reset that follows."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as client,
        listening.accept()[0] as server,
    ):
        server.sendall(b"an answer")
        assert client.recv(1) == b"a"
        wait_until(lambda: bytes_under_way(server.fileno()) == 0, within=10)


def test_nothing_is_under_way_where_the_system_does_not_say(tmp_path: Path) -> None:
    """In a file, a pipe, and what is no descriptor any more."""
    reading, writing = os.pipe()
    with (tmp_path / "file").open("wb") as file:
        assert [bytes_under_way(one) for one in (file.fileno(), writing)] == [0, 0]
    os.close(reading)
    os.close(writing)
    assert bytes_under_way(writing) == 0
