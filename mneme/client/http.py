"""The connection to a server, by the standard library. Blocking code."""

import http.client
import socket
import ssl
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from math import inf
from pathlib import Path
from threading import Thread
from typing import Any, Protocol
from urllib.parse import urlsplit

from msgspec import Struct

_BLOCK = 256 * 1024
_GZIP_WBITS = 31
_BROKEN = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""Errors on a connection that the server has closed while it was idle."""

_IDLE_SECONDS = 30.0
"""Seconds of idleness after which a connection is made anew: a router may have forgotten it."""

_SHARE = 0.25
"""The share of the time after which the next address of a host is tried."""

Monotonic = Callable[[], float]


class LateAnswer(TimeoutError):
    """An answer that has begun, and did not end in time."""


class Address(Struct, frozen=True):
    """The URL of a server, without a slash at its end, and its API key.

    `ca_file` has certificates that are trusted in addition to the system's.
    """

    url: str
    key: str | None = None
    ca_file: Path | None = None

    def __repr__(self) -> str:
        """The URL alone, for a key is in no log."""
        return f"Address({self.url!r})"


class Response(Struct, frozen=True):
    """An answer as it came, inflated; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Http(Protocol):
    """The sender of requests: a `Connection`, or a server in the same process in tests."""

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, seconds: float
    ) -> Response:
        """Send a request, and wait at most `seconds` for its answer; raises `OSError` or `HTTPException`."""
        ...

    def lines(self, path: str, headers: Mapping[str, str], seconds: float) -> Iterator[bytes]:
        """The lines of a stream, with at most `seconds` between two.

        An answer that is no stream raises `NoStream`.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class NoStream(Exception):
    """An answer to a request for a stream that is none; `status` is its status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Connection:
    """A connection that stays open between requests, and is made again when needed."""

    def __init__(self, address: Address, monotonic: Monotonic, within: float = inf) -> None:
        """Set up a connection; all its requests together end within some seconds."""
        self._until = monotonic() + within
        self._parts = urlsplit(address.url)
        self._stream: socket.socket | None = None
        self._address = address
        self._monotonic = monotonic
        self._open: http.client.HTTPConnection | None = None
        self._used = 0.0

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, seconds: float
    ) -> Response:
        """See `Http`."""
        deadline = min(self._monotonic() + seconds, self._until)
        headers = {**headers, "Accept-Encoding": "gzip"}
        if self._open and self._open.sock and self._monotonic() - self._used < _IDLE_SECONDS:
            try:
                return self._answer(self._open, method, path, headers, body, deadline)
            except _BROKEN:
                # Each request may be sent twice: the server knows an upload again by what it says.
                pass
        self.close()
        self._open = self._made(deadline - self._monotonic())
        return self._answer(self._open, method, path, headers, body, deadline)

    def lines(self, path: str, headers: Mapping[str, str], seconds: float) -> Iterator[bytes]:
        """See `Http`."""
        connection = self._open = self._made(seconds)
        try:
            connection.request("GET", self._parts.path + path, headers=dict(headers))
            # An answer without a length takes the socket away from the connection.
            self._stream = connection.sock
            connection.sock.settimeout(seconds)
            answer = connection.getresponse()
            if not answer.headers.get_content_type() == "text/event-stream":
                raise NoStream(answer.status)
            while line := answer.readline():
                yield line
        finally:
            self._stream = None
            connection.close()

    def close(self) -> None:
        """See `Http`. May be called on another thread, and ends a `lines` there."""
        connection, self._open = self._open, None
        stream, self._stream = self._stream, None
        if stream:
            # A close alone would not wake the thread that reads.
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
        if connection:
            connection.close()

    def _made(self, seconds: float) -> http.client.HTTPConnection:
        # The zone of an IPv6 address, as in fe80::1%eth0, is this machine's own affair.
        host = (self._parts.hostname or "").partition("%")[0]
        deadline = self._monotonic() + seconds
        if self._parts.scheme == "http":
            # Without a port, the last part of an IPv6 address would be taken for it.
            plain = http.client.HTTPConnection(host, self._parts.port or http.client.HTTP_PORT)
            plain.sock = self._dialled(plain, deadline)
            return plain
        context = _context(self._address.ca_file)
        secure = http.client.HTTPSConnection(
            host, self._parts.port or http.client.HTTPS_PORT, context=context
        )
        dialled = self._dialled(secure, deadline)
        self._limit(dialled, deadline)
        secure.sock = context.wrap_socket(dialled, server_hostname=host)
        return secure

    def _dialled(self, connection: http.client.HTTPConnection, deadline: float) -> socket.socket:
        """A socket to the first address that answers within its share of the time."""
        host = (self._parts.hostname or "").replace("%25", "%")
        addresses = _addresses(host, connection.port, deadline - self._monotonic())
        for number, (family, kind, protocol, _, address) in enumerate(addresses, 1):
            is_last = number == len(addresses)
            dialled = socket.socket(family, kind, protocol)
            try:
                self._limit(dialled, deadline, 1.0 if is_last else _SHARE)
                dialled.connect(address)
            except OSError:
                dialled.close()
                if is_last:
                    raise
            else:
                dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return dialled
        raise LateAnswer

    def _answer(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        deadline: float,
    ) -> Response:
        # An answer after which the server closes takes the socket away from the connection.
        used = connection.sock
        try:
            self._limit(used, deadline)
            try:
                connection.request(method, self._parts.path + path, body, _coded(headers))
                is_sent = True
            except (BrokenPipeError, ConnectionResetError):
                # A proxy may have answered before it had the whole body, and says why.
                is_sent = False
            self._limit(used, deadline)
            with connection.getresponse() as answer:
                content = b"".join(self._blocks(used, answer, deadline))
            if not is_sent:
                connection.close()
        except BaseException:
            connection.close()
            raise
        self._used = self._monotonic()
        found = {name.lower(): value for name, value in answer.getheaders()}
        if found.get("content-encoding", "").lower() == "gzip" and content:
            content = _inflated(content)
        return Response(answer.status, found, content)

    def _blocks(
        self, used: socket.socket, answer: http.client.HTTPResponse, deadline: float
    ) -> Iterator[bytes]:
        while block := answer.read1(_BLOCK):
            yield block
            self._limit(used, deadline)
        if answer.length:
            raise http.client.IncompleteRead(b"", answer.length)

    def _limit(self, used: socket.socket, deadline: float, share: float = 1.0) -> None:
        """Bound the next call on the socket by a share of the time left."""
        left = deadline - self._monotonic()
        if left <= 0:
            raise LateAnswer
        used.settimeout(left * share)


def _addresses(host: str, port: int, seconds: float) -> list[Any]:
    """The addresses of a host, looked up within a time that `getaddrinfo` does not keep."""
    found: list[list[Any] | Exception] = []

    def look() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except UnicodeError:
            found.append(socket.gaierror(socket.EAI_NONAME, "no name of a machine"))
        except OSError as error:
            found.append(error)

    looking = Thread(target=look, daemon=True)
    looking.start()
    looking.join(seconds)
    if not found:
        raise LateAnswer
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _coded(headers: Mapping[str, str]) -> dict[str, bytes]:
    """Headers as they are sent: in UTF-8, and each in a line."""
    return {name: b" ".join(value.encode(errors="replace").splitlines()) for name, value in headers.items()}


def _context(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        # The server's own certificate will do, also if another authority has signed it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(ca_file)
    return context


def _inflated(content: bytes) -> bytes:
    try:
        return zlib.decompress(content, _GZIP_WBITS)
    except zlib.error as error:
        raise http.client.HTTPException(f"the answer is damaged: {error}") from None
