"""Rules of locks beyond the contract of stores: odd clocks, the Node server's locks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mneme import leases
from mneme.model import ClientId, Granted, HeldBy, Lock, Millis, NotLocked, Released, StaleToken

ANA, BEN = ClientId("ana-0a1b2c3d"), ClientId("ben-4e5f6a7b")
NOW = Millis(1_770_217_200_000)
TTL = Millis(1_800_000)
LOCK = Lock(ANA, NOW, Millis(NOW + TTL), token=7)
LAST_MOMENT = Millis(NOW + TTL - 1)
EXPIRY = Millis(NOW + TTL)
HOUR = 60 * 60 * 1000

instants = st.integers(0, 4_000).map(lambda moved: Millis(NOW + moved))
clients = st.sampled_from([ANA, BEN])
tokens = st.none() | st.integers(0, 9)
locks = st.builds(Lock, clients, instants, instants, st.integers(0, 9))


@pytest.mark.parametrize("field", ["acquired_at", "last_acquired_at", "extended_at"])
def test_a_lock_from_over_an_hour_ahead_is_none(field: str) -> None:
    """The clock has been put right; such a lock would be held for years."""
    lock = replace(LOCK, expires_at=Millis(NOW + 3 * 365 * 24 * HOUR))
    moments: list[Any] = [{field: Millis(NOW + HOUR + more)} for more in (0, 1)]
    soon, ahead = (replace(lock, **moment) for moment in moments)
    assert leases.current(soon, NOW) == soon
    assert leases.acquire(soon, BEN, NOW, TTL, 8) == HeldBy(soon)
    assert leases.current(ahead, NOW) is None
    assert leases.current(ahead, Millis(NOW + 1)) == ahead
    for client in (ANA, BEN):
        new = Lock(client, NOW, Millis(NOW + TTL), 8, NOW)
        assert leases.acquire(ahead, client, NOW, TTL, 8) == Granted(new)


def test_a_lock_that_is_acquired_again_to_the_hour_counts() -> None:
    """A client that is told that it has the lock has it."""
    soon = replace(LOCK, expires_at=Millis(NOW + 9 * HOUR), last_acquired_at=Millis(NOW + HOUR))
    again = leases.acquire(soon, ANA, NOW, TTL, 8)
    assert isinstance(again, Granted)
    assert leases.current(again.lock, NOW) == again.lock


def test_a_client_whose_own_lock_has_expired_gets_a_new_one() -> None:
    """There is none to extend."""
    again = Lock(ANA, EXPIRY, Millis(EXPIRY + TTL), 8, EXPIRY)
    assert leases.acquire(LOCK, ANA, EXPIRY, TTL, 8) == Granted(again)


def test_a_lock_of_the_node_server_gets_a_token_when_it_is_acquired() -> None:
    """A heartbeat acquires none, and so leaves it without."""
    node = replace(LOCK, token=0, last_acquired_at=None)
    granted = Granted(replace(node, token=8, last_acquired_at=NOW))
    assert leases.acquire(node, ANA, NOW, TTL, 8) == granted
    assert leases.extend(node, ANA, NOW, TTL) == Granted(replace(node, extended_at=NOW))


@given(st.lists(clients, min_size=2, max_size=6), instants, st.integers(1, 4_000))
def test_of_acquires_at_one_instant_one_client_wins(asking: list[ClientId], now: Millis, ttl: int) -> None:
    """The first has the lock; all others are told so, in the same millisecond."""
    lock: Lock | None = None
    winners = set()
    for client in asking:
        outcome = leases.acquire(lock, client, now, Millis(ttl), 1)
        if isinstance(outcome, Granted):
            lock = outcome.lock
            winners.add(client)
        else:
            assert outcome == HeldBy(outcome.lock)
            assert outcome.lock.client == asking[0]
    assert winners == {asking[0]}


def test_a_heartbeat_can_shorten_a_lock() -> None:
    """A heartbeat counts from now, with the time-to-live of now."""
    shorter = replace(LOCK, expires_at=Millis(NOW + 5), extended_at=NOW)
    assert leases.extend(LOCK, ANA, NOW, Millis(5)) == Granted(shorter)


def test_the_holder_may_upload_until_the_last_millisecond() -> None:
    """With its lock's token, with an unknown later one, or with none."""
    for token in (None, 7, 8):
        assert leases.permit(LOCK, ANA, token, LAST_MOMENT) == Granted(LOCK)


@given(st.none() | locks, clients, tokens, instants, st.integers(1, 4_000))
def test_all_rules_agree_on_who_holds_the_lock(
    lock: Lock | None, client: ClientId, token: int | None, now: Millis, ttl: int
) -> None:
    """Whatever the lock, every rule refuses it to the same clients for the same reason."""
    held = leases.current(lock, now)
    extended = leases.extend(lock, client, now, Millis(ttl))
    released = leases.release(lock, client, now)
    permitted = leases.permit(lock, client, token, now)
    acquired = leases.acquire(lock, client, now, Millis(ttl), 10)
    if held is None:
        assert (extended, released, permitted) == (NotLocked(), NotLocked(), NotLocked())
        assert isinstance(acquired, Granted)
    elif held.client == client:
        assert released == Released(held)
        assert isinstance(acquired, Granted)
        assert isinstance(extended, Granted)
        assert (extended.lock.acquired_at, extended.lock.token) == (held.acquired_at, held.token)
        assert acquired.lock.expires_at == extended.lock.expires_at == now + ttl
    else:
        assert extended == released == acquired == HeldBy(held)
    stale = held is not None and token is not None and token < held.token
    assert isinstance(permitted, StaleToken) == stale


@given(st.none() | locks, clients, instants, st.integers(1, 4_000), st.integers(10, 20))
def test_a_granted_lock_counts_from_its_first_millisecond(
    lock: Lock | None, client: ClientId, now: Millis, ttl: int, token: int
) -> None:
    """The lock is held until just before its time is over; no token is 0."""
    outcome = leases.acquire(lock, client, now, Millis(ttl), token)
    if isinstance(outcome, Granted):
        assert leases.current(outcome.lock, now) == outcome.lock
        assert leases.current(outcome.lock, Millis(now + ttl - 1)) == outcome.lock
        assert leases.current(outcome.lock, Millis(now + ttl)) is None
        assert outcome.lock.token > 0
