"""Getting blocking code off the reactor thread."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from mneme.turns import PATIENCE, Seat, Turn, waiting

T = TypeVar("T")


class Worker(Protocol):
    """Runs blocking jobs, each once, in an order and on a thread of its own choice."""

    def run(self, job: Callable[[], T], /) -> "Deferred[T]":
        """Run `job`; the Deferred fires on the reactor thread with what it returned or raised."""
        ...


class ImmediateWorker:
    """Runs each job at once, where it was asked for: for tests, and where nothing blocks."""

    def run(self, job: Callable[[], T], /) -> "Deferred[T]":
        """See `Worker`."""
        return execute(job)


class ThreadWorker:
    """Runs jobs on threads of its own, so that a slow disk never starves the reactor's name look-ups.

    One thread runs them all for as long as they don't wait for the disk. When it waits, another goes on, and so it does
    when it has been busy with one job for long.
    """

    def __init__(self, reactor: IReactorFromThreads, threads: int, turn: Turn | None = None) -> None:
        """`turn` is that of the reactor, if it takes turns."""
        self._reactor = reactor
        self._turn = turn or Turn()
        self._jobs: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()
        self._done: deque[tuple[Deferred[Any], Any]] = deque()
        self._is_delivering = False
        self._mutex = threading.Lock()
        self._running: set[_WorkerSeat] = set()
        self._resting: list[_WorkerSeat] = []
        self._progress = 0
        self._has_work = threading.Event()
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, name=f"mneme-disk-{number}") for number in range(threads)
        ]
        if threads > 1:
            self._threads.append(threading.Thread(target=self._oversee, name="mneme-disk-overseer"))

    def start(self) -> None:
        """Begin to take jobs."""
        for thread in self._threads:
            thread.start()

    def run(self, job: Callable[[], T], /) -> "Deferred[T]":
        """See `Worker`."""
        answer: Deferred[T] = Deferred()
        self._jobs.append((job, answer))
        # Read without the mutex: whoever runs looks for jobs under it before it rests.
        if not self._running:
            self._call_one()
        if not self._has_work.is_set():
            self._has_work.set()
        return answer

    def stop(self) -> None:
        """Run what was asked for to its end, then end the threads."""
        self._stopped.set()
        self._has_work.set()
        with self._mutex:
            for seat in self._resting:
                seat.gate.release()
            self._resting.clear()
        with waiting():
            for thread in self._threads:
                thread.join()

    def note_running(self, seat: "_WorkerSeat") -> None:
        """A thread runs, again or still."""
        with self._mutex:
            self._progress += 1
            self._running.add(seat)

    def note_waiting(self, seat: "_WorkerSeat") -> None:
        """A thread waits."""
        with self._mutex:
            self._progress += 1
            self._running.discard(seat)
        if self._jobs:
            self._call_one()

    def _call_one(self) -> None:
        """Have a thread take jobs, if there are any and none runs."""
        with self._mutex:
            if self._jobs and not self._running and self._resting:
                seat = self._resting.pop()
                self._running.add(seat)
                seat.gate.release()

    def _work(self) -> None:
        seat = _WorkerSeat(self._turn, self)
        seat.sit_down()
        while self._rest(seat):
            self._take_jobs(seat)
            self._turn.give(seat)

    def _rest(self, seat: "_WorkerSeat") -> bool:
        """Rest until there are jobs; False if there will be none."""
        with self._mutex:
            self._running.discard(seat)
            if self._jobs and not self._running:
                self._running.add(seat)
                return True
            if self._stopped.is_set():
                return False
            self._resting.append(seat)
        seat.gate.acquire()
        return True

    def _take_jobs(self, seat: "_WorkerSeat") -> None:
        # Where another has come back from waiting, it goes on alone; if two see each other, `_rest` has one go on.
        while len(self._running) <= 1:
            try:
                job, answer = self._jobs.popleft()
            except IndexError:
                return
            self._turn.take(seat)
            self._do(job, answer)
            self.note_running(seat)

    def _do(self, job: Callable[[], Any], answer: "Deferred[Any]") -> None:
        try:
            result = job()
        except BaseException:  # noqa: BLE001 - whatever it is, it is the answer
            result = Failure()
        self._done.append((answer, result))
        if not self._is_delivering:
            self._is_delivering = True
            self._reactor.callFromThread(self._deliver)

    def _deliver(self) -> None:
        """Give the answers that there are, on the reactor's thread: one call for many."""
        self._is_delivering = False
        while self._done:
            answer, result = self._done.popleft()
            answer.callback(result)

    def _oversee(self) -> None:
        """Count a thread as waiting when it has been busy with one thing for long: it may read from a disk asleep."""
        while self._has_work.wait() and not self._stopped.is_set():
            before = self._progress
            self._stopped.wait(PATIENCE)
            if self._progress == before:
                with self._mutex:
                    stuck = tuple(self._running)
                for seat in stuck:
                    seat.leave()
            if not self._running and not self._jobs:
                self._has_work.clear()
                # Either may have come in just now.
                if self._jobs or self._stopped.is_set():
                    self._has_work.set()


class _WorkerSeat(Seat):
    """While its thread waits, another takes the jobs."""

    def __init__(self, turn: Turn, worker: ThreadWorker) -> None:
        super().__init__(turn)
        self.gate = threading.Lock()
        """Closed while the thread rests."""
        self.gate.acquire()
        self._worker = worker

    def leave(self) -> None:
        """See `Seat`."""
        super().leave()
        self._worker.note_waiting(self)

    def come_back(self) -> None:
        """See `Seat`."""
        super().come_back()
        self._worker.note_running(self)
