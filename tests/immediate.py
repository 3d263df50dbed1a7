"""Workers and steps that run at once, where they were asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred, execute

from mneme.store.thread import StepQueue

T = TypeVar("T")


class ImmediateWorker:
    """A `Worker` that blocks its caller."""

    abandoned_weight = 0

    def run(self, job: Callable[[], T], /, weight: int = 0) -> Deferred[T]:
        """See `Worker`."""
        return execute(job)


class ImmediateSteps(StepQueue):
    """The steps of a store, each with a commit of its own."""

    def _wake(self) -> None:
        taken = self._take()
        self._deliver(taken, self._run_all(taken))
