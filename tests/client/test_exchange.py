"""Requests, retries, and the errors of bad answers."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionDone,
    ConnectionLost,
    DNSLookupError,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed, ResponseNeverReceived

from mneme import __version__, wire
from mneme.client import exchange
from mneme.client.errors import KeyRefused, ServerFault, ServerTrouble, StrangeAnswer, Unreachable
from mneme.client.exchange import SLOWEST, Ask, Patience
from tests.client.lines import (
    URL,
    Ahead,
    Line,
    Script,
    Scripted,
    answer,
    exchange_over,
    in_time,
    problem_in,
    times_of,
)
from tests.kept import MemoryStore
from tests.results import failure_of, result_of, started, waits
from tests.stepped import SteppedSteps, SteppedWorker
from tests.web.stub import NOW, Stub

KEY = "b3d1c0ffee"
HEALTH, PROJECTS = Ask("GET", "/health"), Ask("GET", "/projects")
ONCE = Patience(retries=0)
FINE = answer(200, b'{"version":"0.1.0","authRequired":false,"status":"ok"}')
REFUSED = ConnectError(111, "Connection refused")


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    clock = Clock()
    clock.advance(NOW)
    return clock


def problem_with(clock: Clock, part: Scripted | Exception, key: str | None = None) -> BaseException:
    """The error of a single attempt."""
    return failure_of(exchange_over(Script(part), clock, key=key, patience=ONCE).send(HEALTH))


# Attempts


@pytest.mark.parametrize(
    "part",
    [
        REFUSED,
        ConnectionLost(),
        DNSLookupError("no results for hostname lookup: homeserver"),
        ResponseNeverReceived([Failure(ConnectionDone())]),
        ResponseFailed([Failure(ConnectionLost())]),
        ValueError("anything"),
        Scripted(error=ResponseFailed([Failure(ConnectionLost())])),
        answer(503, b'{"error":"Shutting down"}', {"Retry-After": "5"}),
    ],
    ids=lambda part: type(part).__name__,
)
def test_what_was_not_answered_is_sent_again_after_half_a_second_one_and_two(
    clock: Clock, part: Scripted | Exception
) -> None:
    """Four attempts, whatever the reason; a 503 is as good as no answer."""
    http = Script(part)
    assert times_of(clock, http, exchange_over(http, clock).send(HEALTH)) == [0.0, 0.5, 1.5, 3.5]


def test_an_answer_to_the_last_attempt_counts(clock: Clock) -> None:
    """Each attempt sends the whole body."""
    http = Script(REFUSED, ConnectionLost(), answer(503), FINE)
    ask = Ask("PUT", "/x", body=b"content")
    assert in_time(clock, exchange_over(http, clock).send(ask)).status == 200
    assert [asked.body for asked in http.asked] == [b"content"] * 4


@pytest.mark.parametrize(
    "status", [200, 204, 302, 304, 400, 401, 403, 404, 409, 412, 413, 429, 500, 502, 507]
)
def test_any_other_answer_is_the_answer(clock: Clock, status: int) -> None:
    """An answered request is not sent again, whatever its status."""
    http = Script(answer(status, b'{"error":"No"}'))
    assert times_of(clock, http, exchange_over(http, clock).send(HEALTH)) == [0.0]


@given(st.integers(0, 6))
def test_it_is_tried_once_more_than_the_retries(retries: int) -> None:
    """Each delay is twice the one before."""
    clock = Clock()
    http = Script(REFUSED)
    patient = exchange_over(http, clock, patience=Patience(retries=retries))
    assert times_of(clock, http, patient.send(HEALTH)) == [0.5 * (2**n - 1) for n in range(retries + 1)]


# Time


@given(st.integers(0, 1_000_000), st.integers(0, 1_000_000))
def test_large_bodies_and_answers_may_take_longer(sent: int, expected: int) -> None:
    """By a second for each 32 kB, in either direction."""
    clock = Clock()
    http = Script(None)
    ask = Ask("PUT", "/x", body=Random(sent).randbytes(sent), size=expected)
    sending = started(exchange_over(http, clock, patience=Patience(3, 0)).send(ask))
    travels = len(http.asked[0].body or b"")
    clock.advance(3 + (travels + expected) / SLOWEST - 0.01)
    assert waits(sending)
    clock.advance(0.02)
    assert isinstance(failure_of(sending), Unreachable)


class Hanging:
    """An `Http` that fails, when it is cancelled, with an error of its own."""

    def __init__(self, error: Callable[[], Exception]) -> None:
        self.count = 0
        self._error = error

    def request(self, *_: object, **__: object) -> Deferred[exchange.Response]:
        """See `Http`."""
        self.count += 1
        return Deferred(lambda deferred: deferred.errback(self._error()))


CANCELLED: list[Callable[[], Exception]] = [
    CancelledError,
    lambda: ResponseNeverReceived([Failure(CancelledError())]),
    lambda: ConnectingCancelledError(None),
]


@pytest.mark.parametrize("error", CANCELLED)
def test_who_cancels_is_not_sent_on(clock: Clock, error: Callable[[], Exception]) -> None:
    """A cancelled request is not sent again, and fails with CancelledError."""
    http = Hanging(error)
    sending = started(exchange_over(http, clock).send(HEALTH))
    sending.cancel()
    assert isinstance(failure_of(sending), CancelledError)
    assert http.count == 1
    assert not clock.getDelayedCalls()


@pytest.mark.parametrize("error", CANCELLED)
def test_an_attempt_that_is_given_up_says_that_time_ran_out(
    clock: Clock, error: Callable[[], Exception]
) -> None:
    """Not what Twisted calls it."""
    problem = problem_in(clock, exchange_over(Hanging(error), clock, patience=Patience(1, 1)).send(HEALTH))
    assert str(problem).endswith("it did not answer in time")


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_request_to_a_server_that_hangs_is_given_up(clock: Clock, is_cancelled: bool) -> None:
    """Over a connection as Twisted makes it, with the server at work on the answer."""
    server = SteppedSteps(MemoryStore(), holding=False)
    line = Line(Stub(steps=server), clock)
    server.holding = True
    asking = exchange_over(line, clock, patience=Patience(1, 1 - is_cancelled))
    sending = started(asking.send(Ask("GET", "/projects/demo/lock")))
    assert waits(sending)
    if is_cancelled:
        sending.cancel()
        line.flush()
        assert isinstance(failure_of(sending), CancelledError)
    else:
        assert str(problem_in(clock, sending)).endswith("it did not answer in time")
    assert len(line.asked) == 2 - is_cancelled
    server.finish()


def test_who_waits_for_the_next_attempt_can_be_cancelled(clock: Clock) -> None:
    """Nothing is left to be done after that."""
    http = Script(REFUSED)
    sending = started(exchange_over(http, clock).send(HEALTH))
    sending.cancel()
    assert isinstance(failure_of(sending), CancelledError)
    assert not clock.getDelayedCalls()


# What an answer means


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (None, "put one of its apiKeys into sync.apiKey, or give --key"),
        ("0ther5ecret", "does not know this API key: sync.apiKey must be one of its apiKeys"),
    ],
)
def test_a_missing_key_is_not_a_wrong_one(clock: Clock, key: str | None, expected: str) -> None:
    """And neither is in what is said about it; the right one opens."""
    stub = Stub(keys=["other", KEY])
    problem = failure_of(exchange_over(Line(stub, clock), clock, key=key).send(PROJECTS))
    assert isinstance(problem, KeyRefused)
    assert str(problem).endswith(expected)
    assert result_of(exchange_over(Line(stub, clock), clock, key=KEY).send(PROJECTS)).status == 200


def test_a_key_is_in_no_repr(clock: Clock) -> None:
    """Not in that of anything that has it, nor in an error on the way."""
    problem = problem_with(clock, ValueError("no"), KEY)
    asking = exchange_over(Script(FINE), clock, key=KEY)
    for shown in (repr(asking.address), repr(asking), str(problem), repr(problem)):
        assert KEY not in shown


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 507, 599])
@pytest.mark.parametrize(
    ("body", "said"),
    [(b'{"error":"The disk is full"}', ": The disk is full"), (b"<html>Bad Gateway</html>", "")],
)
def test_a_fault_of_the_server_is_trouble(clock: Clock, status: int, body: bytes, said: str) -> None:
    """In the server's words; a proxy's HTML is no reason to doubt the address."""
    problem = problem_with(clock, answer(status, body))
    assert isinstance(problem, ServerTrouble)
    assert isinstance(problem, ServerFault) is (status == 500)
    assert str(problem) == f"The server at {URL} answered {status}{said}"


@pytest.mark.parametrize("status", [403, 501])
def test_what_answers_like_no_such_server_is_strange(clock: Clock, status: int) -> None:
    """A login page, or a server of files."""
    problem = problem_with(clock, answer(status, b"<html>Log in to the Wi-Fi</html>"))
    assert isinstance(problem, StrangeAnswer)
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
    clock: Clock, form: type[wire.Health | wire.FileList | wire.Problem], body: bytes
) -> None:
    """Bodies that are no JSON, other JSON, or too deep; the Node server's lists."""
    asking = exchange_over(Script(answer(200, body)), clock)
    reply = result_of(asking.send(HEALTH))
    with pytest.raises(StrangeAnswer, match="no older than this client"):
        asking.decoded(reply, form)


@given(st.binary(max_size=200))
def test_no_answer_is_worse_than_strange(body: bytes) -> None:
    """Whatever the bytes are."""
    asking = exchange_over(Script(answer(200, body)), Clock())
    with suppress(StrangeAnswer):
        asking.decoded(result_of(asking.send(HEALTH)), wire.FileList)


def test_the_header_counts_that_came_last(clock: Clock) -> None:
    """And one that did not come is none."""
    scripted = answer(200, b"{}")
    scripted.headers.setRawHeaders("ETag", ["one", "two"])
    reply = result_of(exchange_over(Script(scripted), clock).send(HEALTH))
    assert (reply.header(b"etag"), reply.header(b"date")) == (b"two", None)


@pytest.mark.parametrize(("key", "shown"), [(None, None), (KEY, f"Bearer {KEY}")])
def test_the_client_says_what_it_is(clock: Clock, key: str | None, shown: str | None) -> None:
    """Its version is in the server's log; it shows no key where it has none."""
    http = Script(FINE)
    result_of(exchange_over(http, clock, key=key).send(Ask("GET", "/x", {"X-Client-Id": "μηχανή"})))
    [asked] = http.asked
    assert asked.header("User-Agent") == f"mneme/{__version__}"
    assert asked.header("X-Client-Id") == "μηχανή"
    assert asked.header("Authorization") == shown
    assert asked.body is None


# Compressed bodies


def test_a_large_body_is_compressed_once(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the worker; each attempt sends the same bytes, and says how they are coded."""
    monkeypatch.setattr(exchange, "WORTH_COMPRESSING", 1000)
    http, worker = Script(FINE, REFUSED, FINE), SteppedWorker()
    asking = exchange_over(http, clock, worker=worker)
    result_of(asking.send(Ask("PUT", "/x", body=b"x" * 999)))
    body = b"content " * 1000
    sending = started(asking.send(Ask("PUT", "/x", {"Content-Type": "text/plain"}, body)))
    assert len(http) == 1
    worker.step()
    in_time(clock, sending)
    assert len(worker) == 0
    small, *large = http.asked
    assert (small.header("Content-Encoding"), small.body) == (None, b"x" * 999)
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
    clock = Clock()
    clock.advance(NOW)
    asking = exchange_over(Script(answer(200, b"{}", {"Date": DATE})), clock, wall=Ahead(clock, ahead))
    assert asking.server_ahead is None
    assert asking.server_seconds() == NOW + ahead
    result_of(asking.send(HEALTH))
    assert abs(asking.server_seconds() - NOW) <= 1


def test_the_time_that_an_answer_takes_is_shared_by_both_ways(clock: Clock) -> None:
    """The server looked at its clock in the middle."""
    http = Script(None)
    asking = exchange_over(http, clock)
    sending = started(asking.send(HEALTH))
    clock.advance(8)
    http.hanging[0].callback(answer(200, b"{}", {"Date": "Wed, 04 Feb 2026 15:00:04 GMT"}))
    result_of(sending)
    assert asking.server_ahead == 0.5


@pytest.mark.parametrize(
    "date", [b" ", b"", b"Mon", b"\xff\xfe", b"Sun, 06 Nov 1994 08:49 GMT", b"a-b-c d e"]
)
def test_a_date_that_is_none_says_nothing(clock: Clock, date: bytes) -> None:
    """The answer counts, and the clock difference stays as it was."""
    broken = answer()
    broken.headers.setRawHeaders(b"date", [date])
    asking = exchange_over(Script(answer(200, b"{}", {"Date": DATE}), broken), clock)
    result_of(asking.send(HEALTH))
    assert result_of(asking.send(HEALTH)).status == 200
    assert asking.server_ahead == 0.5


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SSL.Error([("SSL routines", "", "certificate verify failed")]), "its certificate is not trusted"),
        (SSL.Error([("SSL routines", "", "wrong version number")]), "it speaks no TLS"),
        (ConnectionDone(), "it closed the connection before it had answered"),
        (ConnectionLost(), "it closed the connection before it had answered"),
        (REFUSED, "connection refused"),
    ],
)
def test_why_no_answer_came_is_said_in_words_that_help(clock: Clock, error: Exception, reason: str) -> None:
    """Not in those of the libraries."""
    problem = problem_with(clock, ResponseNeverReceived([Failure(error)]))
    assert isinstance(problem, Unreachable)
    assert str(problem).startswith(f"The server at {URL} cannot be reached: {reason}")
