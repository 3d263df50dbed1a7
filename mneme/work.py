"""Workers, which run blocking code off the reactor thread."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from mneme.shield import Shield

T = TypeVar("T")


class Worker(Protocol):
    """A worker that runs blocking jobs, each once, in any order and on any thread."""

    @property
    def abandoned_weight(self) -> int:
        """Bytes held by running jobs whose client disconnected."""
        ...

    def run(self, job: Callable[[], T], /, weight: int = 0) -> "Deferred[T]":
        """Run `job`, which holds `weight` bytes, and return a Deferred of its outcome.

        The Deferred fires on the reactor thread. Cancelling it drops the answer, but does not stop the job.
        """
        ...


class ThreadWorker:
    """A worker with its own threads, so that jobs never delay the reactor's name look-ups."""

    def __init__(self, reactor: IReactorFromThreads, threads: int) -> None:
        self._shield = Shield()
        self._reactor = reactor
        self._pool = ThreadPool(0, threads, "mneme-worker")

    @property
    def abandoned_weight(self) -> int:
        """See `Worker`."""
        return self._shield.abandoned_weight

    def start(self) -> None:
        """Start to accept jobs."""
        self._pool.start()

    def run(self, job: Callable[[], T], /, weight: int = 0) -> "Deferred[T]":
        """See `Worker`."""
        return self._shield.over(deferToThreadPool(self._reactor, self._pool, job), weight)

    def stop(self) -> None:
        """Run all accepted jobs, then end the threads."""
        self._pool.stop()
