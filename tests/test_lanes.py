"""Lanes: in turn for one project, side by side for different ones, and no hang-up cuts a job short."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent

from mneme.errors import ShuttingDown
from mneme.lanes import Lanes
from mneme.work import ImmediateWorker
from tests.results import failure_of, result_of, waits
from tests.stepped import SteppedWorker


class Broken(Exception):
    """What a job in these tests raises."""


def broken() -> None:
    """A job that comes to nothing."""
    raise Broken("the disk has gone")


@pytest.fixture
def worker() -> SteppedWorker:
    """A worker that waits for the test."""
    return SteppedWorker()


@pytest.fixture
def lanes(worker: SteppedWorker) -> Lanes[str]:
    """Lanes by name."""
    return Lanes(worker)


def test_jobs_of_one_lane_run_in_the_order_in_which_they_came(
    lanes: Lanes[str], worker: SteppedWorker
) -> None:
    """One at a time: the worker never has two of them."""
    ran: list[int] = []

    def job(number: int) -> int:
        ran.append(number)
        return number

    answers = [lanes.run("a", partial(job, number)) for number in range(5)]
    for done in range(5):
        assert (ran, len(worker)) == (list(range(done)), 1)
        worker.step()
    assert [result_of(answer) for answer in answers] == [0, 1, 2, 3, 4]
    assert len(worker) == 0


def test_different_lanes_do_not_wait_for_each_other(lanes: Lanes[str], worker: SteppedWorker) -> None:
    """The worker has the first job of every lane at once, and they end in any order."""
    first, second, other = lanes.run("a", lambda: 1), lanes.run("a", lambda: 2), lanes.run("b", lambda: 3)
    assert len(worker) == 2
    worker.step(1)
    assert result_of(other) == 3
    assert waits(first)
    assert waits(second)


@given(st.lists(st.sampled_from("abc"), max_size=20), st.data())
def test_order_holds_in_each_lane_however_the_threads_run(keys: list[str], data: st.DataObject) -> None:
    """Whichever job the worker runs next, each lane sees its own in order."""
    worker = SteppedWorker()
    lanes: Lanes[str] = Lanes(worker)
    ran: list[tuple[str, int]] = []
    for number, key in enumerate(keys):
        lanes.run(key, partial(ran.append, (key, number)))
    while len(worker):
        worker.step(data.draw(st.integers(0, len(worker) - 1)))
    assert sorted(ran, key=lambda one: one[1]) == list(zip(keys, range(len(keys)), strict=True))
    for key in "abc":
        assert [number for lane, number in ran if lane == key] == [n for n, k in enumerate(keys) if k == key]


def test_an_immediate_worker_runs_the_job_at_once() -> None:
    """Without threads, the answer is there when `run` returns."""
    assert result_of(Lanes[str](ImmediateWorker()).run("a", lambda: 5)) == 5


def test_a_failed_job_frees_its_lane(lanes: Lanes[str], worker: SteppedWorker) -> None:
    """What a job raises is its own answer, and nobody else's trouble."""
    first, second = lanes.run("a", broken), lanes.run("a", lambda: 2)
    with capturedLogs() as events:
        worker.finish()
    assert isinstance(failure_of(first), Broken)
    assert result_of(second) == 2
    assert events == []


def test_a_hang_up_stops_the_waiting_alone(lanes: Lanes[str], worker: SteppedWorker) -> None:
    """Cancelling the answer neither stops the job nor frees the lane while the job runs."""
    ran: list[str] = []
    first, second = lanes.run("a", lambda: ran.append("first")), lanes.run("a", lambda: ran.append("second"))
    first.cancel()
    assert isinstance(failure_of(first), CancelledError)
    assert len(worker) == 1
    assert ran == []
    worker.step()
    assert ran == ["first"]
    assert waits(second)
    worker.step()
    assert ran == ["first", "second"]
    assert second.called


def test_a_hang_up_while_waiting_for_a_turn_cancels_nothing(lanes: Lanes[str], worker: SteppedWorker) -> None:
    """An upload that was received whole is written, although its client did not wait for its turn."""
    ran: list[str] = []
    lanes.run("a", lambda: ran.append("first"))
    waiting = lanes.run("a", lambda: ran.append("second"))
    waiting.cancel()
    assert isinstance(failure_of(waiting), CancelledError)
    worker.finish()
    assert ran == ["first", "second"]


def test_what_hung_up_clients_left_is_counted_until_it_is_done(
    lanes: Lanes[str], worker: SteppedWorker
) -> None:
    """Whoever takes on more work can see how much of it nobody waits for any longer."""
    kept = lanes.run("a", lambda: 1, weight=1)
    left: list[Deferred[Any]] = [lanes.run("a", broken, weight=10), lanes.run("b", lambda: 2, weight=100)]
    assert lanes.abandoned_weight == 0
    for answer in left:
        answer.cancel()
        failure_of(answer)
    assert lanes.abandoned_weight == 110
    worker.step(1)
    assert lanes.abandoned_weight == 10
    with capturedLogs() as events:
        worker.finish()
    assert (lanes.abandoned_weight, len(events), result_of(kept)) == (0, 1, 1)


def test_what_fails_after_a_hang_up_is_logged(lanes: Lanes[str], worker: SteppedWorker) -> None:
    """There is nobody left to tell, so the log has it, with the project and the reason."""
    answer = lanes.run("a", broken)
    answer.cancel()
    failure_of(answer)
    with capturedLogs() as events:
        worker.finish()
    [event] = events
    assert event["log_level"] is LogLevel.critical
    assert "a failed after its client had hung up" in str(formatEvent(event))
    assert event["log_failure"].check(Broken)


def test_what_succeeds_after_a_hang_up_is_not_logged(lanes: Lanes[str], worker: SteppedWorker) -> None:
    """A client that went is no news."""
    answer = lanes.run("a", lambda: 1)
    answer.cancel()
    failure_of(answer)
    with capturedLogs() as events:
        worker.finish()
    assert events == []


def test_a_job_asked_for_by_an_answer_takes_its_turn(lanes: Lanes[str], worker: SteppedWorker) -> None:
    """An answer that asks for more does not overtake those who have waited."""
    ran: list[str] = []
    again: list[Deferred[None]] = []
    first = lanes.run("a", lambda: ran.append("first"))
    first.addCallback(lambda _: again.append(lanes.run("a", lambda: ran.append("third"))))
    lanes.run("a", lambda: ran.append("second"))
    worker.finish()
    assert ran == ["first", "second", "third"]


def test_an_idle_lane_closes_at_once(lanes: Lanes[str], worker: SteppedWorker) -> None:
    """There is nothing to wait for, whether or not there ever was."""
    lanes.run("a", lambda: 1)
    worker.finish()
    assert result_of(lanes.close()) is None
    assert result_of(lanes.close()) is None


def test_close_waits_for_all_that_was_taken_on(lanes: Lanes[str], worker: SteppedWorker) -> None:
    """Those running, those waiting for their turn, and those whose clients have hung up."""
    ran: list[str] = []
    lanes.run("a", lambda: ran.append("first"))
    lanes.run("a", lambda: ran.append("second"))
    hung_up = lanes.run("b", lambda: ran.append("other"))
    hung_up.cancel()
    failure_of(hung_up)
    closed, closed_again = lanes.close(), lanes.close()
    for left in (2, 1):
        worker.step()
        assert waits(closed), left
    worker.step()
    assert result_of(closed) is None
    assert result_of(closed_again) is None
    assert sorted(ran) == ["first", "other", "second"]


def test_answers_come_before_the_end(lanes: Lanes[str], worker: SteppedWorker) -> None:
    """Whoever waits for the lanes to close finds the last answer given."""
    order: list[str] = []
    lanes.run("a", lambda: None).addCallback(lambda _: order.append("answer"))
    lanes.close().addCallback(lambda _: order.append("closed"))
    worker.finish()
    assert order == ["answer", "closed"]


def test_a_failing_last_job_does_not_keep_the_lanes_open(lanes: Lanes[str], worker: SteppedWorker) -> None:
    """Closing waits for the end of the jobs, not for their success."""
    answer = lanes.run("a", broken)
    closed = lanes.close()
    worker.finish()
    assert isinstance(failure_of(answer), Broken)
    assert result_of(closed) is None


def test_closed_lanes_take_nothing_on(lanes: Lanes[str], worker: SteppedWorker) -> None:
    """Whoever comes too late is told so, even while earlier jobs are still under way."""
    lanes.run("a", lambda: 1)
    closed = lanes.close()
    for key in ("a", "b"):
        assert isinstance(failure_of(lanes.run(key, lambda: 2)), ShuttingDown)
    assert len(worker) == 1
    worker.finish()
    assert result_of(closed) is None
    assert isinstance(failure_of(lanes.run("a", lambda: 2)), ShuttingDown)
    assert len(worker) == 0
