"""Work that goes on although nobody waits for it any more."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent

from mneme.shield import Shield
from tests.results import failure_of, result_of, waits


@pytest.fixture
def shield() -> Shield:
    """A shield over nothing yet."""
    return Shield()


@pytest.fixture
def work() -> Deferred[int]:
    """Work that ends when the test says so."""
    return Deferred()


def test_the_answer_is_what_the_work_comes_to(shield: Shield, work: Deferred[int]) -> None:
    """No sooner."""
    answer = shield.over(work)
    assert waits(answer)
    work.callback(7)
    assert result_of(answer) == 7


def test_a_failure_of_the_work_is_that_of_the_answer(shield: Shield, work: Deferred[int]) -> None:
    """A client that waits for it is told; the log is not."""
    answer = shield.over(work)
    with capturedLogs() as events:
        work.errback(OSError(5, "Input/output error"))
    assert isinstance(failure_of(answer), OSError)
    assert events == []


def test_bytes_are_abandoned_from_the_hang_up_to_the_end_of_the_work(shield: Shield) -> None:
    """Cancelling gives up the answer, and never the work."""
    works: list[Deferred[int]] = [Deferred(), Deferred(), Deferred()]
    answers = [shield.over(work, weight) for work, weight in zip(works, (1, 10, 100), strict=True)]
    assert shield.abandoned_weight == 0
    for answer in answers[:2]:
        answer.cancel()
        assert isinstance(failure_of(answer), CancelledError)
    assert all(map(waits, works))
    assert shield.abandoned_weight == 11
    works[1].callback(0)
    assert shield.abandoned_weight == 1
    works[2].callback(0)
    assert shield.abandoned_weight == 1
    works[0].callback(0)
    assert shield.abandoned_weight == 0


def test_a_failure_of_which_nobody_is_told_is_logged(shield: Shield, work: Deferred[int]) -> None:
    """Else it would be lost."""
    answer = shield.over(work, 5)
    answer.cancel()
    failure_of(answer)
    with capturedLogs() as events:
        work.errback(OSError(5, "Input/output error"))
    assert [(event["log_level"], formatEvent(event)) for event in events] == [
        (LogLevel.critical, "Work failed after its client had disconnected")
    ]
    assert shield.abandoned_weight == 0


def test_a_shield_is_idle_once_no_work_is_under_way(shield: Shield) -> None:
    """Given up or not; whoever asks is told, each one."""
    assert result_of(shield.idle()) is None
    works: list[Deferred[int]] = [Deferred(), Deferred()]
    answers = [shield.over(work) for work in works]
    answers[0].cancel()
    failure_of(answers[0])
    idle = [shield.idle(), shield.idle()]
    works[1].callback(0)
    assert [waits(one) for one in idle] == [True, True]
    works[0].callback(0)
    assert [result_of(one) for one in idle] == [None, None]
