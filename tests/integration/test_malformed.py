"""Malformed and odd HTTP, byte by byte: refused or answered, and never a fault."""

from __future__ import annotations

import json

import pytest

from tests.daemon import Daemon
from tests.integration import wire
from tests.integration.wire import CLIENT_ID, HOST, NAME, OLD, PLACE

pytestmark = pytest.mark.integration

_GET = b"GET /health HTTP/1.1\r\n" + HOST
_POST = b"POST /projects/demo/lock HTTP/1.1\r\n" + HOST
_PUT = f"PUT {PLACE}/files/{NAME} HTTP/1.1\r\nX-Client-Id: {CLIENT_ID}\r\n".encode() + HOST
_CHUNKED = _PUT + b"Transfer-Encoding: chunked\r\n\r\n"

MALFORMED = {
    "garbage": b"garbage\r\n\r\n",
    "garbage lines": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n" * 3,
    "binary": bytes(range(256)) * 8 + b"\r\n\r\n",
    "bare line feeds": b"GET /health HTTP/1.1\nHost: x\n\n",
    "no version": b"GET /health\r\n\r\n",
    "a version that is none": b"GET /health HTTP/x\r\n" + HOST + b"\r\n",
    "too many words": b"GET /health HTTP/1.1 please now\r\n" + HOST + b"\r\n",
    "a giant request line": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a giant line without an end": b"GET /" + b"a" * 1_000_000,
    "a giant header": _GET + b"X-Large: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "600 headers": _GET + b"".join(b"X-%d: y\r\n" % n for n in range(600)) + b"\r\n",
    "600 kB of headers": _GET + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 6000) for n in range(100)) + b"\r\n",
    "a header without a colon": _GET + b"nonsense\r\n\r\n",
    "a space before the colon": _GET + b"Content-Length : 5\r\n\r\nhello",
    "length abc": _POST + b"Content-Length: abc\r\n\r\n",
    "length -1": _POST + b"Content-Length: -1\r\n\r\n",
    "length +5": _POST + b"Content-Length: +5\r\n\r\nhello",
    "length 1_0": _POST + b"Content-Length: 1_0\r\n\r\n",
    "length 0x5": _POST + b"Content-Length: 0x5\r\n\r\nhello",
    "no length": _POST + b"Content-Length:\r\n\r\n",
    "a length of 5000 digits": _POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "two lengths": _POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "length and chunks": _PUT + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "an unknown transfer encoding": _PUT + b"Transfer-Encoding: gzip\r\n\r\nhello",
    "chunk size zz": _CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n",
    "chunk size -1": _CHUNKED + b"-1\r\nhello\r\n0\r\n\r\n",
    "chunk size 0x5": _CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "an empty chunk size": _CHUNKED + b"\r\nhello\r\n0\r\n\r\n",
    "a chunk size of 5000 digits": _CHUNKED + b"f" * 5000 + b"\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than its size": _CHUNKED + b"3\r\nhello\r\n0\r\n\r\n",
    "a giant chunk extension": _CHUNKED + b"5;" + b"x" * 1_000_000 + b"\r\nhello\r\n0\r\n\r\n",
    "a giant trailer": _CHUNKED + b"5\r\nhello\r\n0\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
}  # fmt: skip

ODD = {
    "no Host": b"GET /health HTTP/1.1\r\n\r\n",
    "HTTP/1.0": b"GET /health HTTP/1.0\r\n\r\n",
    "HTTP/9.9": b"GET /health HTTP/9.9\r\n" + HOST + b"\r\n",
    "a NUL in a header": _GET + b"X-A: a\x00b\r\n\r\n",
    "a folded header": _GET + b"X-A: a\r\n b\r\n\r\n",
    "an empty header name": _GET + b": x\r\n\r\n",
    "an absolute URL": b"GET http://localhost/health HTTP/1.1\r\n" + HOST + b"\r\n",
    "an authority": b"CONNECT example.org:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path without a slash": b"GET health HTTP/1.1\r\n" + HOST + b"\r\n",
    "an unknown method": b"BREW /projects/demo/lock HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method of bytes": b"\xff\xfe /projects/demo/lock HTTP/1.1\r\n" + HOST + b"\r\n",
    "a lower-case method": b"get /health HTTP/1.1\r\n" + HOST + b"\r\n",
    "bytes in the path": b"GET /projects/\xff\xfe\xe9/lock HTTP/1.1\r\n" + HOST + b"\r\n",
    "UTF-8 in the path": b"GET /projects/\xce\xbc/lock HTTP/1.1\r\n" + HOST + b"\r\n",
    "bytes in the query": b"GET /health?\xff=\xfe&%ZZ HTTP/1.1\r\n" + HOST + b"\r\n",
    "semicolons": b"GET /projects/demo;x=y/lock;z HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment": b"GET /health#top HTTP/1.1\r\n" + HOST + b"\r\n",
    "double slashes": b"GET //projects//demo//lock HTTP/1.1\r\n" + HOST + b"\r\n",
    "a long path": b"GET /projects" + b"/a" * 4000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a form": _POST
    + b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 11\r\n\r\n--x\r\n\xff\xfe\r\nab",
    "a broken form": _POST + b"Content-Type: multipart/form-data\r\nContent-Length: 5\r\n\r\nhello",
    "a form on an upload": _PUT
    + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 5\r\n\r\na=%ZZ",
    "an upgrade": _GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "pipelined": (_GET + b"\r\n") * 50,
    "strange content types": _PUT + b"Content-Type: \xff;;==\r\nContent-Length: 5\r\n\r\nhello",
    "two client ids": _POST + b"X-Client-Id: a\r\nX-Client-Id: b\r\nContent-Length: 0\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed_http_is_refused(daemon: Daemon, data: bytes) -> None:
    """What is no HTTP gets an error in JSON of the 400 class, or a closed connection."""
    answer = wire.exchange(daemon, data, end=not data.endswith(b"\r\n"))
    if answer is not None:
        assert isinstance(json.loads(answer.body)["error"], str)
        assert 400 <= answer.status < 500, answer
    wire.assert_serves(daemon, OLD)
    wire.assert_locked(daemon)


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_odd_http_is_no_fault(daemon: Daemon, data: bytes) -> None:
    """What is odd, but may be HTTP, is answered without a fault, errors in JSON, or the connection is closed."""
    answer = wire.exchange(daemon, data)
    if answer is not None:
        assert answer.status < 500 or answer.status in (501, 505)
        if answer.status >= 400:
            wire.assert_wire_error(answer)


def test_a_malformed_request_after_a_good_one_is_refused(daemon: Daemon) -> None:
    """On a kept-alive connection too, what is no HTTP is refused, after the answer to what was."""
    with wire.connect(daemon) as connection:
        connection.sendall(wire.head("GET", "/health"))
        first = wire.read(connection)
        assert first is not None
        assert first.status == 200
        connection.sendall(b"garbage\r\n\r\n")
        second = wire.read(connection)
        assert second is None or second.status == 400
