"""Requests and answers byte by byte, and what must hold after a fault."""

from __future__ import annotations

import http.client
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.daemon import Daemon, wait_until
from tests.plugin_files import log
from tests.stock_client import StockClient

LIMIT = 10 * 1024 * 1024
CLIENT_ID = "ana-laptop-0badcafe"
PROJECT = "-home-ana-src-my.app"
PLACE = f"/projects/{PROJECT}"
NAME = "summary.md"
NO_RATE_LIMIT = {"rateLimitPerMinute": 0}
OLD = log(1).decode("utf-8")
NEW = log(2).decode("utf-8")
HOLDER = {"X-Client-Id": CLIENT_ID, "Content-Type": "application/json"}
UPLOADER = tuple(f"{name}: {value}" for name, value in HOLDER.items())


class WireAnswer:
    """An answer read from a bare socket."""

    def __init__(self, response: http.client.HTTPResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = body

    def __repr__(self) -> str:
        return f"<{self.status} {self.headers} {self.body[:300]!r}>"


def client(daemon: Daemon) -> StockClient:
    """The stock client, which tries nothing twice."""
    return StockClient(daemon.url, CLIENT_ID, delays=())


def connect(daemon: Daemon, *, timeout: float = 15.0) -> socket.socket:
    """A bare connection to the server."""
    return socket.create_connection(("127.0.0.1", daemon.port), timeout)


def head(method: str, path: str, *headers: str) -> bytes:
    """The bytes of a request line and headers, each header given as `Name: value`."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode("latin-1")


def upload(body: bytes, *, chunked: bool = True, project: str = PROJECT) -> bytes:
    """The bytes of an upload to `summary.md`, which replaces whatever is there."""
    path = f"/projects/{project}/files/{NAME}"
    if not chunked:
        return head("PUT", path, *UPLOADER, f"Content-Length: {len(body)}") + body
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return head("PUT", path, *UPLOADER, "Transfer-Encoding: chunked") + chunk + b"0\r\n\r\n"


def exchange(daemon: Daemon, data: bytes, *, end: bool = False) -> WireAnswer | None:
    """Send bytes, with `end` the last ones; the answer, None for a closed connection."""
    with connect(daemon) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
        return read(connection)


def read(connection: socket.socket, method: str = "GET") -> WireAnswer | None:
    """Next answer to a request of that method; None for a closed connection."""
    try:
        with http.client.HTTPResponse(connection, method=method) as response:
            response.begin()
            return WireAnswer(response, response.read())
    except (ConnectionError, http.client.BadStatusLine):
        return None


def hang_up(connection: socket.socket, *, reset: bool) -> None:
    """Close a connection in order, or with a reset, as a lost network does."""
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _connections(daemon: Daemon) -> int:
    """How many connections the server has not closed yet."""
    count = 0
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if local.endswith(f":{daemon.port:04X}") and state in ("01", "08"):
                count += 1
    return count


def wait_until_alone(daemon: Daemon) -> None:
    """Wait until the server has noticed every hang-up."""
    wait_until(lambda: _connections(daemon) == 0, within=15)


def assert_error(answer: Any, status: int) -> None:
    """An answer of the stock client has the status and an error in JSON."""
    assert answer.status == status, answer
    assert isinstance(answer.body["error"], str)


def assert_serves(daemon: Daemon, content: str, *, exported: bool = True) -> None:
    """The server lists and serves the content, and soon the plain file has it."""
    status, body = daemon.ask("GET", f"{PLACE}/files/{NAME}")
    assert status == 200
    assert body["content"] == content
    status, listed = daemon.ask("GET", f"{PLACE}/files")
    assert status == 200
    assert [file["size"] for file in listed["files"] if file["name"] == NAME] == [
        len(content.encode("utf-8"))
    ]
    if exported:
        wait_until(lambda: _heads(daemon) == [content], within=30)


def _heads(daemon: Daemon) -> list[str]:
    return [
        path.read_text(encoding="utf-8")
        for path in daemon.projects.glob(f"*/{NAME}")
        if "my_app" in path.parent.name or "my.app" in path.parent.name
    ]


def assert_locked(daemon: Daemon) -> None:
    """The lock is still held by `CLIENT_ID`."""
    status, body = daemon.ask("GET", f"{PLACE}/lock")
    assert status == 200
    assert body["locked"] is True
    assert body["lock"]["clientId"] == CLIENT_ID
