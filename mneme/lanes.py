"""One lane per project: what writes a project runs there, one at a time, and nobody's hang-up cuts it short."""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from mneme.errors import ShuttingDown
from mneme.work import Worker

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
_Waiting = deque[tuple[Callable[[], object], "Deferred[object]"]]


class Lanes(Generic[K]):
    """Runs jobs on a worker: in turn for one key, side by side for different keys.

    The Deferred that `run` returns is a shield. Cancelling it, as Klein does when a client hangs up, stops only the
    waiting for the answer: the job still runs to its end, and the lane stays taken until then.
    """

    _log = Logger()

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._busy: dict[K, _Waiting] = {}
        self._closed = False
        self._drained: list[Deferred[None]] = []

    def run(self, key: K, job: Callable[[], T]) -> "Deferred[T]":
        """Run `job` after all that was asked for `key` before; fails with `ShuttingDown` once closed."""
        if self._closed:
            return fail(ShuttingDown())
        answer: Deferred[object] = Deferred()
        if key in self._busy:
            self._busy[key].append((job, answer))
        else:
            self._busy[key] = deque()
            self._start(key, job, answer)
        return cast("Deferred[T]", answer)

    def close(self) -> "Deferred[None]":
        """Take no more jobs; fires when all that were taken have ended."""
        self._closed = True
        if not self._busy:
            return succeed(None)
        self._drained.append(Deferred())
        return self._drained[-1]

    def _start(self, key: K, job: Callable[[], object], answer: "Deferred[object]") -> None:
        self._worker.run(job).addBoth(self._settle, key, answer)

    def _settle(self, result: object, key: K, answer: "Deferred[object]") -> None:
        waiting = self._busy[key]
        if waiting:
            self._start(key, *waiting.popleft())
        else:
            del self._busy[key]
        if answer.called and isinstance(result, Failure):
            self._log.failure("A step of {key} failed after its client had hung up", result, key=key)
        answer.callback(result)
        if self._closed and not self._busy:
            drained, self._drained = self._drained, []
            for waiter in drained:
                waiter.callback(None)
