"""Who may ask, how often, and what browsers are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme.web.auth import Keys
from mneme.web.errors import MissingKey, TooManyRequests, WrongKey
from mneme.web.limits import RateLimit
from mneme.web.policy import Policy
from tests.web.stub import KEY, Stub

BEARER = {"Authorization": f"Bearer {KEY}"}
LOCK = "/projects/demo/lock"


@pytest.mark.parametrize(
    "header", [None, b"", b"Bearer", b"Basic eDp5", b"alpha-key-0123456789", b"\xff\xfe"]
)
def test_without_a_bearer_token_a_key_is_missing(header: bytes | None) -> None:
    """That is 401: ask again, with a key."""
    with pytest.raises(MissingKey):
        Keys([KEY]).check(header)


@pytest.mark.parametrize(
    "shown", [b"", b" ", b"nope", KEY.encode()[:-1], KEY.encode() + b"x", b"\xff\x00\xfe"]
)
def test_any_other_token_is_a_wrong_key(shown: bytes) -> None:
    """Also a part of a key, more than a key, and no text."""
    with pytest.raises(WrongKey):
        Keys([KEY]).check(b"Bearer " + shown)


@given(st.binary())
def test_no_header_opens_the_server_but_the_key(header: bytes) -> None:
    """Nor does any end in another error than the two."""
    with pytest.raises((MissingKey, WrongKey)):
        Keys([KEY, "beta-key-0123456789"]).check(header)


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer  {KEY} ", f"BEARER {KEY}"])
def test_the_scheme_is_read_in_any_case(header: str) -> None:
    """As HTTP has it."""
    assert Keys(["other", KEY]).check(header.encode()) == 1


def test_a_refusal_for_want_of_a_key_never_shows_one() -> None:
    """Neither ours nor the one that was tried."""
    reply = Stub(keys=[KEY]).ask("GET", LOCK, {"Authorization": "Bearer secret-guess"})
    assert b"secret-guess" not in reply.body
    assert KEY.encode() not in reply.body


def test_requests_over_the_rate_are_told_when_to_come_back() -> None:
    """A minute's worth goes through in one burst; the next is refused."""
    stub = Stub(rate_limit=20)
    assert [stub.ask("GET", LOCK).status for _ in range(20)] == [200] * 20
    refused = stub.ask("GET", LOCK)
    assert (refused.status, refused.json) == (429, {"error": "Too many requests"})
    assert refused.header("Retry-After") in ("1", "2", "3")


def test_a_whole_session_fits_even_a_low_rate() -> None:
    """14 requests in one burst, whatever the limit."""
    stub = Stub(rate_limit=1)
    assert [stub.ask("GET", LOCK).status for _ in range(15)] == [200] * 14 + [429]


def test_each_key_has_a_rate_of_its_own() -> None:
    """Guessing keys counts against the address."""
    stub = Stub(keys=[KEY, "beta-key-0123456789"], rate_limit=14)
    assert [stub.ask("GET", LOCK, BEARER).status for _ in range(15)][-1] == 429
    assert stub.ask("GET", LOCK, {"Authorization": "Bearer beta-key-0123456789"}).status == 200
    guesses = [stub.ask("GET", LOCK, {"Authorization": "Bearer guess"}).status for _ in range(15)]
    assert guesses == [403] * 14 + [429]


def test_a_bucket_refills_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part of the minute allows one request more."""
    now = 0.0
    monkeypatch.setattr("token_bucket.storage.time.monotonic", lambda: now)
    limit = RateLimit(60)
    for _ in range(60):
        limit.take_for_key(0)
    for _ in range(3):
        with pytest.raises(TooManyRequests) as refused:
            limit.take_for_key(0)
        assert refused.value.retry_after == 1
        now += 1
        limit.take_for_key(0)


def test_a_rate_of_0_is_no_limit() -> None:
    """So the limit is turned off."""
    stub = Stub(rate_limit=0)
    assert {stub.ask("GET", LOCK).status for _ in range(200)} == {200}


def test_a_flood_of_addresses_fills_a_bounded_number_of_buckets() -> None:
    """They share what they have by checksum."""
    limit = RateLimit(1000)
    for number in range(20_000):
        limit.take_for_address(f"2001:db8:{number:x}::1")
    assert len(limit._storage._buckets) <= 4096


def test_the_addresses_of_an_ipv6_network_share_a_rate() -> None:
    """Anybody has as many of them as there are."""
    limit = RateLimit(14)
    for number in range(14):
        limit.take_for_address(f"2001:db8:0:1::{number:x}")
    with pytest.raises(TooManyRequests):
        limit.take_for_address("2001:db8:0:1:f::")
    limit.take_for_address("2001:db8:0:2::")


def test_a_new_policy_counts_from_the_next_request() -> None:
    """Reloading the configuration takes hold at once."""
    stub = Stub()
    assert stub.ask("GET", LOCK).status == 200
    stub.site.policy = Policy(Keys([KEY]))
    assert stub.ask("GET", LOCK).status == 401
    assert stub.ask("GET", "/health").json["authRequired"] is True
    assert stub.ask("GET", LOCK, BEARER).status == 200


@pytest.mark.parametrize(
    "host", ["localhost:3847", "127.0.0.1", "[::1]:3847", "homeserver", "a.localhost", "LOCALHOST."]
)
def test_a_server_for_this_machine_alone_answers_to_its_names(host: str) -> None:
    """With a port or without."""
    assert Stub(only_local=True).ask("GET", LOCK, {"Host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:3847",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example:",
        "evil.example:80:80",
        "[evil.example]",
        "a]b",
    ],
)
def test_a_server_for_this_machine_alone_answers_to_no_name_from_the_network(host: str) -> None:
    """Else a web page could have its own name lead here, as the same origin."""
    for method, place in (("GET", LOCK), ("POST", LOCK), ("GET", "/health")):
        reply = Stub(only_local=True).ask(method, place, {"Host": host, "X-Client-Id": "x"})
        assert (reply.status, "localhost" in reply.json["error"]) == (403, True)
    assert Stub().ask("GET", LOCK, {"Host": host}).status == 200


def test_an_allowed_origin_may_read_answers_and_errors() -> None:
    """A preflight needs no key, and tells of all headers that clients send."""
    stub = Stub(keys=[KEY], origins=["https://app.example"])
    origin = {"Origin": "https://app.example"}
    preflight = stub.ask("OPTIONS", LOCK, origin | {"Access-Control-Request-Method": "POST"})
    assert preflight.status == 204
    assert set((preflight.header("Access-Control-Allow-Headers") or "").split(", ")) == {
        *("Authorization", "Content-Encoding", "Content-Type", "Idempotency-Key"),
        *("If-Match", "If-None-Match", "Last-Event-ID", "X-Client-Id", "X-Lock-Token"),
    }
    assert preflight.header("Access-Control-Expose-Headers") == "ETag"
    assert "DELETE" in (preflight.header("Access-Control-Allow-Methods") or "")
    for headers, status in ((BEARER, 200), ({}, 401)):
        reply = stub.ask("GET", LOCK, origin | headers)
        assert (reply.status, reply.header("Access-Control-Allow-Origin")) == (status, "https://app.example")
        assert reply.header("Vary") == "Origin"


@pytest.mark.parametrize(
    ("origins", "origin", "told"),
    [
        (["*"], "https://any.example", "https://any.example"),
        ([], "https://evil.example", None),
        (["https://app.example"], "https://evil.example", None),
        (["https://app.example"], "https://app.example.evil", None),
        (["https://app.example"], "null", None),
        (["https://app.example"], "é", None),
    ],
)
def test_only_an_allowed_origin_is_told_that_it_is(origins: list[str], origin: str, told: str | None) -> None:
    """A star allows any; each is answered by its own name."""
    for method in ("GET", "OPTIONS"):
        reply = Stub(origins=origins).ask(method, LOCK, {"Origin": origin})
        assert reply.header("Access-Control-Allow-Origin") == told
