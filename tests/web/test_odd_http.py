"""Malformed and odd HTTP, byte by byte: refused or answered, and never a fault."""

from __future__ import annotations

import json

import pytest
from twisted.logger import LogLevel, capturedLogs

from tests.web.connections import Server

_HOST = b"Host: localhost\r\n"
_GET = b"GET /health HTTP/1.1\r\n" + _HOST
_POST = b"POST /projects/demo/lock HTTP/1.1\r\n" + _HOST
_PUT = b"PUT /projects/demo/files/summary.md HTTP/1.1\r\nX-Client-Id: laptop\r\n" + _HOST
_CHUNKED = _PUT + b"Transfer-Encoding: chunked\r\n\r\n"

MALFORMED = {
    "garbage": b"garbage\r\n\r\n",
    "garbage lines": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n" * 3,
    "binary": bytes(range(256)) * 8 + b"\r\n\r\n",
    "bare line feeds": b"GET /health HTTP/1.1\nHost: x\n\n",
    "no version": b"GET /health\r\n\r\n",
    "a version that is none": b"GET /health HTTP/x\r\n" + _HOST + b"\r\n",
    "too many words": b"GET /health HTTP/1.1 please now\r\n" + _HOST + b"\r\n",
    "a giant request line": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n",
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
    "HTTP/9.9": b"GET /health HTTP/9.9\r\n" + _HOST + b"\r\n",
    "a NUL in a header": _GET + b"X-A: a\x00b\r\n\r\n",
    "a folded header": _GET + b"X-A: a\r\n b\r\n\r\n",
    "an empty header name": _GET + b": x\r\n\r\n",
    "an absolute URL": b"GET http://localhost/health HTTP/1.1\r\n" + _HOST + b"\r\n",
    "an authority": b"CONNECT example.org:443 HTTP/1.1\r\n" + _HOST + b"\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a path without a slash": b"GET health HTTP/1.1\r\n" + _HOST + b"\r\n",
    "an unknown method": b"BREW /projects/demo/lock HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a method of bytes": b"\xff\xfe /projects/demo/lock HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a lower-case method": b"get /health HTTP/1.1\r\n" + _HOST + b"\r\n",
    "bytes in the path": b"GET /projects/\xff\xfe\xe9/lock HTTP/1.1\r\n" + _HOST + b"\r\n",
    "UTF-8 in the path": b"GET /projects/\xce\xbc/lock HTTP/1.1\r\n" + _HOST + b"\r\n",
    "bytes in the query": b"GET /health?\xff=\xfe&%ZZ HTTP/1.1\r\n" + _HOST + b"\r\n",
    "semicolons": b"GET /projects/demo;x=y/lock;z HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a fragment": b"GET /health#top HTTP/1.1\r\n" + _HOST + b"\r\n",
    "double slashes": b"GET //projects//demo//lock HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a long path": b"GET /projects" + b"/a" * 4000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n",
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
def test_malformed_http_is_refused(data: bytes) -> None:
    """Errors of the 400 class come in JSON, or nothing; head and lock stay."""
    server = Server()
    server.stub.acquire("laptop")
    assert server.stub.upload("laptop", "old", "summary.md").status == 200
    client = server.connect()
    client.send(data)
    client.hang_up()
    if client.statuses:
        assert 400 <= client.statuses[-1] < 500
        assert json.loads(client.transport.value().rpartition(b"\r\n\r\n")[2])["error"]
    assert server.stub.ask("GET", "/projects/demo/files/summary.md").json["content"] == "old"
    assert server.stub.ask("GET", "/projects/demo/lock").json["lock"]["clientId"] == "laptop"


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_odd_http_is_no_fault(data: bytes) -> None:
    """Errors come in JSON, and none of them is a fault."""
    client = Server().connect()
    with capturedLogs() as events:
        client.send(data)
    assert all(status < 500 or status in (501, 505) for status in client.statuses)
    if client.statuses and client.statuses[-1] >= 400:
        assert client.error
    assert [event for event in events if event["log_level"] >= LogLevel.error] == []
