"""A `Worker` whose jobs the test runs, one by one, when it wants to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred, execute

T = TypeVar("T")


class SteppedWorker:
    """Keeps what it is given until the test says `step`; the answers come then."""

    def __init__(self) -> None:
        self._jobs: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    def run(self, job: Callable[[], T], /) -> Deferred[T]:
        """See `Worker`."""
        answer: Deferred[T] = Deferred()
        self._jobs.append(lambda: _run(job, answer))
        return answer

    def step(self, index: int = 0) -> None:
        """Run the job that has waited longest, or the one at `index` from there."""
        job = self._jobs[index]
        del self._jobs[index]
        job()

    def finish(self) -> None:
        """Run jobs until none waits, those that come while it does so included."""
        while self._jobs:
            self.step()


def _run(job: Callable[[], T], answer: Deferred[T]) -> None:
    execute(job).addBoth(answer.callback)
