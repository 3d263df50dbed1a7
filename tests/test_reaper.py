"""The timer that removes expired locks."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from mneme.model import ClientId, Lock, Millis, ProjectId
from mneme.service import SyncService
from mneme.timers import REAP_INTERVAL as INTERVAL
from mneme.timers import Reaper
from tests.immediate import ImmediateWorker
from tests.keeping import KEEP_ALL
from tests.kept import MemoryStore, lane_of

ALPHA, BETA, HELD = ProjectId("alpha"), ProjectId("beta"), ProjectId("held")
ANA = ClientId("ana-0a1b2c3d")
TTL = Millis(60_000)


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    """A store without locks, which a reaper looks after."""
    store = MemoryStore()
    lane = lane_of(store)
    sync = SyncService(clock, lane, lane, ImmediateWorker(), TTL, KEEP_ALL)
    sync.startService()
    Reaper(clock, sync).startService()
    return store


def told(clock: Clock, seconds: float) -> list[str]:
    """The log of some time."""
    with capturedLogs() as events:
        clock.advance(seconds)
    assert {event["log_level"] for event in events} <= {LogLevel.info}
    return [str(formatEvent(event)) for event in events]


def test_expired_locks_are_reaped_and_logged_after_every_interval(clock: Clock, store: MemoryStore) -> None:
    """Each has a line, with project, holder and age; other rounds say nothing."""
    store.acquire(ALPHA, ANA, Millis(0), Millis(10_000))
    store.acquire(BETA, ANA, Millis(12_000), Millis(10_000))
    store.acquire(HELD, ANA, Millis(0), Millis(10_000_000))
    assert told(clock, INTERVAL - 0.001) == []
    assert told(clock, 0.001) == [
        "Reaped the lock of ana-0a1b2c3d on alpha, acquired 0.5 min ago",
        "Reaped the lock of ana-0a1b2c3d on beta, acquired 0.3 min ago",
    ]
    assert store.expired(Millis(30_000)) == []
    assert isinstance(store.lock(HELD, Millis(30_000)), Lock)
    assert told(clock, INTERVAL) == []
    store.acquire(ALPHA, ANA, Millis(61_000), Millis(1))
    assert len(told(clock, INTERVAL)) == 1
