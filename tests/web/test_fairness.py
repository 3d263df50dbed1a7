"""Turns of connections, and breaks for those that go on over the rate."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import capturedLogs, formatEvent

from mneme.web.connection import REFUSALS_IN_A_ROW, REQUESTS_IN_A_TURN
from mneme.web.limits import RateLimit
from mneme.web.policy import Policy
from mneme.web.proxies import TrustedProxies
from mneme.web.refusals import LINES, SECONDS, Refusals
from tests.kept import MemoryStore
from tests.stepped import SteppedSteps
from tests.web.connections import Server
from tests.web.stub import FILE, entry

GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
ODD = b"GET /health HTTP/1.1\r\nX_Odd: x\r\n\r\n"
"""A head that only twisted.web reads."""

LOCK = b"GET /projects/demo/lock HTTP/1.1\r\nHost: x\r\n\r\n"
OPTIONS = b"OPTIONS / HTTP/1.1\r\n\r\n"
_ACQUIRE = b"POST /projects/demo/lock HTTP/1.1\r\nX-Client-Id: laptop\r\n\r\n"
_PUT = b"PUT /projects/demo/files/log.jsonl HTTP/1.1\r\nX-Client-Id: laptop\r\nContent-Type: text/plain\r\n"
UPLOAD = _PUT + b"Content-Length: 4\r\n\r\none\n"
CHUNKED = _PUT + b"Transfer-Encoding: chunked\r\n\r\n4\r\ntwo\n\r\n0\r\n\r\n"
OVERSIZED = _PUT + b"Content-Length: 5000\r\n\r\n"
LAST = b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("request_bytes", [GET, ODD, UPLOAD, CHUNKED, GET + ODD])
def test_so_many_requests_of_a_connection_are_answered_in_a_turn(request_bytes: bytes) -> None:
    """The rest when the reactor comes to it again, whichever way they are read."""
    server = Server()
    client, other = server.connect(), server.connect()
    total = 100 * request_bytes.count(b"HTTP/1.1")
    client.send(request_bytes * 100)
    assert len(client.statuses) == REQUESTS_IN_A_TURN
    assert client.transport.producerState == "paused"
    other.send(GET)
    assert other.statuses == [200]
    client.send(GET)
    server.clock.advance(0)
    assert len(client.statuses) == total + 1
    assert client.transport.producerState == "producing"


def test_requests_that_wait_for_the_disk_keep_their_order() -> None:
    """Those that came before the break, in it and after it."""
    steps = SteppedSteps(MemoryStore())
    server = Server(steps=steps)
    client = server.connect()
    client.send((LOCK + GET) * 30)
    for _ in range(70):
        client.send(GET[:7])
        steps.let_go()
        client.send(GET[7:])
        server.clock.advance(0)
    assert client.statuses == [200] * 130
    bodies = re.findall(rb"\{[^\r]*\}", client.transport.value())
    assert [b"lock" in body for body in bodies] == [True, False] * 30 + [False] * 70


def test_a_request_from_before_the_break_comes_before_those_in_it() -> None:
    """Also when the request that waits for the disk is answered in it."""
    steps = SteppedSteps(MemoryStore())
    server = Server(steps=steps)
    client = server.connect()
    client.send(GET * (REQUESTS_IN_A_TURN - 1) + UPLOAD + GET[:7])
    client.send(GET[7:])
    steps.let_go()
    assert client.statuses == [200] * (REQUESTS_IN_A_TURN - 1) + [403]
    server.clock.advance(0)
    assert client.statuses == [200] * (REQUESTS_IN_A_TURN - 1) + [403, 200]


_KINDS = st.sampled_from([GET, ODD, LOCK, OPTIONS, _ACQUIRE, UPLOAD, CHUNKED, b"\r\n" + GET])
_ENDS = st.sampled_from([b"", GET[:20], LAST, LAST + GET, OVERSIZED, b"garbage\r\n\r\n" + GET])


@given(
    st.lists(_KINDS, min_size=14, max_size=40),
    _ENDS,
    st.lists(st.integers(1, 600), max_size=12),
    st.booleans(),
)
def test_the_answers_are_those_of_one_request_after_the_other(
    requests: list[bytes], end: bytes, cuts: list[int], turns: bool
) -> None:
    """In whatever pieces they come, with a turn of the reactor between these or not."""
    one_by_one, server = Server(), Server()
    expected, client = one_by_one.connect(), server.connect()
    for request in [*requests, end]:
        expected.send(request)
        one_by_one.clock.advance(0)
    sent = b"".join([*requests, end])
    for cut in cuts:
        client.send(sent[:cut])
        sent = sent[cut:]
        if turns:
            server.clock.advance(0)
    client.send(sent)
    server.clock.advance(0)
    assert client.ends_like(expected)
    assert server.site.held == 0


def test_a_connection_that_is_lost_or_closed_in_its_break_leaves_no_timer() -> None:
    """The rest that it had sent is forgotten."""
    server = Server()
    for end in ("hang up", "close"):
        client = server.connect()
        client.send(GET * 40)
        if end == "close":
            client.channel.wind_down()
            server.clock.advance(0)
        client.hang_up()
        assert len(client.statuses) == REQUESTS_IN_A_TURN
    assert server.clock.getDelayedCalls() == []


def test_a_connection_that_gives_way_in_its_break_is_answered_no_more() -> None:
    """And closed."""
    server = Server()
    client = server.connect()
    client.send(GET * 40)
    client.channel.give_way()
    server.clock.advance(0)
    assert (len(client.statuses), client.transport.disconnecting) == (REQUESTS_IN_A_TURN, True)


def test_a_client_that_reads_again_does_not_end_the_break() -> None:
    """And one that does not read is not read from when it ends."""
    server = Server()
    client = server.connect()
    client.transport.full = True
    client.send(GET * 17)
    client.channel.resumeProducing()
    assert client.transport.producerState == "paused"
    server.clock.advance(0)
    assert (len(client.statuses), client.transport.producerState) == (17, "paused")


def test_a_transport_that_cannot_be_paused_is_no_matter() -> None:
    """Bytes that come in a break wait for its end."""
    server = Server()
    client = server.connect()
    client.channel._reading = None
    client.send(GET * 17)
    server.clock.advance(0)
    assert client.statuses == [200] * 17


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the library that limits the rate, moved by hand."""
    moment = [0.0]
    monkeypatch.setattr("token_bucket.storage.time.monotonic", lambda: moment[0])
    return moment


def test_refusals_in_a_row_are_followed_by_a_break(now: list[float]) -> None:
    """Until there is room again; whoever goes on then has one refusal between two breaks."""
    server = Server()
    server.stub.site.policy = Policy(rate_limit=RateLimit(60))
    client = server.connect()
    client.send(OPTIONS * 1000)
    server.clock.advance(0)
    assert client.statuses == [204] * 60 + [429] * REFUSALS_IN_A_ROW
    assert b"HTTP/1.1 429 Too Many Requests\r\n" in client.transport.value()
    assert b"Retry-After: 1\r\n" in client.transport.value()
    assert client.transport.producerState == "paused"
    for _ in range(3):
        now[0] += 1
        server.clock.advance(1)
    assert client.statuses[76:] == [204] + [429] * 16 + [204] + [429] * 16 + [204] + [429] * 16
    client.hang_up()
    server.stub.site.request_log.close()
    assert server.clock.getDelayedCalls() == []


def test_a_trusted_proxy_is_read_from_whomever_it_speaks_for(now: list[float]) -> None:
    """Others ask over its connections, too."""
    server = Server()
    proxies = TrustedProxies.parse(["192.0.2.7"])
    server.stub.site.policy = Policy(rate_limit=RateLimit(14), proxies=proxies)
    client = server.connect()
    for address, requests in (("198.51.100.1", 100), ("198.51.100.2", 1)):
        client.send(
            OPTIONS[:-2].join([b"", b"X-Forwarded-For: " + address.encode() + b"\r\n\r\n"]) * requests
        )
    server.clock.advance(0)
    assert client.statuses == [204] * 14 + [429] * 86 + [204]
    assert now == [0.0]


def test_all_requests_count_against_the_rate(now: list[float]) -> None:
    """Preflights, wrong keys, made-up names, and bytes that are no request, too."""
    key = "alpha-key-0123456789"
    for keys, asked in [
        ((key,), OPTIONS),
        ((key,), LOCK),
        ((key,), LOCK[:-2] + b"Authorization: Bearer guess\r\n\r\n"),
        ((), LOCK.replace(b"Host: x", b"Host: evil.example")),
    ]:
        server = Server(keys=keys)
        policy = server.stub.site.policy
        server.stub.site.policy = Policy(policy.keys, RateLimit(1), only_local=not keys)
        client = server.connect()
        client.send(asked * 15)
        assert client.statuses[-1] == 429
        assert 429 not in client.statuses[:-1]
    server = Server()
    server.stub.site.policy = Policy(rate_limit=RateLimit(1))
    for _ in range(16):
        malformed = server.connect()
        malformed.send(b"garbage\r\n\r\n")
        assert malformed.statuses == [400]
    client = server.connect()
    client.send(LOCK)
    assert client.statuses == [429]
    assert now == [0.0]


def _lines(server: Server, requests: int, request: bytes = LOCK) -> list[str]:
    with capturedLogs() as logged:
        for _ in range(requests):
            server.connect().send(request)
    return [formatEvent(event) or "" for event in logged]


@pytest.mark.parametrize("request_bytes", [LOCK, b"garbage\r\n\r\n", _PUT + b"Content-Length: 5000\r\n\r\n"])
def test_refusals_of_an_address_are_summed_up(request_bytes: bytes) -> None:
    """A few have a line each; those of the rest of a minute share one."""
    server = Server(keys=("alpha-key-0123456789",))
    assert len(_lines(server, 500, request_bytes)) == LINES
    with capturedLogs() as logged:
        server.clock.advance(SECONDS)
    told = [formatEvent(event) for event in logged if "refusals" in event]
    assert told == [f"192.0.2.7 was refused {500 - LINES} times more within a minute"]
    assert len(_lines(server, 12, request_bytes)) == LINES
    with capturedLogs() as logged:
        server.stub.site.request_log.close()
    assert [event["refusals"] for event in logged] == [2]


def test_other_answers_have_a_line_each() -> None:
    """Also where the lines of refusals are used up; no timer stays."""
    server = Server(keys=("alpha-key-0123456789",))
    _lines(server, 20)
    assert len(_lines(server, 20, GET)) == 20
    missing = LOCK.replace(b"/lock", b"/nothing")[:-2] + b"Authorization: Bearer alpha-key-0123456789\r\n\r\n"
    assert len(_lines(server, 20, missing)) == 20
    server.clock.advance(3 * SECONDS)
    assert server.stub.site.request_log._telling is None


def test_sums_are_told_as_long_as_there_are_any() -> None:
    """Though nobody asks any more; the addresses of an IPv6 network have one sum."""
    server = Server()
    log = server.stub.site.request_log
    with capturedLogs() as logged:
        for address in ["192.0.2.1"] * 3:
            log.is_told(address)
        server.clock.advance(30)
        for number in range(LINES + 5):
            log.is_told(f"2001:db8::{number:x}")
        server.clock.advance(30)
        server.clock.advance(SECONDS)
    assert [event["log_line"] for event in logged] == [
        "2001:db8::/64 was refused 5 times more within a minute"
    ]
    assert server.clock.getDelayedCalls() == []


def test_a_flood_of_addresses_is_summed_up_as_one() -> None:
    """In bounded memory; addresses that are told apart have their own sums."""
    refusals = Refusals(most=10)
    for number in range(1000):
        for _ in range(LINES + 1):
            refusals.is_told(f"2001:db8::{number:x}", 0.0)
    assert len(refusals._minutes) == 10
    assert refusals.due(1.0) == [("others", 990)]
    assert refusals.due(SECONDS) == [(f"2001:db8::{number:x}", 1) for number in range(990, 1000)]
    assert refusals.is_empty


def test_each_address_has_its_own_minute() -> None:
    """From its first refusal on."""
    refusals = Refusals()
    for moment, address in ((0.0, "a"), (30.0, "b")):
        told = [refusals.is_told(address, moment) for _ in range(LINES + 2)]
        assert told == [True] * LINES + [False] * 2
    assert refusals.due(59.9) == []
    assert refusals.due(60.0) == [("a", 2)]
    assert refusals.due(90.0) == [("b", 2)]


def test_downloads_that_wait_for_a_merge_keep_no_room_from_those_of_other_projects() -> None:
    """However many there are; they are answered once their project is merged."""
    steps = SteppedSteps(MemoryStore(), holding=False)
    server = Server(steps=steps)
    stub = server.stub
    for project in ("demo", "other"):
        stub.acquire("laptop", project)
        stub.upload("laptop", entry("one"), project=project)
    stub.upload("desk", entry("two"))
    steps.holding = True
    client = server.connect()
    client.ask("DELETE", "/projects/demo/lock", "Host: x", "X-Client-Id: laptop")
    steps.step()
    asking = [server.connect() for _ in range(20)]
    for one in asking:
        one.get(FILE, "Host: x")
    of_other = server.connect()
    of_other.get("/projects/other/files/log.jsonl", "Host: x")
    steps.step(len(steps) - 1)
    assert [of_other.statuses, *(one.statuses for one in asking)] == [[200], *[[]] * 20]
    steps.finish()
    assert [one.statuses for one in asking] == [[200]] * 20
    assert all("two" in one.json["content"] for one in asking)
