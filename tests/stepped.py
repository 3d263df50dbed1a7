"""Workers and steps of stores that run when a test wants them to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred, execute

from mneme.service import Lane
from mneme.shield import Shield
from mneme.store.thread import StepQueue
from tests.kept import DiskStore, MemoryStore

T = TypeVar("T")


class SteppedWorker:
    """A `Worker` whose jobs run by `step`, or at once while not `holding`."""

    def __init__(self, holding: bool = True) -> None:
        self.holding = holding
        self._shield = Shield()
        self._jobs: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def abandoned_weight(self) -> int:
        """See `Worker`."""
        return self._shield.abandoned_weight

    def run(self, job: Callable[[], T], /, weight: int = 0) -> Deferred[T]:
        """See `Worker`."""
        answer: Deferred[T] = Deferred()
        self._jobs.append(lambda: _run(job, answer))
        shielded = self._shield.over(answer, weight)
        if not self.holding:
            self.finish()
        return shielded

    def step(self, index: int = 0) -> None:
        """Run the job that has waited longest, or the one at `index` from there."""
        job = self._jobs[index]
        del self._jobs[index]
        job()

    def let_go(self) -> None:
        """Run the jobs that wait now."""
        for _ in range(len(self._jobs)):
            self.step()

    def finish(self) -> None:
        """Run jobs until none waits, those that come while it does so included."""
        while self._jobs:
            self.step()


class SteppedSteps(StepQueue):
    """Steps of a store that run by `step`, or at once while not `holding`."""

    def __init__(self, store: MemoryStore | DiskStore, holding: bool = True) -> None:
        super().__init__(store.database)
        self.store = store
        self.holding = holding

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def lane(self) -> Lane:
        """The store with these steps."""
        return Lane(self.store, self)

    def step(self, index: int = 0) -> None:
        """Run and commit the oldest waiting step, or that at `index`."""
        self.commit(index)()

    def commit(self, index: int = 0) -> Callable[[], None]:
        """Run and commit a step; its answer comes when the returned function is called."""
        waiting = self._waiting[index]
        del self._waiting[index]
        results = self._run_all([waiting])
        return lambda: self._deliver([waiting], results)

    def let_go(self) -> None:
        """Run the steps that wait now, each with a commit of its own."""
        for _ in range(len(self._waiting)):
            self.step()

    def finish(self) -> None:
        """Run steps until none waits, those that come while it does so included."""
        while self._waiting:
            self.step()

    def _wake(self) -> None:
        if not self.holding:
            self.finish()


def _run(job: Callable[[], T], answer: Deferred[T]) -> None:
    execute(job).addBoth(answer.callback)
