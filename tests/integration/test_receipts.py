"""Receipts over real sockets, by how clients end their connections."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from mneme.web.receipts import LINGER_SECONDS
from tests.daemon import Daemon, free_port, self_signed
from tests.integration import wire
from tests.stock_client import StockClient

pytestmark = pytest.mark.integration

NAME = "remembered.json"
CLOSE, KEEP = "Connection: close", "Connection: keep-alive"
_NUMBERS = count()


def facts(letters: str) -> str:
    """A `remembered.json` of a fact for each letter."""
    return json.dumps([{"ts": f"2026-02-04T14:00:00.{ord(one):03}Z", "content": one} for one in letters])


def client(daemon: Daemon, name: str) -> StockClient:
    """A client of its own id, which tries nothing twice."""
    return StockClient(daemon.url, name, delays=())


@pytest.fixture
def project(daemon: Daemon) -> str:
    """A new project with two facts, whose lock is the desk's."""
    return prepared(daemon)


def prepared(daemon: Daemon) -> str:
    """A new project with two facts, on any server."""
    project = f"receipts-{next(_NUMBERS)}"
    with client(daemon, "laptop-1") as laptop, client(daemon, "desk-1") as desk:
        assert laptop.acquire(project).status == 200
        assert laptop.upload(project, NAME, facts("ab")).status == 200
        assert laptop.release(project).status == 200
        assert desk.acquire(project).status == 200
    return project


def download(daemon: Daemon, project: str, connection: str) -> socket.socket:
    """A connection over which the desk has read the file to its end."""
    asked = wire.connect(daemon)
    asked.sendall(wire.head("GET", f"/projects/{project}/files/{NAME}", connection))
    answer = wire.read(asked)
    assert answer
    assert json.loads(answer.body)["content"] == facts("ab")
    return asked


def forgets(daemon: Daemon, project: str) -> str:
    """The facts of the head once the desk has forgotten one and added one."""
    with client(daemon, "desk-1") as desk:
        assert desk.upload(project, NAME, facts("ac")).status == 200
        held = desk.download(project, NAME).body["content"]
    return "".join(sorted(one["content"] for one in json.loads(held)))


def ends_in_order(connection: socket.socket) -> None:
    """Close it."""
    wire.hang_up(connection, reset=False)


def resets(connection: socket.socket) -> None:
    """Break off."""
    wire.hang_up(connection, reset=True)


@pytest.mark.parametrize("connection", [CLOSE, KEEP])
@pytest.mark.parametrize(("end", "head"), [(ends_in_order, "ac"), (resets, "abc")])
def test_the_end_of_a_connection_tells_whether_its_answer_was_taken(
    daemon: Daemon, project: str, connection: str, end: Callable[[socket.socket], None], head: str
) -> None:
    """In order, it was; reset, perhaps not, and nothing is taken for removed."""
    end(download(daemon, project, connection))
    assert forgets(daemon, project) == head


def test_a_connection_that_must_close_ends_with_its_answer(daemon: Daemon, project: str) -> None:
    """The client sees the end at once, while the server waits for the other."""
    began = time.monotonic()
    with wire.connect(daemon) as connection:
        connection.sendall(wire.head("GET", f"/projects/{project}/files/{NAME}", CLOSE))
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert time.monotonic() - began < LINGER_SECONDS / 2
    wire.wait_until_alone(daemon)


def test_an_answer_on_a_kept_connection_is_taken_once_the_project_is_asked_for_again(
    daemon: Daemon, project: str
) -> None:
    """The system has sent all its bytes; so a proxy between need not say anything."""
    with download(daemon, project, KEEP):
        assert forgets(daemon, project) == "ac"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, int]]:
    """A server in the clear, and its port over TLS."""
    home = tmp_path_factory.mktemp("secure")
    port, over_tls = free_port(), free_port()
    endpoints = (
        f"tcp:{port}:interface=127.0.0.1",
        f"ssl:{over_tls}:privateKey={self_signed(home)}:interface=127.0.0.1",
    )
    arguments = [part for endpoint in endpoints for part in ("--listen", endpoint)]
    with Daemon(home, port=port, arguments=arguments) as daemon:
        yield daemon, over_tls


def says_the_closing_words(connection: ssl.SSLSocket) -> None:
    """Close it as TLS has it."""
    connection.unwrap().close()


@pytest.mark.parametrize("connection", [CLOSE, KEEP])
@pytest.mark.parametrize(
    ("end", "head"), [(says_the_closing_words, "ac"), (ends_in_order, "ac"), (resets, "abc")]
)
def test_the_end_of_a_connection_over_tls_tells_the_same(
    secure: tuple[Daemon, int], connection: str, end: Callable[[socket.socket], None], head: str
) -> None:
    """Node leaves out the closing words of TLS, which is in order, too."""
    daemon, port = secure
    project = prepared(daemon)
    trusting = ssl.create_default_context(cafile=str(daemon.home / "server.pem"))
    plain = socket.create_connection(("127.0.0.1", port), 15.0)
    asked = trusting.wrap_socket(plain, server_hostname="localhost")
    asked.sendall(wire.head("GET", f"/projects/{project}/files/{NAME}", connection))
    answer = wire.read(asked)
    assert answer
    assert json.loads(answer.body)["content"] == facts("ab")
    if connection == CLOSE:
        assert asked.recv(1) == b""
    end(asked)
    assert forgets(daemon, project) == head
