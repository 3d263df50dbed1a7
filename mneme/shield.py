"""The shield for work that must end even if its answer is cancelled."""

from typing import TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

T = TypeVar("T")


class Shield:
    """A shield for running work: cancelling an answer does not stop the work.

    Klein cancels an answer when its client disconnects.
    """

    _log = Logger()

    def __init__(self) -> None:
        self.abandoned_weight = 0
        """Bytes held by running work whose client disconnected."""
        self._under_way = 0
        self._idle: list[Deferred[None]] = []

    def over(self, work: "Deferred[T]", weight: int = 0) -> "Deferred[T]":
        """Return the answer of some work, which holds `weight` bytes."""

        def abandon(given_up: "Deferred[T]") -> None:
            self.abandoned_weight += weight
            given_up.errback(CancelledError())

        def settle(result: T | Failure) -> None:
            if not answer.called:
                answer.callback(cast(T, result))
            else:
                self.abandoned_weight -= weight
                if isinstance(result, Failure):
                    self._log.failure("Work failed after its client had disconnected", result)
            self._under_way -= 1
            self._tell_idle()

        answer: Deferred[T] = Deferred(abandon)
        self._under_way += 1
        work.addBoth(settle)
        return answer

    def idle(self) -> "Deferred[None]":
        """Return a Deferred that fires once no work is running."""
        if not self._under_way:
            return succeed(None)
        self._idle.append(Deferred())
        return self._idle[-1]

    def _tell_idle(self) -> None:
        if not self._under_way:
            waiting, self._idle = self._idle, []
            for one in waiting:
                one.callback(None)
