"""Workers, which run blocking code."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from mneme.work import ThreadWorker
from tests.inbox import Inbox
from tests.results import failure_of, result_of, started, waits
from tests.stepped import SteppedWorker


class Broken(Exception):
    """Error of a job in these tests."""


def broken() -> int:
    """A job that comes to nothing."""
    raise Broken


def test_a_job_of_the_tests_own_worker_runs_when_its_turn_is_given() -> None:
    """Nothing runs by itself, and each job once; a failure is an answer."""
    worker = SteppedWorker()
    ran: list[str] = []
    for name in "abc":
        worker.run(partial(ran.append, name))
    assert ran == []
    worker.step(1)
    assert ran == ["b"]
    answer = worker.run(broken)
    worker.finish()
    assert (ran, len(worker)) == (["b", "a", "c"], 0)
    assert isinstance(failure_of(answer), Broken)


@pytest.mark.integration
class TestThreadWorker:
    """Real threads, with a reactor whose calls the test makes."""

    @pytest.fixture
    def inbox(self) -> Inbox:
        """The reactor's side."""
        return Inbox()

    @pytest.fixture
    def worker(self, inbox: Inbox) -> Iterator[ThreadWorker]:
        """A worker of two threads, which are gone when the test ends."""
        worker = ThreadWorker(inbox, threads=2)
        worker.start()
        yield worker
        worker.stop()
        assert not [thread for thread in threading.enumerate() if "mneme-worker" in thread.name]

    def test_a_job_runs_on_another_thread_and_answers_here(self, worker: ThreadWorker, inbox: Inbox) -> None:
        """The reactor thread does no blocking work, and it alone sees answers."""
        answered: list[tuple[int, int]] = []
        answer = worker.run(threading.get_ident)
        answer.addCallback(lambda there: answered.append((there, threading.get_ident())))
        inbox.make_one_call()
        [(there, here)] = answered
        assert here == threading.get_ident() != there

    def test_an_error_of_a_job_is_its_failure(self, worker: ThreadWorker, inbox: Inbox) -> None:
        """A job that fails does not take its thread along."""
        for _ in range(3):
            answer = started(worker.run(broken))
            failed: list[Failure] = []
            answer.addErrback(failed.append)
            inbox.make_one_call()
            assert failed[0].check(Broken)

    def test_jobs_run_side_by_side(self, worker: ThreadWorker, inbox: Inbox) -> None:
        """Pairs of jobs that need each other all end: neither waits for the other's thread."""
        meeting = threading.Barrier(2, timeout=30)
        answers = [worker.run(meeting.wait) for _ in range(6)]
        inbox.make_calls_for(*answers)
        assert sorted(result_of(answer) for answer in answers) == [0, 0, 0, 1, 1, 1]

    def test_a_job_goes_on_when_nobody_waits_for_it(self, worker: ThreadWorker, inbox: Inbox) -> None:
        """Its bytes count until it has ended."""
        told = threading.Event()
        gone = worker.run(lambda: told.wait(30), 1000)
        gone.cancel()
        assert isinstance(failure_of(gone), CancelledError)
        assert worker.abandoned_weight == 1000
        told.set()
        inbox.make_one_call()
        assert worker.abandoned_weight == 0

    def test_stop_waits_for_the_jobs_under_way(self, inbox: Inbox) -> None:
        """Nothing that was begun is cut off."""
        worker = ThreadWorker(inbox, threads=1)
        worker.start()
        gate, ended = threading.Event(), threading.Event()

        def job() -> None:
            gate.wait(30)
            ended.set()

        first = worker.run(job)
        second = worker.run(lambda: 2)
        assert waits(first)
        gate.set()
        worker.stop()
        assert ended.is_set()
        inbox.make_calls_for(first, second)
        assert result_of(second) == 2
