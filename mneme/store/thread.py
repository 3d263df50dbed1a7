"""The thread of the database. Steps wait in a queue, and several share a commit."""

import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar, cast

from msgspec import Struct
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from mneme.errors import ShuttingDown
from mneme.store.sqlite import Database

T = TypeVar("T")

MOST_TOGETHER = 64
"""Most steps that share a commit."""


class _Waiting(Struct, eq=False):
    step: Callable[[], object]
    durable: bool
    alone: bool
    answer: "Deferred[object]"
    is_abandoned: bool = False


class StepQueue:
    """A queue of steps for a database. A subclass chooses the thread that runs them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Waiting] = deque()
        self._under_way = 0
        self._is_closed = False
        self._drained: list[Deferred[None]] = []

    def run(self, step: Callable[[], T], /, *, durable: bool = True, alone: bool = False) -> "Deferred[T]":
        """Run `step` in a transaction; the Deferred fires once that is committed.

        The Deferred fires on the reactor thread. From then on, the changes of a `durable` step survive a power cut.
        Cancelling the Deferred does not stop a durable step. Any other step is dropped if cancelled before its turn.

        A step that writes files runs `alone`, in a transaction of its own: no uncommitted change of another step may
        reach a file. Fails with `ShuttingDown` once the queue is closed.
        """
        if self._is_closed:
            return fail(ShuttingDown())
        waiting = _Waiting(step, durable, alone, Deferred(lambda _: self._abandon(waiting)))
        self._under_way += 1
        self._waiting.append(waiting)
        self._wake()
        return cast("Deferred[T]", waiting.answer)

    def close(self) -> "Deferred[None]":
        """Accept no more steps; the Deferred fires when all accepted steps have ended."""
        self._is_closed = True
        if not self._under_way:
            return succeed(None)
        self._drained.append(Deferred())
        return self._drained[-1]

    def _abandon(self, waiting: _Waiting) -> None:
        waiting.is_abandoned = True
        waiting.answer.errback(CancelledError())

    def _wake(self) -> None:
        """Wake the thread that runs the steps."""
        raise NotImplementedError

    def _take(self) -> list[_Waiting]:
        """Take the next steps off the queue: those that share one commit."""
        taken: list[_Waiting] = []
        while self._waiting and len(taken) < MOST_TOGETHER:
            if taken and (self._waiting[0].alone or taken[-1].alone):
                break
            taken.append(self._waiting.popleft())
        return taken

    def _run_all(self, taken: list[_Waiting]) -> list[object]:
        """Run the taken steps in one transaction. Return an outcome or a `Failure` for each.

        Abandoned steps that are not durable are skipped; their outcome is None.
        """
        needed = [one for one in taken if one.durable or not one.is_abandoned]
        durable = any(one.durable for one in needed)
        results = iter(self._database.run([one.step for one in needed], durable=durable) if needed else ())
        return [next(results) if one in needed else None for one in taken]

    def _deliver(self, taken: list[_Waiting], results: list[object]) -> None:
        for waiting, result in zip(taken, results, strict=True):
            self._under_way -= 1
            if not waiting.is_abandoned:
                waiting.answer.callback(result)
        if self._is_closed and not self._under_way:
            drained, self._drained = self._drained, []
            for waiter in drained:
                waiter.callback(None)


class DatabaseThread(StepQueue):
    """A queue that runs its steps on its own thread."""

    def __init__(self, reactor: IReactorFromThreads, database: Database) -> None:
        super().__init__(database)
        self._reactor = reactor
        self._has_work = threading.Event()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._work, name="mneme-database")

    def start(self) -> None:
        """Begin to run steps."""
        self._thread.start()

    def stop(self) -> None:
        """Run all queued steps, then close the database and end the thread."""
        self._is_stopped = True
        self._has_work.set()
        self._thread.join()

    def _wake(self) -> None:
        if not self._has_work.is_set():
            self._has_work.set()

    def _work(self) -> None:
        while True:
            self._has_work.wait()
            self._has_work.clear()
            # Steps queued before `clear` are taken now. Steps queued later set the event again.
            while taken := self._take():
                self._reactor.callFromThread(self._deliver, taken, self._results_of(taken))
            if self._is_stopped:
                break
        self._database.close()

    def _results_of(self, taken: list[_Waiting]) -> list[object]:
        try:
            return self._run_all(taken)
        except BaseException:  # noqa: BLE001 - any failure is the outcome of all of them
            return [Failure() for _ in taken]
