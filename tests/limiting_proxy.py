"""A reverse proxy with limits, such as nginx without a configuration.

It is a real one, on a port of this machine. It takes a whole request before it sends it on (buffering), asks the server
in HTTP/1.0, and answers errors of its own in HTML.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self, cast

_PAGE = b"<html>\r\n<head><title>%d</title></head>\r\n<body>\r\n<center><h1>%d</h1></center>\r\n</body>\r\n</html>\r\n"
_HOP_BY_HOP = ("connection", "content-length", "transfer-encoding")

Refuses = Callable[[str, str], int | None]
"""Asked with method and path: the status of the proxy's own page in place of the answer; None: the answer."""


def nothing(_method: str, _path: str) -> None:
    """The proxy refuses nothing but large bodies."""


class LimitingProxy(AbstractContextManager["LimitingProxy"]):
    """A proxy in front of a local port, for bodies of at most `limit` bytes.

    With `hangs_up`, it closes the connection of a large body as soon as it has answered, without reading it.
    """

    def __init__(
        self, port: int, limit: int = 1024 * 1024, refuses: Refuses = nothing, *, hangs_up: bool = False
    ) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.port = port
        self._server.limit = limit
        self._server.refuses = refuses
        self._server.hangs_up = hangs_up
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """URL of the proxy."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10.0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    port: int
    limit: int
    refuses: Refuses
    hangs_up: bool


class _Upstream(http.client.HTTPConnection):
    _http_vsn_str = "HTTP/1.0"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        with suppress(OSError):
            super().handle_one_request()

    def _pass(self) -> None:
        server, size = cast(_Server, self.server), int(self.headers.get("Content-Length", 0))
        if size > server.limit:
            self._page(413, unread=0 if server.hangs_up else size)
            return
        body = self.rfile.read(size)
        status = server.refuses(self.command, self.path)
        if status:
            self._page(status)
        else:
            self._send_on(body, server.port)

    do_GET = do_PUT = do_POST = do_DELETE = _pass

    def _send_on(self, body: bytes, port: int) -> None:
        upstream = _Upstream("127.0.0.1", port, timeout=30.0)
        kept = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        try:
            upstream.request(self.command, self.path, body, {**kept, "Connection": "close"})
            answer = upstream.getresponse()
            content = answer.read()
        except OSError:
            self._page(502)
            return
        finally:
            upstream.close()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _page(self, status: int, unread: int = 0) -> None:
        page = _PAGE % (status, status)
        self.send_response_only(status)
        self.send_header("Server", "nginx")
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(page)
        self.close_connection = True
        while unread > 0 and (block := self.rfile.read(min(unread, 65536))):
            unread -= len(block)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
