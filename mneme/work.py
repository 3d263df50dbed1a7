"""Getting blocking code off the reactor thread."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")


class Worker(Protocol):
    """Runs blocking jobs, each once, in an order and on a thread of its own choice."""

    def run(self, job: Callable[[], T], /) -> "Deferred[T]":
        """Run `job`; the Deferred fires on the reactor thread with what it returned or raised."""
        ...


class ImmediateWorker:
    """Runs each job at once, where it was asked for: for tests, and where nothing blocks."""

    def run(self, job: Callable[[], T], /) -> "Deferred[T]":
        """See `Worker`."""
        return execute(job)


class ThreadWorker:
    """Runs jobs on a pool of threads of its own, so that a slow disk never starves the reactor's name look-ups."""

    def __init__(self, reactor: IReactorFromThreads, threads: int) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=threads, name="mneme-disk")

    def start(self) -> None:
        """Begin to take jobs."""
        self._pool.start()

    def run(self, job: Callable[[], T], /) -> "Deferred[T]":
        """See `Worker`."""
        return deferToThreadPool(self._reactor, self._pool, job)

    def stop(self) -> None:
        """Wait for the jobs under way, then end the threads."""
        self._pool.stop()
