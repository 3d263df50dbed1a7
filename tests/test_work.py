"""Workers: where blocking code runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from zope.interface import implementer

from mneme.turns import waiting
from mneme.work import ImmediateWorker, ThreadWorker, Worker
from tests.results import failure_of, result_of, started, waits
from tests.stepped import SteppedWorker


class Broken(Exception):
    """What a job in these tests raises."""


def broken() -> int:
    """A job that comes to nothing."""
    raise Broken


class TestImmediateWorker:
    """Jobs run where they were asked for."""

    def test_a_job_runs_at_once(self) -> None:
        """The answer is there when `run` returns."""
        worker: Worker = ImmediateWorker()
        assert result_of(worker.run(threading.get_ident)) == threading.get_ident()

    def test_what_a_job_raises_is_its_failure(self) -> None:
        """Nothing is raised where the job was asked for."""
        assert isinstance(failure_of(ImmediateWorker().run(broken)), Broken)


class TestSteppedWorker:
    """The worker of the tests keeps the same promises."""

    def test_a_job_runs_when_its_turn_is_given(self) -> None:
        """Nothing runs by itself, and each job once."""
        worker = SteppedWorker()
        ran: list[str] = []
        for name in "abc":
            worker.run(partial(ran.append, name))
        assert ran == []
        worker.step(1)
        assert ran == ["b"]
        worker.finish()
        assert (ran, len(worker)) == (["b", "a", "c"], 0)

    def test_what_a_job_raises_is_its_failure(self) -> None:
        """As with any other worker."""
        worker: SteppedWorker = SteppedWorker()
        answer = worker.run(broken)
        worker.finish()
        assert isinstance(failure_of(answer), Broken)


@implementer(IReactorFromThreads)
class Inbox:
    """What a reactor is to a worker: a place where threads leave calls, made when the test says so."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], object]] = []
        self._arrived = threading.Condition()

    def callFromThread(
        self,
        callable: Callable[..., object],  # noqa: A002 - the name that Twisted prescribes
        *args: object,
        **kwargs: object,
    ) -> None:
        """Take a call from a thread."""
        with self._arrived:
            self._calls.append(partial(callable, *args, **kwargs))
            self._arrived.notify()

    def make_one_call(self) -> None:
        """Wait for a call, and make it on this thread."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: bool(self._calls), timeout=30)
            call = self._calls.pop(0)
        call()

    def make_calls_for(self, *answers: Deferred[Any]) -> None:
        """Make calls until all these answers are there; one call can bring several."""
        while any(map(waits, answers)):
            self.make_one_call()


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
        assert not [thread for thread in threading.enumerate() if "mneme-disk" in thread.name]

    def test_a_job_runs_on_another_thread_and_its_answer_comes_on_this_one(
        self, worker: ThreadWorker, inbox: Inbox
    ) -> None:
        """The reactor thread does no blocking work, and it alone sees answers."""
        answered: list[tuple[int, int]] = []
        answer = worker.run(threading.get_ident)
        answer.addCallback(lambda there: answered.append((there, threading.get_ident())))
        inbox.make_one_call()
        [(there, here)] = answered
        assert here == threading.get_ident() != there

    def test_what_a_job_raises_is_its_failure(self, worker: ThreadWorker, inbox: Inbox) -> None:
        """A job that fails does not take its thread along."""
        for _ in range(3):
            answer = started(worker.run(broken))
            failed: list[Failure] = []
            answer.addErrback(failed.append)
            inbox.make_one_call()
            assert failed[0].check(Broken)

    def test_jobs_run_side_by_side(self, worker: ThreadWorker, inbox: Inbox) -> None:
        """Two jobs that need each other both end: neither waits for the other's thread."""
        meeting = threading.Barrier(2, timeout=30)
        answers = [worker.run(meeting.wait) for _ in range(2)]
        inbox.make_calls_for(*answers)
        assert sorted(result_of(answer) for answer in answers) == [0, 1]

    def test_while_a_job_waits_another_thread_goes_on(self, worker: ThreadWorker, inbox: Inbox) -> None:
        """At once, where the job says that it waits."""
        told = threading.Event()

        def waits_to_be_told() -> bool:
            with waiting():
                return told.wait(30)

        waiter, teller = worker.run(waits_to_be_told), worker.run(told.set)
        inbox.make_calls_for(waiter, teller)
        assert result_of(waiter) is True

    def test_a_job_that_is_stuck_without_saying_so_holds_up_no_other(
        self, worker: ThreadWorker, inbox: Inbox
    ) -> None:
        """Not even many, one after the other: a disk that was asleep takes seconds."""
        told = threading.Event()
        stuck = worker.run(lambda: told.wait(30))
        for number in range(20):
            answer = worker.run(partial(int, number))
            inbox.make_calls_for(answer)
            assert result_of(answer) == number
        assert waits(stuck)
        told.set()
        inbox.make_calls_for(stuck)

    def test_more_stuck_jobs_than_threads_all_come_to_their_end(
        self, worker: ThreadWorker, inbox: Inbox
    ) -> None:
        """Those that have no thread yet wait for one."""
        told = threading.Event()
        answers = [worker.run(lambda: told.wait(30)) for _ in range(5)]
        told.set()
        inbox.make_calls_for(*answers)
        assert [result_of(answer) for answer in answers] == [True] * 5

    def test_a_thousand_jobs_are_each_run_once(self, worker: ThreadWorker, inbox: Inbox) -> None:
        """Whatever way they are shared out, those that wait and those that don't."""
        ran: list[int] = []

        def job(number: int) -> None:
            with waiting() if number % 3 else nullcontext():
                ran.append(number)

        answers = [worker.run(partial(job, number)) for number in range(1000)]
        inbox.make_calls_for(*answers)
        assert sorted(ran) == list(range(1000))

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
