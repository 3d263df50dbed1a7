"""Proxies: one counts bytes and can lose an answer, one holds answers back."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

BUFFER = 65536


class Proxy(AbstractContextManager["Proxy"]):
    """Passes connections on to a port of this machine.

    `loses` is asked about what the client sends: if it says so, the server gets that, and the client no answer to it.
    """

    def __init__(self, port: int, loses: Callable[[bytes], bool] = lambda _sent: False) -> None:
        self.count = 0
        """Bytes that have passed, in both directions together."""
        self._target = port
        self._loses = loses
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10.0)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                lost = threading.Event()
                for source, target in ((client, server), (server, client)):
                    thread = threading.Thread(
                        target=self._pass, args=(source, target, client, lost), daemon=True
                    )
                    self._threads.append(thread)
                    thread.start()

    def _pass(
        self, source: socket.socket, target: socket.socket, client: socket.socket, lost: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := source.recv(BUFFER):
                if source is client and self._loses(data):
                    lost.set()
                if source is not client and lost.is_set():
                    # The server has answered, so that it has done what it was asked for.
                    break
                self.count += len(data)
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Withholding(BaseHTTPRequestHandler):
    """A proxy that passes on whole answers only, and so no stream."""

    target = 0

    def do_GET(self) -> None:
        """Pass a request on, and then its answer."""
        # Either end may hang up.
        with suppress(OSError, http.client.HTTPException):
            self._pass()

    def _pass(self) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.target, timeout=60.0)
        with closing(upstream):
            upstream.request("GET", self.path, headers=dict(self.headers))
            answer = upstream.getresponse()
            body = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def withholding(port: int) -> Iterator[str]:
    """The URL of a proxy that holds answers back, before a port of this machine."""
    handler = type("Handler", (Withholding,), {"target": port})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
