"""Ways from the stock client to a server: straight, or through a reverse proxy.

A proxy here takes a whole request, sends it on in its own way, takes the whole answer, and passes that on: so do nginx,
Caddy, Traefik and HAProxy with answers as small as these. What was lost between the proxy and its client the server
never sees.
"""

from __future__ import annotations

import gzip
import http.client
import socket
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import BinaryIO, Literal, Protocol, TypeAlias, cast

from attrs import Factory, define, frozen

from tests.stock_client import Connection


@frozen
class Manner:
    """The way in which a proxy sends requests on.

    `pooled` connections are kept and used for anybody's next request. `connection` is the header of that name, None for
    no such header. `adds` are the headers that the proxy adds. `counts` is whether it sends a `Content-Length` in place
    of chunks.
    """

    name: str
    pooled: bool
    version: str = "HTTP/1.1"
    connection: str | None = None
    adds: Sequence[str] = ()
    counts: bool = False


_FOR = "X-Forwarded-For: 192.0.2.7"
_GZIP = "Accept-Encoding: gzip"
NGINX = Manner("nginx", pooled=False, version="HTTP/1.0", connection="close", counts=True)
NGINX_KEPT = Manner(
    "nginx with upstream keepalive", pooled=True, adds=("X-Real-IP: 192.0.2.7", _FOR), counts=True
)
CADDY = Manner(
    "Caddy",
    pooled=True,
    adds=(_FOR, "X-Forwarded-Host: memory.example", "X-Forwarded-Proto: https", _GZIP),
)
TRAEFIK = Manner(
    "Traefik",
    pooled=True,
    adds=(_FOR, "X-Forwarded-Server: traefik", "X-Real-Ip: 192.0.2.7", _GZIP),
)
APACHE = Manner(
    "Apache", pooled=False, connection="close", adds=("Via: 1.1 memory.example", "Forwarded: for=192.0.2.7")
)
PLAIN_POOL = Manner("a pool that adds nothing", pooled=True, connection="keep-alive")
MANNERS = (NGINX, NGINX_KEPT, CADDY, TRAEFIK, APACHE, PLAIN_POOL)


_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\nOops"

Loses: TypeAlias = Callable[[str], str | None]
"""Asked with `GET /path`: what the client gets in place of the answer, `reset`, `half` or `503`; None: the answer.

A 503 is a proxy's own, and the server is not asked.
"""


def nothing(_request: str) -> None:
    """Every answer arrives."""


class Server(Protocol):
    """The server at the end of a way."""

    def connect(self) -> Upstream:
        """A connection to it."""


class Upstream(Connection, Protocol):
    """A connection to the server, which can be broken off."""

    def break_off(self) -> None:
        """End it by a reset."""


class Way(Protocol):
    """A way to a server."""

    loses: Loses

    def accept(self) -> Connection:
        """A connection of a client, as `StockClient` uses one."""


@define
class Straight:
    """No proxy: whatever is lost, the server sees that the connection breaks."""

    server: Server
    loses: Loses = nothing

    def accept(self) -> Connection:
        """See `Way`."""
        return _Straight(self.server.connect(), self)


class _Straight:
    """A client's end of a connection to the server."""

    def __init__(self, upstream: Upstream, way: Straight) -> None:
        self._upstream = upstream
        self._way = way
        self._fate: str | None = None

    def sendall(self, data: bytes, /) -> None:
        method, path, _ = data.split(b" ", 2)
        self._fate = self._way.loses(f"{method.decode()} {path.decode()}")
        if self._fate != "503":
            self._upstream.sendall(data)

    def makefile(self, mode: Literal["rb"], /) -> BinaryIO:
        if self._fate is None:
            return self._upstream.makefile(mode)
        if self._fate == "503":
            return BytesIO(_UNAVAILABLE)
        answer = self._upstream.makefile(mode).read()
        self._upstream.break_off()
        return BytesIO(answer[: len(answer) * 2 // 3] if self._fate == "half" else b"")

    def close(self) -> None:
        self._upstream.close()

    def is_over(self) -> bool:
        return self._upstream.is_over()


@define
class Proxy:
    """A proxy in front of a server."""

    manner: Manner
    server: Server
    loses: Loses = nothing
    _pool: list[Upstream] = Factory(list)

    def accept(self) -> Connection:
        """See `Way`."""
        return _Accepted(self)

    def ask(self, request: bytes) -> bytes:
        """Send a request on, and return the answer that the client gets."""
        head, _, body = request.partition(b"\r\n\r\n")
        line, *headers = head.decode("latin-1").split("\r\n")
        method, path, _ = line.split(" ")
        fate = self.loses(f"{method} {path}")
        if fate == "503":
            return _UNAVAILABLE
        answer = self._sent_on(method, self._rewritten(method, path, headers, body))
        return {None: answer, "half": answer[: len(answer) * 2 // 3], "reset": b""}[fate]

    def _rewritten(self, method: str, path: str, headers: Sequence[str], body: bytes) -> bytes:
        manner = self.manner
        own = ("connection:", "transfer-encoding:", "content-length:")
        kept = [header for header in headers if not header.lower().startswith(own)]
        if manner.connection:
            kept.append(f"Connection: {manner.connection}")
        chunked = "Transfer-Encoding: chunked" in headers
        if chunked and manner.counts:
            size, _, rest = body.partition(b"\r\n")
            body = rest[: int(size, 16)]
            kept.append(f"Content-Length: {len(body)}")
        elif chunked:
            kept.append("Transfer-Encoding: chunked")
        elif method == "POST":
            kept.append("Content-Length: 0")
        lines = [f"{method} {path} {manner.version}", *kept, *manner.adds, "", ""]
        return "\r\n".join(lines).encode("latin-1") + body

    def _sent_on(self, method: str, request: bytes) -> bytes:
        upstream = self._upstream()
        upstream.sendall(request)
        with http.client.HTTPResponse(cast(socket.socket, upstream), method=method) as response:
            response.begin()
            raw = response.read()
            status, coding = response.status, response.getheader("Content-Encoding")
        if self.manner.pooled:
            self._pool.append(upstream)
        else:
            upstream.close()
        raw = gzip.decompress(raw) if coding else raw
        return b"HTTP/1.1 %d Told\r\nContent-Length: %d\r\n\r\n%b" % (status, len(raw), raw)

    def _upstream(self) -> Upstream:
        while self._pool:
            # The one that was used last is used first, by most proxies.
            kept = self._pool.pop()
            if not kept.is_over():
                return kept
        return self.server.connect()


class _Accepted:
    """A client's end of a connection to a proxy."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._answers = b""
        self._open = True

    def sendall(self, data: bytes, /) -> None:
        self._answers += self._proxy.ask(data)

    def makefile(self, mode: Literal["rb"], /) -> BinaryIO:
        answers, self._answers = self._answers, b""
        return BytesIO(answers)

    def close(self) -> None:
        self._open = False

    def is_over(self) -> bool:
        return not self._open


@frozen
class Route:
    """A way, and the age of the client on it."""

    name: str
    keep_alive: bool = True
    manner: Manner | None = None

    def to(self, server: Server) -> Way:
        """The way to a server."""
        return Proxy(self.manner, server) if self.manner else Straight(server)


STRAIGHT = Route("straight")
NODE_18 = Route("Node 18", keep_alive=False)
ROUTES = (STRAIGHT, NODE_18, *(Route(manner.name, manner=manner) for manner in MANNERS))
