"""Timers that outlive whatever happens in their rounds."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from mneme.periodic import PeriodicService
from tests.results import result_of, started, waits

INTERVAL = 10.0


class Work:
    """Rounds that take as long as the test wants them to, and count themselves."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.begun: list[float] = []
        self.under_way: list[Deferred[None]] = []
        self.takes_time = False
        self.problem: Exception | None = None

    async def __call__(self) -> None:
        """A round."""
        self.begun.append(self._clock.seconds())
        if self.problem:
            raise self.problem
        if self.takes_time:
            self.under_way.append(Deferred())
            await self.under_way[-1]


@pytest.fixture
def work(clock: Clock) -> Work:
    """The work of a round."""
    return Work(clock)


def rounds(clock: Clock, work: Work, first: float | None = None) -> PeriodicService:
    """The timer, not started yet."""
    return PeriodicService(clock, INTERVAL, work, "do the work", first)


@pytest.mark.parametrize("first", [None, 0.0, 1.0, 25.0])
def test_the_first_round_comes_when_it_was_told_to(clock: Clock, work: Work, first: float | None) -> None:
    """After one interval if nothing was said; the others after an interval each."""
    rounds(clock, work, first).startService()
    assert work.begun == []
    clock.pump([0.5] * 100)
    start = INTERVAL if first is None else max(first, 0.5)
    assert work.begun[:3] == [start, start + 10, start + 20]


@pytest.mark.parametrize("problem", [OSError(5, "Input/output error"), RuntimeError("a slip"), KeyError()])
def test_a_failed_round_is_logged_and_the_next_comes(clock: Clock, work: Work, problem: Exception) -> None:
    """The log names the work, and says that it is tried again."""
    rounds(clock, work, first=1.0).startService()
    work.problem = problem
    with capturedLogs() as events:
        clock.pump([1.0, INTERVAL])
    assert [str(formatEvent(event)) for event in events] == ["Could not do the work; trying again later"] * 2
    assert [event["log_failure"].value for event in events] == [problem] * 2
    assert {event["log_level"] for event in events} == {LogLevel.critical}
    work.problem, work.takes_time = None, True
    clock.advance(INTERVAL)
    with capturedLogs() as events:
        work.under_way[0].errback(problem)
    assert len(events) == 1
    clock.advance(INTERVAL)
    assert work.begun == [1, 11, 21, 31]


def test_a_long_round_is_waited_for(clock: Clock, work: Work) -> None:
    """Two never run at once, and what was missed is not made up for."""
    work.takes_time = True
    rounds(clock, work).startService()
    clock.pump([INTERVAL] * 4)
    assert work.begun == [10]
    work.under_way[0].callback(None)
    clock.pump([INTERVAL])
    assert work.begun == [10, 50]


@pytest.mark.parametrize(("passed", "begun"), [(0.0, []), (0.5, []), (5.0, [5.0])])
def test_a_stopped_timer_makes_no_rounds(clock: Clock, work: Work, passed: float, begun: list[float]) -> None:
    """The timer stops at once, and leaves nothing on the clock."""
    timer = rounds(clock, work, first=1.0)
    timer.startService()
    clock.advance(passed)
    assert result_of(timer.stopService()) is None
    assert clock.getDelayedCalls() == []
    clock.pump([INTERVAL] * 3)
    assert work.begun == begun


@pytest.mark.parametrize("problem", [None, OSError(5, "Input/output error")])
def test_stopping_waits_for_the_round_under_way(clock: Clock, work: Work, problem: Exception | None) -> None:
    """However it ends."""
    work.takes_time = True
    timer = rounds(clock, work, first=1.0)
    timer.startService()
    clock.advance(1)
    stopped = started(timer.stopService())
    clock.pump([INTERVAL] * 3)
    assert waits(stopped)
    with capturedLogs() as events:
        work.under_way[0].errback(problem) if problem else work.under_way[0].callback(None)
    assert result_of(stopped) is None
    assert len(events) == (1 if problem else 0)
    assert work.begun == [1]
    assert clock.getDelayedCalls() == []


def test_a_stopped_timer_can_be_stopped_and_started_again(clock: Clock, work: Work) -> None:
    """With its first round when it was told to come, and one timer."""
    timer = rounds(clock, work, first=1.0)
    assert result_of(timer.stopService()) is None
    for _ in range(2):
        timer.startService()
        clock.advance(1)
        assert result_of(timer.stopService()) is None
        assert result_of(timer.stopService()) is None
    assert work.begun == [1, 2]
    assert clock.getDelayedCalls() == []
