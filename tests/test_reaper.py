"""The timer that removes expired locks."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from mneme.model import ClientId, Lock, Millis, ProjectId
from mneme.reaper import INTERVAL, Reaper
from mneme.service import Lane, SyncService
from tests.immediate import ImmediateWorker
from tests.keeping import KEEP_ALL
from tests.kept import MemoryStore, lane_of
from tests.results import result_of, started, waits
from tests.stepped import SteppedSteps

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


@pytest.mark.parametrize("problem", [OSError(5, "Input/output error"), RuntimeError("a slip"), ValueError()])
def test_the_reaper_outlives_whatever_a_round_comes_to(
    clock: Clock, store: Store, reaper: Reaper, problem: Exception
) -> None:
    """It is logged, and the next round comes when it would have come."""
    reaper.startService()
    store.acquire(ALPHA, ANA, Millis(0), Millis(1))
    store.problem = problem
    with capturedLogs() as events:
        clock.pump([INTERVAL] * 3)
    assert [event["log_level"] for event in events] == [LogLevel.critical] * 3
    assert str(formatEvent(events[0])) == "Could not reap expired locks; trying again later"
    assert store.searches == 3
    store.problem = None
    with capturedLogs() as events:
        clock.advance(INTERVAL)
    assert ["Reaped" in str(formatEvent(event)) for event in events] == [True]


def test_rounds_do_not_overlap(clock: Clock, store: Store) -> None:
    """One that takes longer than the interval is waited for, and the next one is not late for long."""
    steps = SteppedSteps(store, holding=False)
    reaper = Reaper(clock, running(clock, steps.lane))
    steps.holding = True
    reaper.startService()
    clock.pump([INTERVAL] * 3)
    assert len(steps) == 1
    steps.finish()
    clock.advance(INTERVAL)
    assert len(steps) == 1
    assert store.searches == 1


def test_a_stopped_reaper_rests(clock: Clock, store: Store, reaper: Reaper) -> None:
    """It leaves nothing on the clock."""
    reaper.startService()
    clock.advance(INTERVAL)
    assert result_of(reaper.stopService()) is None
    assert clock.getDelayedCalls() == []
    clock.pump([INTERVAL] * 3)
    assert store.searches == 1


def test_stopping_waits_for_a_round_under_way(clock: Clock, store: Store) -> None:
    """What it removes is logged before the reaper says that it has stopped."""
    steps = SteppedSteps(store, holding=False)
    store.acquire(ALPHA, ANA, Millis(0), Millis(1))
    reaper = Reaper(clock, running(clock, steps.lane))
    steps.holding = True
    reaper.startService()
    clock.advance(INTERVAL)
    stopped = started(reaper.stopService())
    with capturedLogs() as events:
        for _ in range(2):
            assert waits(stopped)
            steps.step()
        steps.finish()
    assert result_of(stopped) is None
    assert len(events) == 1
    assert clock.getDelayedCalls() == []


def test_stopping_waits_for_a_round_that_fails(clock: Clock, store: Store) -> None:
    """The reason is logged, and the reaper has stopped."""
    steps = SteppedSteps(store, holding=False)
    store.problem = OSError(5, "Input/output error")
    reaper = Reaper(clock, running(clock, steps.lane))
    steps.holding = True
    reaper.startService()
    clock.advance(INTERVAL)
    stopped = started(reaper.stopService())
    with capturedLogs() as events:
        steps.finish()
    assert len(events) == 1
    assert result_of(stopped) is None


def test_a_reaper_that_never_started_stops(reaper: Reaper) -> None:
    """As when the start of something else failed; and stopping twice is stopping once."""
    assert result_of(reaper.stopService()) is None
    reaper.startService()
    assert result_of(reaper.stopService()) is None
    assert result_of(reaper.stopService()) is None


def test_a_stopped_reaper_can_be_started_again(clock: Clock, store: Store, reaper: Reaper) -> None:
    """And has one timer then, not two."""
    reaper.startService()
    result_of(reaper.stopService())
    reaper.startService()
    clock.advance(INTERVAL)
    assert store.searches == 1
    assert len(clock.getDelayedCalls()) == 1
