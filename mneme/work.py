"""Blocking code off the reactor thread."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from mneme.shield import Shield

T = TypeVar("T")


class Worker(Protocol):
    """Runs blocking jobs, each once, in an order and on a thread of its own choice."""

    @property
    def abandoned_weight(self) -> int:
        """The bytes held by jobs that are yet to end although nobody waits for them."""
        ...

    def run(self, job: Callable[[], T], /, weight: int = 0) -> "Deferred[T]":
        """Run `job`, which holds `weight` bytes; the Deferred fires on the reactor thread with its outcome.

        Cancelling that gives up the answer, never the job.
        """
        ...


class ThreadWorker:
    """Runs jobs on a few threads of its own, so that they never starve the reactor's name look-ups."""

    def __init__(self, reactor: IReactorFromThreads, threads: int) -> None:
        self._shield = Shield()
        self._reactor = reactor
        self._pool = ThreadPool(0, threads, "mneme-worker")

    @property
    def abandoned_weight(self) -> int:
        """See `Worker`."""
        return self._shield.abandoned_weight

    def start(self) -> None:
        """Begin to take jobs."""
        self._pool.start()

    def run(self, job: Callable[[], T], /, weight: int = 0) -> "Deferred[T]":
        """See `Worker`."""
        return self._shield.over(deferToThreadPool(self._reactor, self._pool, job), weight)

    def stop(self) -> None:
        """Run what was asked for to its end, then end the threads."""
        self._pool.stop()
