"""Bounds of connections and their bodies: sizes, times, memory, numbers."""

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from mneme.web import connection as connection_module
from mneme.web.connection import RECEIVE_SECONDS, Channel
from mneme.web.policy import Policy
from mneme.web.proxies import TrustedProxies
from mneme.web.receipts import IDLE_SECONDS, LINGER_SECONDS
from mneme.web.site import TurnedAway
from tests.kept import MemoryStore
from tests.stepped import SteppedSteps
from tests.web.connections import PEER, Server, Transport

PUT = b"PUT /projects/demo/files/log.jsonl HTTP/1.1\r\nHost: x\r\nX-Client-Id: laptop\r\nContent-Type: text/plain\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_body_that_says_it_is_too_long_is_refused_before_a_byte_of_it() -> None:
    """Even one that first asks whether it may come: the invitation stays out."""
    client = Server().connect()
    client.send(PUT + b"Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n")
    assert (client.statuses, client.transport.half_closed) == ([413], True)
    assert "1000 bytes" in client.error


def test_a_chunked_body_is_refused_as_soon_as_it_passes_the_limit() -> None:
    """Neither before that, nor at its end; one of just the limit is taken."""
    client = Server().connect()
    for more, statuses in ((b"0\r\n\r\n", [403]), (b"1\r\nx\r\n", [403, 413])):
        client.send(PUT + b"Transfer-Encoding: chunked\r\n\r\n")
        client.send(b"258\r\n" + b"x" * 600 + b"\r\n" + b"190\r\n" + b"x" * 400 + b"\r\n")
        assert client.statuses == statuses[:-1]
        client.send(more)
        assert client.statuses == statuses


def test_bytes_that_a_refused_client_still_sends_are_read_and_forgotten() -> None:
    """The client has one answer, and is cut off after a while."""
    server = Server()
    client = server.connect()
    client.send(PUT + b"Content-Length: 2000\r\n\r\n" + b"x" * 500)
    client.send(b"x" * 1500 + GET)
    assert (client.statuses, server.site.held) == ([413], 0)
    server.clock.advance(LINGER_SECONDS)
    assert client.transport.aborted


def test_a_server_that_ends_does_not_wait_for_a_refused_client() -> None:
    """Although its request is not here whole."""
    server = Server()
    client = server.connect()
    client.send(PUT + b"Content-Length: 2000\r\n\r\n" + b"x" * 500)
    Deferred.fromCoroutine(server.site.close(8.0))
    assert client.transport.aborted


@pytest.mark.parametrize(
    "data",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET /health\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"G<T /health HTTP/1.1\r\n\r\n",
        b"GET /hea\xffth HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /health HTTP/1.1\r\nna me: x\r\n\r\n",
        PUT + b"Content-Length: abc\r\n\r\n",
        PUT + b"Content-Length: -1\r\n\r\n",
        PUT + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        PUT + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        PUT + b"Transfer-Encoding: gzip\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /" + b"x" * 20_000,
        b"GET /health HTTP/1.1\r\n" + b"X-Filler: y\r\n" * 600 + b"\r\n",
        b"GET /health HTTP/1.1\r\nX-Filler: " + b"y" * 9_000 + b"\r\nX-More: " + b"y" * 9_000 + b"\r\n\r\n",
    ],
)
def test_bytes_that_are_no_http_are_answered_in_json(data: bytes) -> None:
    """400 and a sentence; then the connection closes, and nothing more is read."""
    client = Server().connect()
    client.send(data)
    assert (client.statuses, client.transport.half_closed) == ([400], True)
    assert client.error
    client.send(GET)
    assert client.statuses == [400]


def test_a_chunk_that_is_none_is_400_and_closes_the_connection() -> None:
    """With a line in the log; only the usual headers are missing."""
    client = Server().connect()
    with capturedLogs() as events:
        client.send(PUT + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert (client.statuses, client.transport.half_closed) == ([400], True)
    assert client.transport.value().endswith(b'\r\n\r\n{"error":"Malformed HTTP request"}')
    assert "Malformed HTTP request" in str(formatEvent(events[-1]))


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET http://x:1/health", 200),
        (b"GET https://x/health?y", 200),
        (b"GET http://x", 200),
        (b"GET *", 404),
        (b"OPTIONS *", 204),
    ],
)
def test_a_target_may_be_a_whole_url_or_a_star(line: bytes, status: int) -> None:
    """A URL counts by its path; no answer is HTML."""
    client = Server().connect()
    client.send(line + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.statuses == [status]
    assert b"html" not in client.transport.value()


@pytest.mark.parametrize("host", [b"\xff\xfe", b"..", b"a" * 300, b"[::1", b"x:y"])
def test_an_odd_host_header_does_no_harm(host: bytes) -> None:
    """Routes don't depend on it."""
    client = Server().connect()
    client.send(b"GET /health HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert client.statuses == [200]


def test_a_connection_that_says_nothing_is_closed() -> None:
    """After the idle time."""
    server = Server()
    client = server.connect()
    server.clock.advance(IDLE_SECONDS)
    assert client.transport.disconnecting


def test_a_request_that_trickles_in_is_cut_off() -> None:
    """Although each byte is news to the idle timer."""
    server = Server()
    client = server.connect()
    client.send(b"GET /health HTTP/1.1\r\nX-Slow: ")
    for _ in range(int(RECEIVE_SECONDS)):
        client.send(b"x")
        server.clock.advance(1)
    assert client.statuses == [408]


def test_a_connection_whose_next_request_has_begun_is_not_idle() -> None:
    """Although its body is still on the way when it would have been."""
    server = Server()
    client = server.connect()
    server.clock.advance(IDLE_SECONDS - 1)
    client.send(PUT + b"Content-Length: 3\r\n\r\n")
    server.clock.advance(2)
    assert not client.transport.disconnecting
    client.send(b"one")
    assert client.statuses == [403]


def test_bodies_are_counted_while_they_are_held_and_no_longer() -> None:
    """Answered or hung up, they are let go."""
    server = Server()
    first, second = server.connect(), server.connect()
    first.send(PUT + b"Content-Length: 900\r\n\r\n" + b"x" * 500)
    second.send(PUT + b"Content-Length: 300\r\n\r\n" + b"x" * 200)
    assert server.site.held == 700
    second.hang_up()
    assert server.site.held == 500
    first.send(b"x" * 400)
    assert (first.statuses, server.site.held) == ([403], 0)


def test_more_bodies_than_memory_are_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """503, and those that are held are not harmed."""
    monkeypatch.setattr(connection_module, "MAX_HELD", 1000)
    server = Server()
    first, second = server.connect(), server.connect()
    first.send(PUT + b"Content-Length: 900\r\n\r\n" + b"x" * 899)
    second.send(PUT + b"Content-Length: 900\r\n\r\n" + b"x" * 899)
    assert second.statuses == [503]
    first.send(b"x")
    assert first.statuses == [403]


def test_an_answer_is_counted_until_the_client_has_read_it() -> None:
    """Or until the client hangs up."""
    server = Server()
    slow, gone = server.connect(), server.connect()
    for client in (slow, gone):
        client.transport.full = True
        client.send(GET)
    held = server.site.held
    assert held > 100
    gone.hang_up()
    assert server.site.held == held / 2
    slow.channel.resumeProducing()
    assert server.site.held == 0


def test_answers_to_requests_that_were_sent_at_once_are_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits until the client reads, which may leave only so much unread."""
    server = Server()
    client = server.connect()
    client.transport.full = True
    client.send(GET)
    one = server.site.held
    client.send(GET * 2)
    assert server.site.held == 3 * one
    monkeypatch.setattr(connection_module, "MAX_UNREAD", 4 * one)
    client.send(GET * 3)
    assert client.statuses == [200, 200, 200, 200, 503, 503]
    client.channel.resumeProducing()
    assert server.site.held == 0


def test_uploads_of_clients_that_hung_up_are_counted_until_they_are_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The lane holds them, though no connection does."""
    steps = SteppedSteps(MemoryStore())
    server = Server(steps=steps)
    client = server.connect()
    client.send(PUT + b"Content-Length: 900\r\n\r\n" + b"x" * 900)
    client.hang_up()
    assert (server.site.held, server.stub.sync.abandoned_bytes) == (0, 900)
    monkeypatch.setattr(connection_module, "MAX_HELD", 1000)
    second = server.connect()
    second.send(PUT + b"Content-Length: 900\r\n\r\n" + b"x" * 899)
    assert second.statuses == [503]
    steps.let_go()
    assert server.stub.sync.abandoned_bytes == 0


def test_more_answers_than_memory_are_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that ask and never read get a 503 in place of a file."""
    monkeypatch.setattr(connection_module, "MAX_HELD", 100)
    server = Server()
    clients = [server.connect() for _ in range(3)]
    for client in clients:
        client.transport.full = True
        client.send(GET)
    assert [client.statuses for client in clients] == [[200], [503], [503]]
    assert server.site.held <= 100


def test_the_body_of_a_client_without_a_key_is_not_kept() -> None:
    """Such a request is answered 401 at its end, and takes no memory."""
    server = Server(keys=("alpha-key-0123456789",))
    client = server.connect()
    client.send(PUT + b"Content-Length: 900\r\n\r\n" + b"x" * 899)
    assert server.site.held == 0
    client.send(b"x" + GET)
    assert client.statuses == [401, 200]


ASK = b"GET /projects/demo/lock HTTP/1.1\r\nHost: x\r\n\r\n"


def test_the_connection_that_has_been_idle_longest_gives_way() -> None:
    """First those that never had an answer; never one that is busy."""
    steps = SteppedSteps(MemoryStore())
    server = Server(steps=steps)
    server.site.slots.total = 4
    busy, served, half, unread = (server.connect() for _ in range(4))
    busy.send(ASK)
    served.send(GET)
    half.send(GET[:9])
    unread.transport.full = True
    unread.send(GET)
    server.clock.advance(1)
    half.send(GET[9:12])
    for gone in (half, served):
        assert not gone.transport.disconnecting
        server.connect().send(ASK)
        assert gone.transport.disconnecting
    turned_away, transport = server.site.buildProtocol(None), Transport()
    turned_away.makeConnection(transport)
    assert (transport.aborted, unread.transport.disconnecting) == (True, False)
    unread.hang_up()
    assert isinstance(server.site.buildProtocol(PEER), Channel)
    steps.let_go()
    assert (busy.statuses, busy.transport.disconnecting) == ([200], False)


def test_a_refusal_makes_no_connection_worth_keeping() -> None:
    """As if nothing had been asked."""
    server = Server(keys=("alpha-key-0123456789",))
    server.site.slots.total = 2
    served, refused = server.connect(), server.connect()
    served.send(GET)
    server.clock.advance(1)
    refused.send(ASK)
    assert refused.statuses == [401]
    server.connect()
    assert (served.transport.disconnecting, refused.transport.disconnecting) == (False, True)


@pytest.mark.parametrize(("trusted", "gives_way"), [([], True), (["192.0.2.7"], False)])
def test_an_address_has_so_many_connections_unless_it_is_a_trusted_proxy(
    trusted: list[str], gives_way: bool
) -> None:
    """Its own give way to a new one; a refused one is cut off."""
    server = Server()
    server.site.slots.per_address = 2
    server.site.policy = Policy(proxies=TrustedProxies.parse(trusted))
    refused = server.connect()
    refused.send(b"garbage\r\n\r\n")
    server.clock.advance(1)
    second = server.connect()
    server.connect()
    assert (refused.transport.aborted, second.transport.disconnecting) == (gives_way, False)


def test_closing_waits_for_the_request_under_way_and_not_for_idle_connections() -> None:
    """The answer comes, its connection closes, and then closing is done."""
    steps = SteppedSteps(MemoryStore())
    server = Server(steps=steps)
    idle, busy = server.connect(), server.connect()
    busy.send(b"GET /projects/demo/lock HTTP/1.1\r\nHost: x\r\n\r\n")
    done: list[object] = []
    Deferred.fromCoroutine(server.site.close(8.0)).addCallback(done.append)
    assert (idle.transport.disconnecting, busy.transport.disconnecting) == (True, False)
    assert isinstance(server.site.buildProtocol(None), TurnedAway)
    steps.let_go()
    assert (busy.statuses, busy.transport.disconnecting, done) == ([200], True, [])
    idle.hang_up()
    busy.hang_up()
    assert done == [None]


def test_closing_does_not_wait_for_ever() -> None:
    """A client that never ends its request is cut off."""
    server = Server()
    client = server.connect()
    client.send(PUT + b"Content-Length: 900\r\n\r\n")
    Deferred.fromCoroutine(server.site.close(8.0))
    server.clock.advance(7.9)
    assert not client.transport.aborted
    server.clock.advance(0.2)
    assert client.transport.aborted


def test_a_request_that_arrives_whole_while_closing_is_answered_and_its_connection_closed() -> None:
    """As any that was under way."""
    server = Server()
    client = server.connect()
    client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n")
    Deferred.fromCoroutine(server.site.close(8.0))
    client.send(b"\r\n")
    assert (client.statuses, client.transport.disconnecting) == ([200], True)
    assert b"connection: close" in client.transport.value().lower()


def test_a_client_that_hangs_up_cancels_no_write() -> None:
    """An upload that arrived whole is stored, though nobody waits for the answer."""
    steps = SteppedSteps(MemoryStore(), holding=False)
    server = Server(steps=steps)
    server.stub.acquire()
    steps.holding = True
    client = server.connect()
    client.send(PUT + b"Content-Length: 5\r\n\r\nwhole")
    client.hang_up()
    steps.holding = False
    steps.let_go()
    assert server.stub.download().json["content"] == "whole"


def test_an_upload_cut_short_changes_nothing() -> None:
    """The bytes that arrived are forgotten."""
    server = Server()
    server.stub.acquire()
    client = server.connect()
    client.send(PUT + b"Content-Length: 500\r\n\r\nhalf")
    client.hang_up()
    assert server.stub.ask("GET", "/projects/demo/files").json == {"files": []}


def test_a_refused_upload_leaves_its_line_in_the_log() -> None:
    """With client and place, as any other; bytes that are no request have their address."""
    with capturedLogs() as logged:
        Server().connect().send(PUT + b"Content-Length: 1001\r\n\r\n")
        Server().connect().send(b"garbage\r\n\r\n")
    lines = [str(formatEvent(event)) for event in logged]
    assert lines[0].startswith("192.0.2.7 laptop PUT demo files/log.jsonl 413 ")
    assert lines[0].endswith(" (refused before its end)")
    assert lines[1] == "192.0.2.7 400: Malformed HTTP request"
