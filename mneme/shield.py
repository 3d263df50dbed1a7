"""Work that goes on to its end, whoever gives up waiting for it."""

from typing import TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

T = TypeVar("T")


class Shield:
    """Work under way. Cancelling an answer gives up that, and stops no work: Klein does so when a client hangs up."""

    _log = Logger()

    def __init__(self) -> None:
        self.abandoned_weight = 0
        """The bytes held by work that is yet to end although nobody waits for it."""
        self._under_way = 0
        self._idle: list[Deferred[None]] = []

    def over(self, work: "Deferred[T]", weight: int = 0) -> "Deferred[T]":
        """The answer of some work, which holds `weight` bytes."""

        def abandon(given_up: "Deferred[T]") -> None:
            self.abandoned_weight += weight
            given_up.errback(CancelledError())

        def settle(result: T | Failure) -> None:
            if not answer.called:
                answer.callback(cast(T, result))
            else:
                self.abandoned_weight -= weight
                if isinstance(result, Failure):
                    self._log.failure("Something failed after its client had hung up", result)
            self._under_way -= 1
            self._tell_idle()

        answer: Deferred[T] = Deferred(abandon)
        self._under_way += 1
        work.addBoth(settle)
        return answer

    def idle(self) -> "Deferred[None]":
        """Fires once no work is under way."""
        if not self._under_way:
            return succeed(None)
        self._idle.append(Deferred())
        return self._idle[-1]

    def _tell_idle(self) -> None:
        if not self._under_way:
            waiting, self._idle = self._idle, []
            for one in waiting:
                one.callback(None)
