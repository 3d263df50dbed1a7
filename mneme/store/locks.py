"""The steps of locks."""

from msgspec.structs import replace

from mneme import leases
from mneme.model import ClientId, Granted, HeldBy, Lock, Millis, NotLocked, Released, StaleToken
from mneme.store.step import Step


def acquire(step: Step, client: ClientId, ttl: Millis) -> Granted | HeldBy:
    """See `Store`."""
    before = step.row.lock
    last_token = max(step.row.last_token, before.token if before else 0)
    outcome = leases.acquire(before, client, step.now, ttl, last_token + 1)
    if isinstance(outcome, HeldBy):
        return outcome
    lock = outcome.lock
    if lock.token > last_token:
        step.queries.grant(step.key, lock)
        step.see(client)
        step.row = replace(step.row, last_token=lock.token, granted=(client, lock.acquired_at))
    step.set_lock(lock)
    return outcome


def extend(step: Step, client: ClientId, ttl: Millis) -> Granted | HeldBy | NotLocked:
    """See `Store`."""
    outcome = leases.extend(step.row.lock, client, step.now, ttl)
    if isinstance(outcome, Granted):
        step.set_lock(outcome.lock)
    return outcome


def release(step: Step, client: ClientId) -> Released | HeldBy | NotLocked:
    """See `Store`."""
    outcome = leases.release(step.row.lock, client, step.now)
    if not isinstance(outcome, Released):
        return outcome
    step.set_lock(None)
    return replace(outcome, leaves_waiting=step.row.has_waiting)


def reap(step: Step) -> Lock | None:
    """See `Store`."""
    lock = step.row.lock
    if lock is None or step.lock:
        return None
    step.set_lock(None)
    return lock


def permit(step: Step, client: ClientId, token: int | None) -> Granted | HeldBy | NotLocked | StaleToken:
    """See `Store`."""
    return leases.permit(step.row.lock, client, token, step.now)
