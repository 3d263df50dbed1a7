"""The timer that removes expired locks."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from mneme.model import ClientId, Lock, Millis, ProjectId
from mneme.service import Lane, SyncService
from mneme.timers import REAP_INTERVAL as INTERVAL
from mneme.timers import Reaper
from tests.immediate import ImmediateWorker
from tests.keeping import KEEP_ALL
from tests.kept import MemoryStore, lane_of

ALPHA, BETA = ProjectId("alpha"), ProjectId("beta")
ANA = ClientId("ana-0a1b2c3d")
TTL = Millis(60_000)


class Store(MemoryStore):
    """A store that counts the searches for expired locks, and fails them while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.searches = 0
        self.problem: Exception | None = None

    def expired(self, now: Millis) -> list[ProjectId]:
        """Search, or fail."""
        self.searches += 1
        if self.problem:
            raise self.problem
        return super().expired(now)


@pytest.fixture
def clock() -> Clock:
    """A clock that the test moves."""
    return Clock()


@pytest.fixture
def store() -> Store:
    """A store without locks."""
    return Store()


def running(clock: Clock, lane: Lane) -> SyncService:
    """The running service."""
    sync = SyncService(clock, lane, lane, ImmediateWorker(), TTL, KEEP_ALL)
    sync.startService()
    return sync


@pytest.fixture
def reaper(clock: Clock, store: Store) -> Reaper:
    """A reaper that has not started yet, whose rounds take no time."""
    return Reaper(clock, running(clock, lane_of(store)))


def test_a_round_comes_after_every_interval(clock: Clock, store: Store, reaper: Reaper) -> None:
    """The first one too: nothing runs while the server is still starting."""
    reaper.startService()
    assert store.searches == 0
    clock.advance(INTERVAL - 0.001)
    assert store.searches == 0
    clock.advance(0.001)
    assert store.searches == 1
    clock.pump([INTERVAL] * 3)
    assert store.searches == 4


def test_reaped_locks_are_gone_and_logged(clock: Clock, store: Store, reaper: Reaper) -> None:
    """One line for each, with its project, its holder and its age."""
    store.acquire(ALPHA, ANA, Millis(0), Millis(10_000))
    store.acquire(BETA, ANA, Millis(12_000), Millis(10_000))
    store.acquire(ProjectId("held"), ANA, Millis(0), Millis(10_000_000))
    reaper.startService()
    with capturedLogs() as events:
        clock.advance(INTERVAL)
    assert [str(formatEvent(event)) for event in events] == [
        "Reaped the lock of ana-0a1b2c3d on alpha, acquired 0.5 min ago",
        "Reaped the lock of ana-0a1b2c3d on beta, acquired 0.3 min ago",
    ]
    assert {event["log_level"] for event in events} == {LogLevel.info}
    assert store.expired(Millis(30_000)) == []
    assert isinstance(store.lock(ProjectId("held"), Millis(30_000)), Lock)


def test_a_round_with_nothing_to_do_says_nothing(clock: Clock, reaper: Reaper) -> None:
    """The log is for news."""
    reaper.startService()
    with capturedLogs() as events:
        clock.pump([INTERVAL] * 5)
    assert events == []


def test_a_round_that_fails_is_logged_and_the_next_one_comes(
    clock: Clock, store: Store, reaper: Reaper
) -> None:
    """As with all timers; the log says what could not be done."""
    reaper.startService()
    store.acquire(ALPHA, ANA, Millis(0), Millis(1))
    store.problem = OSError(5, "Input/output error")
    with capturedLogs() as events:
        clock.advance(INTERVAL)
    assert [str(formatEvent(event)) for event in events] == [
        "Could not reap expired locks; trying again later"
    ]
    store.problem = None
    with capturedLogs() as events:
        clock.advance(INTERVAL)
    assert ["Reaped" in str(formatEvent(event)) for event in events] == [True]
