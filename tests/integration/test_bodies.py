"""Bodies over the limit, at the limit, and those that are no envelope or no text."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.daemon import Daemon
from tests.integration import wire
from tests.integration.wire import CLIENT_ID, HOLDER, LIMIT, NAME, NEW, OLD, PLACE, PROJECT, UPLOADER
from tests.plugin_files import log
from tests.stock_client import envelope

pytestmark = pytest.mark.integration


def test_a_body_over_the_limit_is_refused_before_it_is_sent(daemon: Daemon) -> None:
    """On a Content-Length over the limit the 413 comes though nothing but the headers was sent."""
    for length in (LIMIT + 1, 2**31, 2**63, 10**30):
        head = wire.head("PUT", f"{PLACE}/files/{NAME}", *UPLOADER, f"Content-Length: {length}")
        wire.assert_wire_error(wire.exchange(daemon, head), 413)
        expecting = head[:-2] + b"Expect: 100-continue\r\n\r\n"
        wire.assert_wire_error(wire.exchange(daemon, expecting), 413)
    wire.assert_serves(daemon, OLD)
    wire.assert_locked(daemon)


def test_a_chunked_body_is_refused_as_soon_as_it_passes_the_limit(daemon: Daemon) -> None:
    """A chunked body gets its 413 while it is still being sent."""
    chunk = b"%x\r\n%b\r\n" % (1 << 20, b"x" * (1 << 20))
    head = wire.head("PUT", f"{PLACE}/files/{NAME}", *UPLOADER, "Transfer-Encoding: chunked")
    wire.assert_wire_error(wire.exchange(daemon, head + chunk * 10 + b"1\r\nx\r\n"), 413)
    endless = b"%x\r\n" % (1 << 40) + b"x" * (LIMIT + 1)
    wire.assert_wire_error(wire.exchange(daemon, head + endless), 413)
    wire.assert_serves(daemon, OLD)
    wire.assert_locked(daemon)


def test_a_413_reaches_a_client_that_sends_its_whole_body(daemon: Daemon) -> None:
    """The stock client sends all of a body before it reads: it must get the 413, not a broken connection."""
    content = log(5, LIMIT).decode("utf-8")
    with wire.client(daemon) as client:
        answer = client.upload(PROJECT, NAME, content)
    assert answer.status == 413
    wire.assert_serves(daemon, OLD)


def test_a_body_of_exactly_the_limit_is_taken(daemon: Daemon) -> None:
    """The limit itself is within the limit, with a Content-Length and chunked."""
    content = "x" * (LIMIT - len(envelope("")))
    for number, chunked in enumerate((False, True)):
        body = envelope(str(number) + content[1:])
        assert len(body) == LIMIT
        answer = wire.exchange(daemon, wire.upload(body, chunked=chunked))
        assert answer is not None
        assert answer.status == 200
        wire.assert_serves(daemon, str(number) + content[1:])


@pytest.mark.parametrize(
    ("method", "rest"), [("POST", "lock"), ("DELETE", "lock"), ("POST", "lock/heartbeat"), ("GET", "files")]
)
def test_a_body_over_the_limit_is_refused_everywhere(daemon: Daemon, method: str, rest: str) -> None:
    """Places that want no body do not swallow one of any size either."""
    head = wire.head(method, f"{PLACE}/{rest}", f"X-Client-Id: {CLIENT_ID}", f"Content-Length: {LIMIT + 1}")
    wire.assert_wire_error(wire.exchange(daemon, head), 413)
    wire.assert_locked(daemon)


def test_the_limit_can_be_configured(tmp_path: Path) -> None:
    """`maxBodyBytes` moves the limit for both ways of sending a body."""
    with Daemon(tmp_path, {"maxBodyBytes": 200_000}) as daemon, wire.client(daemon) as client:
        client.acquire(PROJECT)
        assert client.upload(PROJECT, NAME, OLD).status == 200
        wire.assert_error(client.upload(PROJECT, NAME, log(6, 200_000).decode("utf-8")), 413)
        body = envelope(log(6, 200_000).decode("utf-8"))
        wire.assert_wire_error(wire.exchange(daemon, wire.upload(body, chunked=False)), 413)
        wire.assert_serves(daemon, OLD)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b'"text"',
        b"[]",
        b"{}",
        b'{"content":null}',
        b'{"content":1}',
        b'{"content":["x"]}',
        b'{"content":"x"',
        b'{"content":"x"} trailing',
        b'{"content":"\xff\xfe"}',
        b'{"content":"\xed\xa0\x80"}',
        b'{"content":"\\ud800"}',
        b'{"content":"a\\udc00b"}',
        b'{"content":"\\ud83e"}',
        b'{"content":"raw \n newline"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe{\x00}\x00",
        b"\x00" * 1000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_an_unusable_body_is_400_and_changes_nothing(daemon: Daemon, body: bytes) -> None:
    """What is no envelope with a string of valid text is refused, with its length and chunked."""
    for chunked in (False, True):
        wire.assert_wire_error(wire.exchange(daemon, wire.upload(body, chunked=chunked)), 400)
    wire.assert_serves(daemon, OLD)
    wire.assert_locked(daemon)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/octet-stream", "application/x-ndjson", "text/markdown; charset=utf-8"]
)
def test_a_raw_body_that_is_no_text_is_400(daemon: Daemon, kind: str) -> None:
    """A raw body is the content, so it must be UTF-8."""
    headers = {**HOLDER, "Content-Type": kind}
    for body in (b"\xff\xfe", b"ok\xc3", b"\xed\xa0\x80", b""):
        status, answer = daemon.ask("PUT", f"{PLACE}/files/{NAME}", headers=headers, body=body)
        assert status == 400, (body, answer)
    wire.assert_serves(daemon, OLD)
    status, _ = daemon.ask("PUT", f"{PLACE}/files/{NAME}", headers=headers, body=NEW.encode("utf-8"))
    assert status == 200
    wire.assert_serves(daemon, NEW)


def test_a_large_file_travels_compressed_both_ways(daemon: Daemon) -> None:
    """Inflated and deflated on threads, next to clients that hang up in the middle of it."""
    large = log(7, 5_000_000).decode("utf-8")
    body = gzip.compress(envelope(large))
    headers = (*UPLOADER, "Content-Encoding: gzip", f"Content-Length: {len(body)}")
    answer = wire.exchange(daemon, wire.head("PUT", f"{PLACE}/files/{NAME}", *headers) + body)
    assert answer is not None
    assert answer.status == 200
    asking = wire.head("GET", f"{PLACE}/files/{NAME}", "Accept-Encoding: gzip")
    for number in range(20):
        connection = wire.connect(daemon)
        connection.sendall(asking)
        wire.hang_up(connection, reset=number % 2 == 0)
    answer = wire.exchange(daemon, asking)
    assert answer is not None
    assert answer.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(answer.body))["content"] == large
    wire.wait_until_alone(daemon)
    wire.assert_serves(daemon, large)


def test_a_body_that_inflates_beyond_the_limit_is_refused(daemon: Daemon) -> None:
    """Like one that comes as it is."""
    body = gzip.compress(bytes(20 * LIMIT))
    headers = (*UPLOADER, "Content-Encoding: gzip", f"Content-Length: {len(body)}")
    wire.assert_wire_error(
        wire.exchange(daemon, wire.head("PUT", f"{PLACE}/files/{NAME}", *headers) + body), 413
    )
    wire.assert_serves(daemon, OLD)
    wire.assert_locked(daemon)
