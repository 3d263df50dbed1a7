"""Heads of requests, in whatever pieces they come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.connections import Server

_METHODS = st.sampled_from([b"GET", b"HEAD", b"PUT", b"POST", b"DELETE", b"OPTIONS", b"PATCH", b"get"])
_TARGETS = st.sampled_from(
    [
        *(
            b"/health",
            b"/projects/demo/files?x=1",
            b"/projects/demo/lock",
            b"/projects/a%2Fb/files/log.jsonl",
        ),
        *(b"/projects/%zz/lock", b"//", b"/projects/caf\xc3\xa9/lock"),
        *(b"http://x/health", b"*", b"health", b"/ health"),
    ]
)
_HEADERS = st.lists(
    st.sampled_from(
        [
            *(
                b"Host: x",
                b"host:x",
                b"X-Client-Id: laptop",
                b"X-Client-Id:\tlaptop ",
                b"X-Client-Id: caf\xe9",
            ),
            *(b"Connection: keep-alive", b"Connection: close", b"Expect: 100-continue", b"Cookie: a=b"),
            *(b"Content-Length: 0", b"Content-Length: 4", b"Content-Length: 4, 4", b"Content-Length: -1"),
            *(b"Content-Length: " + b"9" * 5000, b"Content-Type: text/plain"),
            *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip"),
            *(b" folded", b"no colon", b"in valid: x", b": x", b"x: a\x00b", b"x: a\rb"),
        ]
    ),
    max_size=5,
)
_VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP"])
_REST = st.sampled_from([b"", b"abcd", b"4\r\nabcd\r\n0\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"])


@given(st.lists(st.tuples(_METHODS, _TARGETS, _VERSIONS, _HEADERS, _REST), min_size=1, max_size=3))
def test_requests_that_come_whole_are_answered_like_those_that_come_in_pieces(
    requests: list[tuple[bytes, bytes, bytes, list[bytes], bytes]],
) -> None:
    """By the same bytes, and with a sentence where they are no HTTP."""
    sent = b"".join(
        b"\r\n".join([b"%b %b %b" % (method, target, version), *headers, b"", rest])
        for method, target, version, headers, rest in requests
    )
    whole, cut = Server().connect(), Server().connect()
    whole.send(sent)
    cut.send(sent[:1])
    cut.send(sent[1:])
    assert whole.ends_like(cut)
    # Of a body, twisted.web itself says so, and says no more.
    assert b"chunked" in sent or b"400 Bad Request\r\n\r\n" not in whole.transport.value()


@pytest.mark.parametrize("header", [b"a: " + b"x" * 17_000, b"\r\n".join([b"a:"] * 600)])
def test_a_head_that_is_too_large_is_refused_although_it_is_whole(header: bytes) -> None:
    """The bounds of bytes and of headers hold on either way."""
    client = Server().connect()
    client.send(b"GET /health HTTP/1.1\r\n" + header + b"\r\n\r\n")
    assert client.statuses == [400]
