"""The load generator that needs nothing but Python: several processes, in which each machine is a thread."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from typing import IO

import msgspec
from attrs import frozen

from tests.bench.errors import NotMeasured
from tests.bench.loads import TIMEOUT, Lap, Load, Outcome
from tests.bench.processes import running
from tests.bench.revisions import HERE
from tests.bench.worker import GO, READY, Job, Laps

GRACE = 60.0
"""Seconds that a worker may take longer than it measures."""


@frozen
class Sockets:
    """Plain sockets, read by as many processes as there are processors, two at least."""

    name: str = "Python"

    def run(self, load: Load) -> Outcome:
        """See `Generator`. All processes begin at the same time."""
        count = min(load.machines, max(2, os.cpu_count() or 1))
        command = [sys.executable, "-m", "tests.bench.worker"]
        with ExitStack() as stack:
            workers = [
                stack.enter_context(running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=HERE))
                for _ in range(count)
            ]
            for first, worker in enumerate(workers):
                _tell(worker, msgspec.json.encode(Job(load, tuple(range(first, load.machines, count)))))
            for worker in workers:
                if _stream(worker.stdout).readline() != READY:
                    raise NotMeasured("A process of the load generator did not begin; what it said is above")
            for worker in workers:
                _tell(worker, GO)
            laps = [lap for worker in workers for lap in _laps(worker, load)]
        return Outcome(len(load.requests), tuple(laps))


def _tell(worker: subprocess.Popen[bytes], line: bytes) -> None:
    stream = _stream(worker.stdin)
    stream.write(line.rstrip(b"\n") + b"\n")
    stream.flush()


def _laps(worker: subprocess.Popen[bytes], load: Load) -> tuple[Lap, ...]:
    within = load.seconds + TIMEOUT * len(load.requests) * max(1, load.sessions) + GRACE
    try:
        output, _ = worker.communicate(timeout=within)
        return msgspec.json.decode(output, type=Laps).laps
    except subprocess.TimeoutExpired as error:
        raise NotMeasured(f"A process of the load generator did not end within {within:g} s") from error
    except msgspec.DecodeError as error:
        raise NotMeasured("A process of the load generator broke off; what it said is above") from error


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream
