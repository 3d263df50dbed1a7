"""A server in this process that remembers every byte it was sent, and answers whatever a test wants."""

from __future__ import annotations

import json
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

Answer = bytes | None
"""What is sent back: None hangs up."""

Answering = Callable[[bytes], Answer]

_PATH = re.compile(rb"^(\w+) (\S+) HTTP/1.1\r\n")
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n")


class Tiny:
    """The server. `connections` has, for each connection there was, the requests that came over it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connections: list[list[bytes]] = []


@contextmanager
def serving(answering: Answering) -> Iterator[Tiny]:
    """A server that answers as it is told, for as long as this lasts."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            seen: list[bytes] = []
            tiny.connections.append(seen)
            with suppress(OSError):
                _converse(self.request, seen, answering)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as server:
        tiny = Tiny(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield tiny
        finally:
            server.shutdown()
            thread.join()


def _converse(connection: socket.socket, seen: list[bytes], answering: Answering) -> None:
    received = b""
    while True:
        while (end := _end(received)) is None:
            block = connection.recv(1 << 16)
            if not block:
                return
            received += block
        request, received = received[:end], received[end:]
        seen.append(request)
        answer = answering(request)
        if answer is None:
            return
        connection.sendall(answer)


def _end(received: bytes) -> int | None:
    """Where the first request ends, if it is there as a whole."""
    blank = received.find(b"\r\n\r\n")
    if blank < 0:
        return None
    head = blank + 4
    if b"\r\nTransfer-Encoding: chunked\r\n" in received[:head]:
        last = received.find(b"\r\n0\r\n\r\n", head)
        return last + 7 if last >= 0 else None
    found = _LENGTH.search(received[:head])
    whole = head + (int(found[1]) if found else 0)
    return whole if len(received) >= whole else None


def answer(body: object, status: int = 200) -> bytes:
    """An answer in JSON."""
    content = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return b"HTTP/1.1 %d Fine\r\nContent-Length: %d\r\n\r\n%b" % (status, len(content), content)


def right(memory: Mapping[str, str]) -> Answering:
    """The answers of a good server to a session: a project with this memory, to be pulled and then to be pushed.

    The files are newer here until they have been downloaded, and older from then on.
    """

    def answering(request: bytes) -> Answer:
        found = _PATH.match(request)
        assert found, request[:80]
        method, place = found[1].decode(), found[2].decode()
        if place.endswith("/lock"):
            return answer({"success": True, "lock": {}, "locked": False})
        if place.endswith("/files"):
            return answer({"files": [{"name": name, "mtime": mtimes.get(name, LATER)} for name in memory]})
        if method == "PUT":
            return answer({"success": True, "mtime": EARLIER})
        name = place.rsplit("/", 1)[1]
        if name in memory:
            mtimes[name] = EARLIER
            return answer({"content": memory[name], "mtime": LATER})
        return answer({"status": "ok"})

    mtimes: dict[str, str] = {}
    return answering


EARLIER, LATER = "1970-01-01T00:00:00.000Z", "2100-01-01T00:00:00.000Z"
