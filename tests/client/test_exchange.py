"""Requests, retries, and the errors of bad answers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from random import Random

import pytest
from attrs import frozen
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
from mneme.client.exchange import SLOWEST, Address, Ask, Exchange, Patience, Reply
from mneme.web.limits import SESSION
from tests.client.lines import (
    URL,
    Line,
    Script,
    Scripted,
    answer,
    exchange_over,
    in_time,
    problem_in,
    times_of,
)
from tests.immediate import ImmediateWorker
from tests.kept import MemoryStore
from tests.results import failure_of, result_of, started, waits
from tests.stepped import SteppedSteps, SteppedWorker
from tests.web.stub import NOW, Stub

KEY = "b3d1c0ffee"
HEALTH = Ask("GET", "/health")
FINE = answer(200, b'{"version":"0.1.0","authRequired":false,"status":"ok"}')
REFUSED = ConnectError(111, "Connection refused")


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    clock = Clock()
    clock.advance(NOW)
    return clock


# Attempts


def test_an_answer_is_not_asked_for_twice(clock: Clock) -> None:
    """A single request gets a single answer."""
    http = Script(FINE)
    assert result_of(exchange_over(http, clock).send(HEALTH)).status == 200
    assert len(http) == 1


@pytest.mark.parametrize(
    "error",
    [
        REFUSED,
        ConnectionLost(),
        DNSLookupError("no results for hostname lookup: homeserver"),
        ResponseNeverReceived([Failure(ConnectionDone())]),
        ResponseFailed([Failure(ConnectionLost())]),
        ValueError("anything"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_was_not_answered_is_sent_again_after_half_a_second_one_and_two(
    clock: Clock, error: Exception
) -> None:
    """Four attempts, for whatever reason there was no answer."""
    http = Script(error)
    assert times_of(clock, http, exchange_over(http, clock).send(HEALTH)) == [0.0, 0.5, 1.5, 3.5]


def test_what_no_attempt_was_answered_to_is_unreachable(clock: Clock) -> None:
    """The sentence has the URL and the reason."""
    problem = problem_in(clock, exchange_over(Script(REFUSED), clock).send(HEALTH))
    assert isinstance(problem, Unreachable)
    assert str(problem) == f"The server at {URL} cannot be reached: connection refused"


def test_an_answer_to_the_last_attempt_counts(clock: Clock) -> None:
    """Three times nothing, then an answer."""
    http = Script(REFUSED, ConnectionLost(), REFUSED, FINE)
    assert in_time(clock, exchange_over(http, clock).send(HEALTH)).status == 200
    assert len(http) == 4


def test_each_attempt_sends_the_whole_body(clock: Clock) -> None:
    """A body that was read for the first attempt is there for the next."""
    http = Script(REFUSED, FINE)
    in_time(clock, exchange_over(http, clock).send(Ask("PUT", "/x", body=b"content")))
    assert [asked.body for asked in http.asked] == [b"content", b"content"]


def test_a_server_that_is_about_to_stop_is_asked_again(clock: Clock) -> None:
    """A 503 is as good as no answer."""
    busy = answer(503, b'{"error":"Shutting down"}', {"Retry-After": "5"})
    http = Script(busy, busy, FINE)
    assert in_time(clock, exchange_over(http, clock).send(HEALTH)).status == 200
    assert len(http) == 3


def test_a_server_that_is_always_busy_is_in_trouble(clock: Clock) -> None:
    """The last 503 is the answer."""
    http = Script(answer(503, b'{"error":"Too much is being uploaded at this moment"}'))
    problem = problem_in(clock, exchange_over(http, clock).send(HEALTH))
    assert isinstance(problem, ServerTrouble)
    assert "answered 503: Too much is being uploaded" in str(problem)
    assert len(http) == 4


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


def test_no_answer_within_the_timeout_is_none(clock: Clock) -> None:
    """The sentence says that it was time that ran out."""
    http = Script(None)
    sending = started(exchange_over(http, clock, patience=Patience(10, 0)).send(HEALTH))
    clock.advance(9.9)
    assert waits(sending)
    clock.advance(0.2)
    assert str(failure_of(sending)) == f"The server at {URL} cannot be reached: it did not answer in time"


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


def test_an_answer_that_stops_in_the_middle_is_none(clock: Clock) -> None:
    """Headers alone are no answer."""
    broken = Scripted(error=ResponseFailed([Failure(ConnectionLost())]))
    problem = problem_in(clock, exchange_over(Script(broken), clock).send(HEALTH))
    assert isinstance(problem, Unreachable)
    assert "it closed the connection before it had answered" in str(problem)


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


def test_a_request_to_a_server_that_hangs_can_be_cancelled(clock: Clock) -> None:
    """Over a connection as Twisted makes it, with the server at work on the answer."""
    server = SteppedSteps(MemoryStore(), holding=False)
    stub = Stub(steps=server)
    server.holding = True
    line = Line(stub, clock)
    sending = started(exchange_over(line, clock).send(Ask("GET", "/projects/demo/lock")))
    assert waits(sending)
    sending.cancel()
    line.flush()
    assert isinstance(failure_of(sending), CancelledError)
    assert len(line.asked) == 1
    server.finish()


def test_a_request_to_a_server_that_hangs_runs_out_of_time(clock: Clock) -> None:
    """Over a connection as Twisted makes it."""
    server = SteppedSteps(MemoryStore(), holding=False)
    stub = Stub(steps=server)
    server.holding = True
    hasty = exchange_over(Line(stub, clock), clock, patience=Patience(1, 1))
    problem = problem_in(clock, hasty.send(Ask("GET", "/projects/demo/lock")))
    assert str(problem).endswith("it did not answer in time")
    server.finish()


def test_who_waits_for_the_next_attempt_can_be_cancelled(clock: Clock) -> None:
    """Nothing is left to be done after that."""
    http = Script(REFUSED)
    sending = started(exchange_over(http, clock).send(HEALTH))
    sending.cancel()
    assert isinstance(failure_of(sending), CancelledError)
    assert not clock.getDelayedCalls()


# What an answer means


def test_no_key_is_asked_for_one(clock: Clock) -> None:
    """The server wants one, and none is set."""
    line = Line(Stub(keys=[KEY]), clock)
    problem = failure_of(exchange_over(line, clock).send(Ask("GET", "/projects")))
    assert isinstance(problem, KeyRefused)
    assert str(problem).endswith("put one of its apiKeys into sync.apiKey, or give --key")


def test_a_wrong_key_is_called_so(clock: Clock) -> None:
    """And is not in what is said about it."""
    line = Line(Stub(keys=[KEY]), clock)
    problem = failure_of(exchange_over(line, clock, key="0ther5ecret").send(Ask("GET", "/projects")))
    assert isinstance(problem, KeyRefused)
    assert "does not know this API key" in str(problem)
    assert "0ther5ecret" not in str(problem)


def test_the_right_key_opens(clock: Clock) -> None:
    """The key is sent as a bearer token."""
    line = Line(Stub(keys=["other", KEY]), clock)
    assert result_of(exchange_over(line, clock, key=KEY).send(Ask("GET", "/projects"))).status == 200
    assert line.asked[0].header("Authorization") == f"Bearer {KEY}"


def test_a_403_that_is_not_about_the_key_is_for_the_call_to_judge(clock: Clock) -> None:
    """A lock that is another's, for instance."""
    http = Script(answer(403, b'{"error":"Lock held by different client"}'))
    assert result_of(exchange_over(http, clock).send(HEALTH)).status == 403


def test_a_key_is_in_no_repr(clock: Clock) -> None:
    """Not in that of anything that has it, nor in an error on the way."""
    address = Address(URL, KEY)
    asking = exchange_over(Script(ValueError("no")), clock, key=KEY)
    problem = problem_in(clock, asking.send(HEALTH))
    for shown in (repr(address), repr(asking), str(problem), repr(problem), repr(HEALTH)):
        assert KEY not in shown


def test_too_many_requests_are_trouble(clock: Clock) -> None:
    """They are not sent again at once, which would make more of them."""
    stub = Stub(rate_limit=1)
    line = Line(stub, stub.clock)
    asking = exchange_over(line, clock)
    for _ in range(SESSION):
        result_of(asking.send(HEALTH))
    problem = failure_of(asking.send(HEALTH))
    assert isinstance(problem, ServerTrouble)
    assert str(problem) == f"The server at {URL} answered 429: Too many requests"
    assert len(line.asked) == SESSION + 1


@pytest.mark.parametrize("status", [500, 502, 504, 507, 599])
def test_a_fault_of_the_server_is_trouble(clock: Clock, status: int) -> None:
    """The server's sentence is part of the error."""
    http = Script(answer(status, b'{"error":"The disk is full"}'))
    problem = failure_of(exchange_over(http, clock).send(HEALTH))
    assert isinstance(problem, ServerTrouble)
    assert isinstance(problem, ServerFault) is (status == 500)
    assert str(problem) == f"The server at {URL} answered {status}: The disk is full"


def test_a_server_without_our_methods_is_a_strange_one(clock: Clock) -> None:
    """A server of files answers 501 to POST."""
    problem = failure_of(exchange_over(Script(answer(501, b"<html>")), clock).send(HEALTH))
    assert isinstance(problem, StrangeAnswer)


@pytest.mark.parametrize("status", [429, 500, 502, 504])
def test_a_proxy_that_cannot_reach_the_server_is_trouble_too(clock: Clock, status: int) -> None:
    """The proxy's HTML is no reason to doubt the address."""
    http = Script(answer(status, b"<html><body><h1>Bad Gateway</h1></body></html>"))
    problem = failure_of(exchange_over(http, clock).send(HEALTH))
    assert isinstance(problem, ServerTrouble)
    assert f"answered {status}" in str(problem)
    assert "html" not in str(problem)


def test_a_login_page_is_strange(clock: Clock) -> None:
    """A 403 in HTML is no word of a mneme server."""
    http = Script(answer(403, b"<html>Log in to the Wi-Fi</html>"))
    problem = failure_of(exchange_over(http, clock).send(HEALTH))
    assert isinstance(problem, StrangeAnswer)
    assert "see that serverUrl is right" in str(problem)


NODE_LIST = {"files": [{"name": "log.jsonl", "size": 4, "mtime": "2026-02-04T15:00:00.000Z"}]}


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
        (wire.FileList, json.dumps(NODE_LIST).encode()),
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
    reply = result_of(asking.send(HEALTH))
    try:
        asking.decoded(reply, wire.FileList)
    except StrangeAnswer:
        return


def test_the_header_counts_that_came_last(clock: Clock) -> None:
    """And one that did not come is none."""
    scripted = answer(200, b"{}")
    scripted.headers.setRawHeaders("ETag", ["one", "two"])
    reply = result_of(exchange_over(Script(scripted), clock).send(HEALTH))
    assert (reply.header(b"etag"), reply.header(b"date")) == (b"two", None)


def test_the_client_says_what_it_is(clock: Clock) -> None:
    """Its version is in the server's log; it shows no key where it has none."""
    http = Script(FINE)
    result_of(exchange_over(http, clock).send(Ask("GET", "/x", {"X-Client-Id": "μηχανή"})))
    [asked] = http.asked
    assert asked.header("User-Agent") == f"mneme/{__version__}"
    assert asked.header("X-Client-Id") == "μηχανή"
    assert asked.header("Authorization") is None
    assert asked.body is None


# Compressed bodies


def test_a_large_body_is_compressed_once(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the worker; each attempt sends the same bytes, and says how they are coded."""
    monkeypatch.setattr(exchange, "WORTH_COMPRESSING", 1000)
    http, worker = Script(REFUSED, FINE), SteppedWorker()
    body = b"content " * 1000
    ask = Ask("PUT", "/x", {"Content-Type": "text/plain"}, body)
    sending = started(exchange_over(http, clock, worker=worker).send(ask))
    assert len(http) == 0
    worker.step()
    in_time(clock, sending)
    assert len(worker) == 0
    for asked in http.asked:
        assert asked.header("Content-Encoding") == "gzip"
        assert asked.header("Content-Type") == "text/plain"
        assert len(asked.body or b"") < 200
        assert gzip.decompress(asked.body or b"") == body


def test_a_small_body_goes_as_it_is(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of one byte less is not compressed."""
    monkeypatch.setattr(exchange, "WORTH_COMPRESSING", 1000)
    http = Script(FINE)
    result_of(exchange_over(http, clock).send(Ask("PUT", "/x", body=b"x" * 999)))
    assert http.asked[0].header("Content-Encoding") is None
    assert http.asked[0].body == b"x" * 999


# Clocks


@frozen
class Wall:
    """A time of day that is another than that of the timers."""

    clock: Clock
    ahead: float

    def seconds(self) -> float:
        """See `WallClock`."""
        return self.clock.seconds() + self.ahead


DATE = "Wed, 04 Feb 2026 15:00:00 GMT"


@given(st.integers(-10_000_000, 10_000_000))
def test_the_difference_of_the_clocks_is_known_to_a_second(ahead: int) -> None:
    """By the `Date` of the last answer."""
    clock = Clock()
    clock.advance(NOW)
    asking = exchange_over(Script(answer(200, b"{}", {"Date": DATE})), clock, wall=Wall(clock, ahead))
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


def test_a_server_says_what_time_it_is(clock: Clock) -> None:
    """The real one, to a client that is two hours behind."""
    asking = exchange_over(Line(Stub(), clock), clock, wall=Wall(clock, -7200.0))
    result_of(asking.send(HEALTH))
    assert asking.server_ahead == pytest.approx(7200.0, abs=1)


@given(st.one_of(st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40)))
def test_a_date_that_is_none_says_nothing(date: str) -> None:
    """A bad Date header does not spoil the answer."""
    reply = Scripted(200, b"{}")
    reply.headers.setRawHeaders(b"date", [date.encode("latin-1")])
    asking = exchange_over(Script(reply), Clock())
    assert result_of(asking.send(HEALTH)).status == 200


@pytest.mark.parametrize(
    "date", [b" ", b"", b"Mon", b"\xff\xfe", b"Sun, 06 Nov 1994 08:49 GMT", b"a-b-c d e"]
)
def test_these_dates_are_none(clock: Clock, date: bytes) -> None:
    """The clock difference stays as it was."""
    broken = Scripted(200, b"{}")
    broken.headers.setRawHeaders(b"date", [date])
    asking = exchange_over(Script(answer(200, b"{}", {"Date": DATE}), broken), clock)
    result_of(asking.send(HEALTH))
    known = asking.server_ahead
    assert isinstance(result_of(asking.send(HEALTH)), Reply)
    assert asking.server_ahead == known == 0.5


def test_an_exchange_needs_no_more_than_its_parts(clock: Clock) -> None:
    """Its address is there to be told."""
    asking = Exchange(clock, clock, ImmediateWorker(), Script(FINE), Address(URL), Patience())
    assert asking.address == Address(URL, None)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SSL.Error([("SSL routines", "", "certificate verify failed")]), "its certificate is not trusted"),
        (SSL.Error([("SSL routines", "", "wrong version number")]), "it speaks no TLS"),
        (ConnectionDone(), "it closed the connection before it had answered"),
        (ConnectionLost(), "it closed the connection before it had answered"),
    ],
)
def test_why_no_answer_came_is_said_in_words_that_help(clock: Clock, error: Exception, reason: str) -> None:
    """Not in those of the libraries."""
    http = Script(ResponseNeverReceived([Failure(error)]))
    problem = problem_in(clock, exchange_over(http, clock, patience=Patience(1, 0)).send(HEALTH))
    assert f"cannot be reached: {reason}" in str(problem)
