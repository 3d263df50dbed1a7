"""Bytes under way on real sockets: what the system says of them decides whether an answer has arrived."""

from __future__ import annotations

import os
import select
import socket
import time
from pathlib import Path

from mneme.web.receipts import bytes_under_way
from tests.web.connections import Choked


def test_bytes_that_nobody_reads_are_under_way() -> None:
    """The buffer of the other end is full, and the rest waits in that of this one."""
    with Choked() as choked:
        assert 0 < bytes_under_way(choked.fileno()) <= choked.sent


def test_no_bytes_are_under_way_once_the_other_end_has_them() -> None:
    """Whether or not its process has read them: the system has acknowledged them."""
    with Choked() as choked:
        left = choked.sent
        while left:
            left -= len(choked.other_end.recv(1 << 20))
        until = time.monotonic() + 10
        while bytes_under_way(choked.fileno()) and time.monotonic() < until:
            select.select([], [], [], 0.005)
        assert bytes_under_way(choked.fileno()) == 0


def test_bytes_that_lie_unread_at_the_other_end_have_arrived() -> None:
    """A client that has closed its socket without reading is told apart by the reset that follows."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as client,
        listening.accept()[0] as server,
    ):
        server.sendall(b"an answer")
        assert client.recv(1) == b"a"
        assert bytes_under_way(server.fileno()) == 0


def test_nothing_is_under_way_where_the_system_does_not_say(tmp_path: Path) -> None:
    """In a file, a pipe, and what is no descriptor any more."""
    reading, writing = os.pipe()
    with (tmp_path / "file").open("wb") as file:
        assert [bytes_under_way(one) for one in (file.fileno(), writing)] == [0, 0]
    os.close(reading)
    os.close(writing)
    assert bytes_under_way(writing) == 0
