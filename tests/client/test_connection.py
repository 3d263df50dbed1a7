"""Connections to a real socket: kept open, made again, ended in time, and trusted."""

from __future__ import annotations

import gzip
import http.client
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import pytest

from mneme.client.connection import connected
from mneme.client.errors import Unreachable, Untrusted
from mneme.client.exchange import Patience
from mneme.client.http import Address, Connection, LateAnswer, Response
from mneme.model import ClientId
from tests.daemon import self_signed

LAPTOP = ClientId("laptop-0a1b2c3d")
HEALTH = b'{"version":"1","authRequired":false,"status":"ok"}'


def plain(body: bytes = b"fine", *headers: str, length: int | None = None) -> bytes:
    """An answer whose length is told."""
    told = [*headers, f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join(["HTTP/1.1 200 OK", *told, "", ""]).encode() + body


class Server:
    """A server that gives each connection its answers, one a request, and then closes it.

    The last connection stays open. `asked` has the head and the body of each request, by connection.
    """

    def __init__(
        self, *connections: Sequence[bytes], host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listening = socket.create_server((host, 0), family=family)
        self.port = int(self.listening.getsockname()[1])
        self.asked: list[list[tuple[list[str], bytes]]] = []
        self._connections = connections
        self._tls = tls
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def url(self) -> str:
        """The URL by the address."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """End, also while nobody connects."""
        self._end.set()
        with suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.listening.close()

    def _serve(self) -> None:
        for number, answers in enumerate(self._connections, 1):
            with suppress(OSError):
                accepted, _ = self.listening.accept()
                if self._tls:
                    accepted = self._tls.wrap_socket(accepted, server_side=True)
                with accepted, accepted.makefile("rb") as reading:
                    self.asked.append([])
                    for answer in answers:
                        self.asked[-1].append(_request(reading))
                        accepted.sendall(answer)
                    if number == len(self._connections):
                        self._end.wait()


def _request(reading: BinaryIO) -> tuple[list[str], bytes]:
    head = []
    while line := reading.readline().decode().rstrip():
        head.append(line)
    [length] = [int(line[16:]) for line in head if line.startswith("Content-Length: ")] or [0]
    return head, reading.read(length)


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers, which end with the test."""
    servers: list[Server] = []

    def start(
        *connections: Sequence[bytes], host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> Server:
        servers.append(Server(*connections, host=host, tls=tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def get(connection: Connection, path: str = "/health", seconds: float = 10.0) -> Response:
    """An answer."""
    return connection.request("GET", path, {}, None, seconds)


Reach = Callable[..., Connection]


@pytest.fixture
def reach() -> Iterator[Reach]:
    """Make connections to URLs, which are closed after the test."""
    connections: list[Connection] = []

    def connect(url: str, monotonic: Callable[[], float] = time.monotonic) -> Connection:
        connections.append(Connection(Address(url), monotonic))
        return connections[-1]

    yield connect
    for connection in connections:
        connection.close()


# Requests and answers


def test_a_request_is_sent_as_it_is(serve: Serve, reach: Reach) -> None:
    """The path of the URL comes first; headers are UTF-8, each in one line."""
    server = serve([plain()])
    connection = reach(f"{server.url}/memory/of")
    headers = {"X-Client-Id": "μηχανή-1", "Authorization": "Bearer key\nHost: evil"}
    assert connection.request("PUT", "/projects/a%2Fb", headers, b"content", 10).body == b"fine"
    [[(head, body)]] = server.asked
    assert head[0] == "PUT /memory/of/projects/a%2Fb HTTP/1.1"
    assert {"X-Client-Id: μηχανή-1", "Authorization: Bearer key Host: evil"} < set(head)
    assert f"Host: 127.0.0.1:{server.port}" in head
    assert body == b"content"


@pytest.mark.parametrize(
    "answer",
    [
        plain(b"fine", "ETag: one"),
        plain(gzip.compress(b"fine"), "Content-Encoding: gzip", "ETag: one"),
        b"HTTP/1.1 200 OK\r\nETag: one\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nfi\r\n2\r\nne\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nETag: one\r\n\r\nfine",
    ],
    ids=["plain", "gzip", "chunked", "until its end"],
)
def test_an_answer_is_read_however_it_comes(serve: Serve, reach: Reach, answer: bytes) -> None:
    """Names of headers are in lower case."""
    server = serve([answer], [])
    response = get(reach(server.url))
    assert (response.status, response.headers["etag"], response.body) == (200, "one", b"fine")
    assert "Accept-Encoding: gzip" in server.asked[0][0][0]


def test_an_answer_without_a_body_is_one(serve: Serve, reach: Reach) -> None:
    """Whatever its coding would be."""
    server = serve([b"HTTP/1.1 304 Not Modified\r\nContent-Encoding: gzip\r\n\r\n"])
    assert get(reach(server.url)) == Response(304, {"content-encoding": "gzip"}, b"")


@pytest.mark.parametrize(
    "answer",
    [
        plain(b"fine", length=9),
        plain(gzip.compress(b"fine")[:-9], "Content-Encoding: gzip"),
        plain(b"fine", "Content-Encoding: gzip"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nfi",
        b"\x15\x03\x03\x00\x02\x02\x46",
        b"",
    ],
    ids=["short", "cut gzip", "no gzip", "cut chunk", "no HTTP", "nothing"],
)
def test_a_damaged_answer_is_none(serve: Serve, reach: Reach, answer: bytes) -> None:
    """The error is one for which a request is sent again."""
    connection = reach(serve([answer], [plain()]).url)
    with pytest.raises((http.client.HTTPException, OSError)):
        get(connection)
    assert get(connection).body == b"fine"


# Connections


def test_a_connection_stays_open(serve: Serve, reach: Reach) -> None:
    """For one request after the other."""
    server = serve([plain(b"one"), plain(b"two"), plain(b"three")])
    connection = reach(server.url)
    assert [get(connection).body for _ in range(3)] == [b"one", b"two", b"three"]
    assert len(server.asked) == 1
    connection.close()


@pytest.mark.parametrize("close", [[], ["Connection: close"]], ids=["silently", "told"])
def test_a_connection_that_the_server_closed_is_made_again(
    serve: Serve, reach: Reach, close: list[str]
) -> None:
    """With the whole request, and nobody notices."""
    server = serve([plain(b"one", *close)], [plain(b"two")])
    connection = reach(server.url)
    for expected in (b"one", b"two"):
        assert connection.request("PUT", "/x", {}, b"content", 10).body == expected
    assert [[body for _, body in asked] for asked in server.asked] == [[b"content"], [b"content"]]


def test_a_connection_that_was_long_idle_is_made_again(serve: Serve, reach: Reach) -> None:
    """A router between may have forgotten it, and the request would wait for nothing."""
    now = [0.0]
    server = serve([plain(b"one"), plain(b"lost")], [plain(b"two"), plain(b"three")])
    connection = reach(server.url, lambda: now[0])
    get(connection)
    now[0] += 31
    assert get(connection).body == b"two"
    now[0] += 29
    assert get(connection).body == b"three"


def test_a_server_that_closes_at_once_is_asked_once(serve: Serve, reach: Reach) -> None:
    """Only an idle connection is made again without an error."""
    server = serve([b""], [plain()])
    with pytest.raises(http.client.RemoteDisconnected):
        get(reach(server.url))
    assert len(server.asked) == 1


@pytest.mark.parametrize("port", [True, False], ids=["with its port", "without"])
def test_an_ipv6_address_is_reached(
    serve: Serve, reach: Reach, monkeypatch: pytest.MonkeyPatch, port: bool
) -> None:
    """Its last part is no port."""
    try:
        server = serve([plain()], host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    if not port:
        monkeypatch.setattr(http.client, "HTTP_PORT", server.port)
    url = f"http://[::1]:{server.port}" if port else "http://[::1]"
    assert get(reach(url)).body == b"fine"
    assert f"Host: [::1]:{server.port}" in server.asked[0][0][0]


def test_a_client_closes_its_connection(serve: Serve) -> None:
    """Also when something goes wrong; by itself the client asks for nothing."""
    server = serve([plain(HEALTH), b""], [])

    def fail() -> None:
        with connected(Address(server.url), LAPTOP, Patience()) as client:
            assert (client.client, client.url) == (LAPTOP, server.url)
            assert server.asked == []
            assert client.health().status == "ok"
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    # The server has read the end of the connection, where it waits for a second request.
    server.close()
    assert server.asked[0][1] == ([], b"")


# Time


def test_a_server_that_says_nothing_is_given_up(serve: Serve, reach: Reach) -> None:
    """After the seconds that were given."""
    with pytest.raises(TimeoutError):
        get(reach(serve([]).url), seconds=0.05)


def test_an_answer_must_be_there_whole_in_time(serve: Serve, reach: Reach) -> None:
    """However much of it comes all the time."""
    ticks = itertools.count()
    connection = reach(serve([plain(b"x" * 10_000_000)]).url, lambda: float(next(ticks)))
    with pytest.raises(LateAnswer):
        get(connection, seconds=20)


def test_a_silent_address_leaves_time_for_the_next(
    serve: Serve, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of IPv6, say, where only IPv4 works."""
    server = serve([plain()])
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(full.getsockname())
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", one.getsockname()) for one in (full, server.listening)
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert get(reach(server.url), seconds=1).body == b"fine"
    for one in (full, *waiting):
        one.close()


def test_a_name_that_is_looked_up_for_too_long_is_given_up(
    reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the network is gone."""
    end = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: end.wait() and [])
    with pytest.raises(LateAnswer):
        get(reach("http://homeserver:3847"), seconds=0.05)
    end.set()


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
def test_what_can_be_no_name_is_an_error_like_others(reach: Reach, host: str) -> None:
    """As for a name that nobody knows."""
    with pytest.raises(socket.gaierror):
        get(reach(f"http://{host}"))


# Certificates


def test_a_ca_file_is_trusted_besides_the_systems_authorities(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other certificates, and other names, are refused, each with its sentence."""
    pems: dict[str, Path] = {}
    for name in ("ours", "second", "system", "other"):
        (tmp_path / name).mkdir()
        pems[name] = self_signed(tmp_path / name)
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(pems["ours"].read_bytes() + pems["second"].read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(pems["system"]))

    def asked(name: str, host: str = "localhost", trusted: Path | None = ca_file) -> str:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pems[name])
        address = Address(f"https://{host}:{serve([plain(HEALTH)], tls=tls).port}", None, trusted)
        with connected(address, LAPTOP, Patience(retries=0)) as client:
            return client.health().status

    assert [asked(name) for name in ("ours", "second", "system")] == ["ok"] * 3
    for name, trusted in (("other", ca_file), ("ours", None)):
        with pytest.raises(
            Untrusted, match="its certificate is not trusted on this machine; name it, or its"
        ):
            asked(name, trusted=trusted)
    with pytest.raises(Unreachable, match="its certificate is for another name") as raised:
        asked("ours", host="127.0.0.1")
    assert raised.type is Unreachable


def test_a_server_that_closes_instead_of_a_handshake_is_told(serve: Serve) -> None:
    """With the two words that may be mixed up."""
    address = Address(f"https://127.0.0.1:{serve([], []).port}")
    with (
        connected(address, LAPTOP, Patience(retries=0)) as client,
        pytest.raises(Unreachable, match=r"it closed the connection .* one of http, or of https"),
    ):
        client.health()
