"""The thread of the database: steps wait for their turn, and those that wait together share a commit."""

import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar, cast

from attrs import define
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from mneme.errors import ShuttingDown
from mneme.store.sqlite import Database

T = TypeVar("T")

MOST_TOGETHER = 64
"""Steps that share a commit at most."""


@define(eq=False)
class _Waiting:
    step: Callable[[], object]
    durable: bool
    alone: bool
    answer: "Deferred[object]"
    is_abandoned: bool = False


class StepQueue:
    """The steps that wait for a database, whichever thread runs them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Waiting] = deque()
        self._under_way = 0
        self._is_closed = False
        self._drained: list[Deferred[None]] = []

    def run(self, step: Callable[[], T], /, *, durable: bool = True, alone: bool = False) -> "Deferred[T]":
        """Run `step` in a transaction; the Deferred fires on the reactor thread, once that is committed.

        A `durable` step survives a power cut from then on, and runs to its end whoever waits for it. Any other is
        dropped if it is cancelled before its turn. One that writes files runs `alone`: what it writes must have been
        committed before. Fails with `ShuttingDown` once closed.
        """
        if self._is_closed:
            return fail(ShuttingDown())
        waiting = _Waiting(step, durable, alone, Deferred(lambda _: self._abandon(waiting)))
        self._under_way += 1
        self._waiting.append(waiting)
        self._wake()
        return cast("Deferred[T]", waiting.answer)

    def close(self) -> "Deferred[None]":
        """Take no more steps; fires when all that were taken have ended."""
        self._is_closed = True
        if not self._under_way:
            return succeed(None)
        self._drained.append(Deferred())
        return self._drained[-1]

    def _abandon(self, waiting: _Waiting) -> None:
        waiting.is_abandoned = True
        waiting.answer.errback(CancelledError())

    def _wake(self) -> None:
        """Have the steps run, now or soon."""
        raise NotImplementedError

    def _take(self) -> list[_Waiting]:
        """The steps that are next to share a commit."""
        taken: list[_Waiting] = []
        while self._waiting and len(taken) < MOST_TOGETHER:
            if taken and (self._waiting[0].alone or taken[-1].alone):
                break
            taken.append(self._waiting.popleft())
        return taken

    def _run_all(self, taken: list[_Waiting]) -> list[object]:
        """What steps come to."""
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
    """Runs the steps on a thread of its own."""

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
        """Run what was asked for to its end, then close the database and end the thread."""
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
            # What came before the event was cleared is here; what comes after sets it again.
            while taken := self._take():
                self._reactor.callFromThread(self._deliver, taken, self._results_of(taken))
            if self._is_stopped:
                break
        self._database.close()

    def _results_of(self, taken: list[_Waiting]) -> list[object]:
        try:
            return self._run_all(taken)
        except BaseException:  # noqa: BLE001 - whatever it is, it is the answer to all of them
            return [Failure() for _ in taken]
