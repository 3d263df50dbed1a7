"""One lane per project: what writes a project runs there, one at a time, and nobody's hang-up cuts it short."""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar, cast

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from mneme.errors import ShuttingDown
from mneme.work import Worker

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@frozen(eq=False)
class _Step:
    job: Callable[[], object]
    weight: int
    answer: "Deferred[object]"


class Lanes(Generic[K]):
    """Runs jobs on a worker: in turn for one key, side by side for different keys.

    The Deferred that `run` returns is a shield. Cancelling it, as is done when a client hangs up, stops only the
    waiting for the answer: the job still runs to its end, and the lane stays taken until then.
    """

    _log = Logger()

    def __init__(self, worker: Worker) -> None:
        self.abandoned_weight = 0
        """What the jobs hold that are yet to end although nobody waits for their answer."""
        self._worker = worker
        self._busy: dict[K, deque[_Step]] = {}
        self._closed = False
        self._drained: list[Deferred[None]] = []

    def run(self, key: K, job: Callable[[], T], weight: int = 0) -> "Deferred[T]":
        """Run `job`, which holds `weight` bytes, after all that was asked for `key` before.

        Fails with `ShuttingDown` once the lanes are closed.
        """
        if self._closed:
            return fail(ShuttingDown())
        step = _Step(job, weight, Deferred(lambda answer: self._abandon(answer, weight)))
        if key in self._busy:
            self._busy[key].append(step)
        else:
            self._busy[key] = deque()
            self._start(key, step)
        return cast("Deferred[T]", step.answer)

    def close(self) -> "Deferred[None]":
        """Take no more jobs; fires when all that were taken have ended."""
        self._closed = True
        if not self._busy:
            return succeed(None)
        self._drained.append(Deferred())
        return self._drained[-1]

    def _abandon(self, answer: "Deferred[object]", weight: int) -> None:
        self.abandoned_weight += weight
        answer.errback(CancelledError())

    def _start(self, key: K, step: _Step) -> None:
        self._worker.run(step.job).addBoth(self._settle, key, step)

    def _settle(self, result: object, key: K, step: _Step) -> None:
        waiting = self._busy[key]
        if waiting:
            self._start(key, waiting.popleft())
        else:
            del self._busy[key]
        if step.answer.called:
            self._settle_abandoned(result, key, step)
        else:
            step.answer.callback(result)
        if self._closed and not self._busy:
            drained, self._drained = self._drained, []
            for waiter in drained:
                waiter.callback(None)

    def _settle_abandoned(self, result: object, key: K, step: _Step) -> None:
        self.abandoned_weight -= step.weight
        if isinstance(result, Failure):
            self._log.failure("A step of {key} failed after its client had hung up", result, key=str(key))
