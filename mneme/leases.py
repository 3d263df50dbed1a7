"""The rules of locks, as pure functions. They read neither a clock nor a disk."""

from msgspec.structs import replace

from mneme.model import SLACK, ClientId, Granted, HeldBy, Lock, Millis, NotLocked, Released, StaleToken


def current(lock: Lock | None, now: Millis) -> Lock | None:
    """The lock that is held at `now`; None if expired or missing.

    A lock dated in the future, by a wrong clock, is ignored: it would block everyone until then.
    """
    if lock is None or now >= lock.expires_at:
        return None
    times = (lock.acquired_at, lock.last_acquired_at, lock.extended_at)
    return None if any(time is not None and time > now + SLACK for time in times) else lock


def acquire(
    lock: Lock | None, client: ClientId, now: Millis, ttl: Millis, new_token: int
) -> Granted | HeldBy:
    """Give `client` the lock for `ttl`, or extend its own lock.

    A new lock gets `new_token`.
    """
    held = current(lock, now)
    if held is None:
        return Granted(Lock(client, now, Millis(now + ttl), new_token, last_acquired_at=now))
    if held.client != client:
        return HeldBy(held)
    last = now if held.last_acquired_at is None else max(now, held.last_acquired_at + 1)
    last = Millis(min(last, now + SLACK))
    return Granted(
        replace(
            held,
            expires_at=Millis(now + ttl),
            token=held.token or new_token,
            last_acquired_at=last,
            extended_at=None,
        )
    )


def extend(lock: Lock | None, client: ClientId, now: Millis, ttl: Millis) -> Granted | HeldBy | NotLocked:
    """Move the expiry of the client's own lock to `ttl` from now."""
    held = _held(lock, client, now)
    if isinstance(held, Granted):
        return Granted(replace(held.lock, expires_at=Millis(now + ttl), extended_at=now))
    return held


def release(lock: Lock | None, client: ClientId, now: Millis) -> Released | HeldBy | NotLocked:
    """Release the client's own lock."""
    held = _held(lock, client, now)
    return Released(held.lock) if isinstance(held, Granted) else held


def permit(
    lock: Lock | None, client: ClientId, token: int | None, now: Millis
) -> Granted | HeldBy | NotLocked | StaleToken:
    """Say whether `client` may upload.

    A `token` older than that of the held lock is stale, even from the holder.
    """
    held = current(lock, now)
    if held and token is not None and token < held.token:
        return StaleToken(held)
    return _held(lock, client, now)


def _held(lock: Lock | None, client: ClientId, now: Millis) -> Granted | HeldBy | NotLocked:
    """The lock that is held at `now`, granted if it is the client's own."""
    held = current(lock, now)
    if held is None:
        return NotLocked()
    return Granted(held) if held.client == client else HeldBy(held)
