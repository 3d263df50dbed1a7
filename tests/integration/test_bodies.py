"""Large bodies over real sockets; `tests/web` has all others."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.daemon import Daemon
from tests.integration import wire
from tests.integration.wire import LIMIT, NAME, OLD, PLACE, PROJECT, UPLOADER
from tests.plugin_files import log
from tests.stock_client import envelope

pytestmark = pytest.mark.integration

PUT = ("PUT", f"{PLACE}/files/{NAME}", *UPLOADER)


def test_a_413_reaches_a_client_that_sends_its_whole_body(daemon: Daemon) -> None:
    """The stock client sends all before it reads, and must not find a broken connection."""
    with wire.client(daemon) as client:
        answer = client.upload(PROJECT, NAME, log(5, LIMIT).decode("utf-8"))
    assert answer.status == 413
    wire.assert_serves(daemon, OLD)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_exactly_the_limit_is_taken(daemon: Daemon, chunked: bool) -> None:
    """The limit itself is within the limit."""
    content = "x" * (LIMIT - len(envelope("")))
    answer = wire.exchange(daemon, wire.upload(envelope(content), chunked=chunked))
    assert answer is not None
    assert answer.status == 200
    wire.assert_serves(daemon, content)


def test_a_large_file_travels_compressed_both_ways(daemon: Daemon) -> None:
    """Next to clients that hang up in the middle of it."""
    large = log(7, 5_000_000).decode("utf-8")
    body = gzip.compress(envelope(large))
    answer = wire.exchange(
        daemon, wire.head(*PUT, "Content-Encoding: gzip", f"Content-Length: {len(body)}") + body
    )
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
