"""Requests, retries, and the errors of bad answers."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from contextlib import suppress
from http.client import BadStatusLine, IncompleteRead, RemoteDisconnected
from random import Random
from socket import gaierror
from ssl import SSLError

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from mneme import __version__, wire
from mneme.client import exchange
from mneme.client.errors import (
    ClientError,
    KeyRefused,
    ServerFault,
    ServerTrouble,
    StrangeAnswer,
    Unreachable,
)
from mneme.client.exchange import SLOWEST, Ask, Patience
from mneme.client.http import LateAnswer, Response
from tests.client.lines import URL, Ahead, Line, Script, answer, exchange_over
from tests.web.stub import NOW, Stub

KEY = "b3d1c0ffee"
HEALTH, PROJECTS = Ask("GET", "/health"), Ask("GET", "/projects")
ONCE = Patience(retries=0)
FINE = answer(200, b'{"version":"0.1.0","authRequired":false,"status":"ok"}')
REFUSED = ConnectionRefusedError(111, "Connection refused")


@pytest.fixture
def wall() -> Ahead:
    """A clock that stands still but for what is slept."""
    return Ahead(started())


def started() -> Clock:
    """The time of day as tests begin."""
    clock = Clock()
    clock.advance(NOW)
    return clock


def problem_with(part: Response | Exception, key: str | None = None) -> ClientError:
    """The error of a single attempt."""
    with pytest.raises(ClientError) as raised:
        exchange_over(Script(part), key=key, patience=ONCE).send(HEALTH)
    return raised.value


def times_of(http: Script, patience: Patience | None = None) -> list[float]:
    """When each attempt at a request was made, in seconds after the first."""
    clock, times = Clock(), list[float]()
    http.before = lambda asked: times.append(clock.seconds())
    with suppress(ClientError):
        exchange_over(http, Ahead(clock), patience=patience).send(HEALTH)
    return times


# Attempts


@pytest.mark.parametrize(
    "part",
    [
        REFUSED,
        LateAnswer(),
        gaierror(-2, "Name or service not known"),
        RemoteDisconnected(""),
        IncompleteRead(b"{"),
        answer(503, b'{"error":"Shutting down"}', {"Retry-After": "5"}),
    ],
    ids=lambda part: type(part).__name__,
)
def test_what_was_not_answered_is_sent_again_after_half_a_second_one_and_two(
    part: Response | Exception,
) -> None:
    """Four attempts, whatever the reason; a 503 is as good as no answer."""
    assert times_of(Script(part)) == [0.0, 0.5, 1.5, 3.5]


def test_an_answer_to_the_last_attempt_counts(wall: Ahead) -> None:
    """Each attempt sends the whole body."""
    http = Script(REFUSED, RemoteDisconnected(""), answer(503), FINE)
    ask = Ask("PUT", "/x", body=b"content")
    assert exchange_over(http, wall).send(ask).status == 200
    assert [asked.body for asked in http.asked] == [b"content"] * 4


@pytest.mark.parametrize(
    "status", [200, 204, 302, 304, 400, 401, 403, 404, 409, 412, 413, 429, 500, 502, 507]
)
def test_any_other_answer_is_the_answer(status: int) -> None:
    """An answered request is not sent again, whatever its status."""
    assert times_of(Script(answer(status, b'{"error":"No"}'))) == [0.0]


@given(st.integers(0, 6))
def test_it_is_tried_once_more_than_the_retries(retries: int) -> None:
    """Each delay is twice the one before."""
    times = times_of(Script(REFUSED), Patience(retries=retries))
    assert times == [0.5 * (2**n - 1) for n in range(retries + 1)]


@given(st.integers(0, 1_000_000), st.integers(0, 1_000_000))
def test_large_bodies_and_answers_may_take_longer(sent: int, expected: int) -> None:
    """By a second for each 32 kB, in either direction."""
    http = Script(FINE)
    ask = Ask("PUT", "/x", body=Random(sent).randbytes(sent), size=expected)
    exchange_over(http, patience=Patience(3, 0)).send(ask)
    [asked] = http.asked
    assert asked.seconds == 3 + (len(asked.body or b"") + expected) / SLOWEST


# What an answer means


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (None, "wants an API key: `mneme connect http://stub.invalid` asks for it, or give --key"),
        (
            "0ther5ecret",
            "does not know this API key: `mneme connect http://stub.invalid` asks for another",
        ),
    ],
)
def test_a_missing_key_is_not_a_wrong_one(key: str | None, expected: str) -> None:
    """And neither is in what is said about it; the right one opens."""
    stub = Stub(keys=["other", KEY])
    with pytest.raises(KeyRefused) as raised:
        exchange_over(Line(stub), key=key).send(PROJECTS)
    assert str(raised.value).endswith(expected)
    assert exchange_over(Line(stub), key=KEY).send(PROJECTS).status == 200


def test_a_key_is_in_no_repr() -> None:
    """Not in that of anything that has it, nor in an error on the way."""
    problem = problem_with(REFUSED, KEY)
    asking = exchange_over(Script(FINE), key=KEY)
    for shown in (repr(asking.address), repr(asking), str(problem), repr(problem)):
        assert KEY not in shown


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 507, 599])
@pytest.mark.parametrize(
    ("body", "said"),
    [(b'{"error":"The disk is full"}', ": The disk is full"), (b"<html>Bad Gateway</html>", "")],
)
def test_a_fault_of_the_server_is_trouble(status: int, body: bytes, said: str) -> None:
    """In the server's words; a proxy's HTML is no reason to doubt the address."""
    problem = problem_with(answer(status, body))
    assert isinstance(problem, ServerTrouble)
    assert isinstance(problem, ServerFault) is (status == 500)
    assert str(problem) == f"The server at {URL} answered {status}{said}"


@pytest.mark.parametrize("status", [403, 501])
def test_what_answers_like_no_such_server_is_strange(status: int) -> None:
    """A login page, or a server of files."""
    problem = problem_with(answer(status, b"<html>Log in to the Wi-Fi</html>"))
    assert isinstance(problem, StrangeAnswer)
    assert "does not speak as a mneme server does" in str(problem)
    assert "see that serverUrl is right" in str(problem)


NODE_LIST = b'{"files":[{"name":"log.jsonl","size":4,"mtime":"2026-02-04T15:00:00.000Z"}]}'


@pytest.mark.parametrize(
    ("form", "body"),
    [
        (wire.Health, b""),
        (wire.Health, b"<!doctype html><title>Router</title>"),
        (wire.Health, b'{"status":"ok"}'),
        (wire.Health, b"[]"),
        (wire.Health, b"null"),
        (wire.Health, b'"ok"'),
        (wire.Health, b'{"version":1,"authRequired":false}'),
        (wire.Health, b'{"version":"0.1.0","authRequired":false'),
        (wire.Health, b'{"version":"\xff","authRequired":false}'),
        (wire.Health, b'{"version":"\\ud800","authRequired":false}'),
        (wire.Health, b'{"version":"0.1.0","authRequired":false,"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
        (wire.FileList, NODE_LIST),
        (wire.Problem, b'{"error":null}'),
        (wire.Problem, b"{}"),
    ],
)
def test_an_answer_of_another_form_is_strange(
    form: type[wire.Health | wire.FileList | wire.Problem], body: bytes
) -> None:
    """Bodies that are no JSON, other JSON, or too deep; the Node server's lists."""
    asking = exchange_over(Script(answer(200, body)))
    reply = asking.send(HEALTH)
    with pytest.raises(StrangeAnswer, match="no older than this client"):
        asking.decoded(reply, form)


@given(st.binary(max_size=200))
def test_no_answer_is_worse_than_strange(body: bytes) -> None:
    """Whatever the bytes are."""
    asking = exchange_over(Script(answer(200, body)))
    with suppress(StrangeAnswer):
        asking.decoded(asking.send(HEALTH), wire.FileList)


@pytest.mark.parametrize(("key", "shown"), [(None, None), (KEY, f"Bearer {KEY}")])
def test_the_client_says_what_it_is(key: str | None, shown: str | None) -> None:
    """Its version is in the server's log; it shows no key where it has none."""
    http = Script(FINE)
    exchange_over(http, key=key).send(Ask("GET", "/x", {"X-Client-Id": "μηχανή"}))
    [asked] = http.asked
    assert asked.header("User-Agent") == f"mneme/{__version__}"
    assert asked.header("X-Client-Id") == "μηχανή"
    assert asked.header("Authorization") == shown
    assert asked.body is None


# Compressed bodies


def test_a_large_body_is_compressed_once(wall: Ahead, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt sends the same bytes, and says how they are coded."""
    monkeypatch.setattr(exchange, "WORTH_COMPRESSING", 1000)
    http = Script(FINE, REFUSED, FINE)
    asking = exchange_over(http, wall)
    asking.send(Ask("PUT", "/x", body=b"x" * 999))
    body = b"content " * 1000
    asking.send(Ask("PUT", "/x", {"Content-Type": "text/plain"}, body))
    small, *large = http.asked
    assert (small.header("Content-Encoding"), small.body) == (None, b"x" * 999)
    assert len(large) == 2
    for asked in large:
        assert asked.header("Content-Encoding") == "gzip"
        assert asked.header("Content-Type") == "text/plain"
        assert len(asked.body or b"") < 200
        assert gzip.decompress(asked.body or b"") == body


# Clocks


DATE = "Wed, 04 Feb 2026 15:00:00 GMT"


@given(st.integers(-10_000_000, 10_000_000))
def test_the_difference_of_the_clocks_is_known_to_a_second(ahead: int) -> None:
    """By the `Date` of the last answer."""
    asking = exchange_over(Script(answer(200, b"{}", {"Date": DATE})), Ahead(started(), ahead))
    assert asking.server_ahead is None
    assert asking.server_seconds() == NOW + ahead
    asking.send(HEALTH)
    assert abs(asking.server_seconds() - NOW) <= 1


def test_the_time_that_an_answer_takes_is_shared_by_both_ways(wall: Ahead) -> None:
    """The server looked at its clock in the middle."""
    http = Script(answer(200, b"{}", {"Date": "Wed, 04 Feb 2026 15:00:04 GMT"}))
    http.before = lambda asked: wall.sleep(8)
    asking = exchange_over(http, wall)
    asking.send(HEALTH)
    assert asking.server_ahead == 0.5


@pytest.mark.parametrize(
    "headers",
    [{}, *({"Date": date} for date in (" ", "", "Mon", "ÿþ", "Sun, 06 Nov 1994 08:49:61 GMT", "a-b-c d e"))],
)
def test_a_date_that_is_none_says_nothing(wall: Ahead, headers: Mapping[str, str]) -> None:
    """The answer counts, and the clock difference stays as it was."""
    asking = exchange_over(Script(answer(200, b"{}", {"Date": DATE}), answer(200, b"{}", headers)), wall)
    asking.send(HEALTH)
    assert asking.send(HEALTH).status == 200
    assert asking.server_ahead == 0.5


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "it speaks no TLS"),
        (RemoteDisconnected(""), "it closed the connection before it had answered"),
        (ConnectionResetError(104, "Connection reset by peer"), "it closed the connection before it had"),
        (IncompleteRead(b"{"), "it closed the connection before it had answered"),
        (BadStatusLine("\x15\x03"), "what it answers is no HTTP"),
        (REFUSED, "connection refused"),
        (LateAnswer(), "it did not answer in time"),
        (gaierror(-2, "Name or service not known"), "no machine of this name is known"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_why_no_answer_came_is_said_in_words_that_help(error: Exception, reason: str) -> None:
    """Not in those of the libraries."""
    problem = problem_with(error)
    assert isinstance(problem, Unreachable)
    assert str(problem).startswith(f"The server at {URL} cannot be reached: {reason}")
