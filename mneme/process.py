"""Computations in a separate process, whose memory is free again when it ends.

The process is started when it is first needed, and ended when it has been idle for a while. Jobs and outcomes are
pickled. Both processes run this program.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mneme.errors import MnemeError
from mneme.work import Worker

T = TypeVar("T")

IDLE_SECONDS = 30.0
"""Seconds that the process waits for another job before it is ended."""

_NICENESS = 5
_CUT_OFF = (EOFError, OSError, pickle.UnpicklingError)
"""The errors of a stream whose other end has died."""


class ProcessEnded(MnemeError):
    """A process that ended before it had an outcome."""

    sentence = "A merge failed: its process ended, perhaps because memory ran out; nothing was changed"


class ProcessWorker:
    """A worker that runs picklable jobs in another process, one at a time."""

    def __init__(self, clock: IReactorTime, worker: Worker) -> None:
        self._clock = clock
        self._worker = worker
        self._process: subprocess.Popen[bytes] | None = None
        self._ending: IDelayedCall | None = None
        self._is_busy = False
        self._is_stopped = False

    @property
    def abandoned_weight(self) -> int:
        """See `Worker`."""
        return 0

    def run(self, job: Callable[[], T], /, weight: int = 0) -> "Deferred[T]":
        """See `Worker`. Run one job at a time; `ProcessEnded` if the process dies meanwhile."""
        self._keep()
        return self._worker.run(lambda: self._outcome(job), weight).addBoth(self._rest)

    def stop(self) -> None:
        """End the process, even during a job."""
        self._is_stopped = True
        self._keep()
        if self._is_busy and self._process:
            self._process.kill()
        else:
            self._discard()

    def _keep(self) -> None:
        if self._ending and self._ending.active():
            self._ending.cancel()

    def _rest(self, result: T) -> T:
        if not self._is_stopped:
            self._ending = self._clock.callLater(IDLE_SECONDS, self._discard)
        return result

    def _discard(self) -> None:
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()
            with suppress(OSError):
                cast(BinaryIO, process.stdin).close()
            cast(BinaryIO, process.stdout).close()

    def _outcome(self, job: Callable[[], T]) -> T:
        self._is_busy = True
        try:
            process = self._process or self._started()
            if self._is_stopped:
                # `stop` may have been called while the process was started.
                process.kill()
            _send(cast(BinaryIO, process.stdin), job)
            succeeded, outcome = pickle.load(cast(BinaryIO, process.stdout))  # noqa: S301 - sent by our own process
        except _CUT_OFF as error:
            self._discard()
            raise ProcessEnded from error
        finally:
            self._is_busy = False
        if not succeeded:
            raise cast(Exception, outcome)
        return cast(T, outcome)

    def _started(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(  # noqa: S603 - this program itself
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            # Ctrl-C in the terminal must not reach this process.
            start_new_session=True,
        )
        return self._process


def main() -> None:
    """Run jobs until there are no more."""
    os.nice(_NICENESS)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    with suppress(*_CUT_OFF):
        while True:
            job = pickle.load(source)  # noqa: S301 - sent by our own process
            try:
                outcome = True, job()
            except Exception as error:  # noqa: BLE001 - any error is the outcome
                outcome = False, error
            _send(target, outcome)
            del job, outcome


def _send(stream: BinaryIO, value: object) -> None:
    stream.write(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL))
    stream.flush()


if __name__ == "__main__":
    main()
