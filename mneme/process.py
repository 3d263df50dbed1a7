"""Computations in a separate process, whose memory is free again when it ends.

The process is started when it is first needed, and ended when it has been idle for a while. Jobs and outcomes are
pickled, each with its length before it. Both processes run this program.
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

_LENGTH = 8
_NICENESS = 5


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
        if self._ending:
            self._ending.cancel()
            self._ending = None
        return self._worker.run(lambda: self._outcome(job), weight).addBoth(self._rest)

    def stop(self) -> None:
        """End the process, even during a job."""
        self._is_stopped = True
        if self._ending:
            self._ending.cancel()
            self._ending = None
        if self._is_busy and self._process:
            self._process.kill()
        else:
            self._discard()

    def _rest(self, result: T) -> T:
        if not self._is_stopped:
            self._ending = self._clock.callLater(IDLE_SECONDS, self._end)
        return result

    def _end(self) -> None:
        self._ending = None
        self._discard()

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
            succeeded, outcome = _received(cast(BinaryIO, process.stdout))
        except (EOFError, OSError) as error:
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
    with suppress(EOFError, BrokenPipeError):
        while True:
            (job,) = _received(source)
            try:
                outcome = True, cast(Callable[[], object], job)()
            except Exception as error:  # noqa: BLE001 - any error is the outcome
                outcome = False, error
            _send(target, *outcome)
            del job, outcome


def _send(stream: BinaryIO, *values: object) -> None:
    content = pickle.dumps(values, protocol=5)
    stream.write(len(content).to_bytes(_LENGTH, "big"))
    stream.write(content)
    stream.flush()


def _received(stream: BinaryIO) -> tuple[object, ...]:
    length = int.from_bytes(_exactly(stream, _LENGTH), "big")
    return cast(tuple[object, ...], pickle.loads(_exactly(stream, length)))  # noqa: S301 - sent by our own process


def _exactly(stream: BinaryIO, length: int) -> bytes:
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    return content


if __name__ == "__main__":
    main()
