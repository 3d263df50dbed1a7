"""Computations in a process of their own."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from twisted.internet.task import Clock

from mneme import bases
from mneme.merge import merge
from mneme.model import FileName
from mneme.process import IDLE_SECONDS, ProcessEnded, ProcessWorker
from mneme.store.apart import ComputeFirst, Results
from tests.immediate import ImmediateWorker
from tests.results import failure_of, result_of
from tests.store.asking import ONE, THREE, TWO

pytestmark = pytest.mark.integration


@pytest.fixture
def worker(clock: Clock) -> Iterator[ProcessWorker]:
    """A worker, which has no process yet."""
    worker = ProcessWorker(clock, ImmediateWorker())
    yield worker
    worker.stop()


def pid() -> int:
    """The process that runs this."""
    return os.getpid()


def die() -> None:
    """End as by a lack of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_while_answering() -> None:
    """End with half of an outcome sent."""
    content = pickle.dumps((True, b"x" * 100_000))
    os.write(1, content[: len(content) // 2])
    die()


def refuse() -> None:
    """Fail."""
    raise ValueError("no")


def test_a_merge_comes_to_the_same_there(worker: ProcessWorker) -> None:
    """Bytes in, bytes out."""
    call: Callable[[], bytes | None] = partial(
        merge, FileName.LOG, ONE, ONE + TWO, ONE + THREE, upload_is_later=True, max_bytes=10_000
    )
    assert result_of(worker.run(call)) == call() == ONE + TWO + THREE


def test_the_computation_of_a_step_can_be_sent(worker: ProcessWorker) -> None:
    """A call with candidates, and its outcome."""
    results = Results()
    content = ONE * 20_000
    candidates = (bases.Candidate(content, bases.Evidence.SENT),)
    with pytest.raises(ComputeFirst) as caught:
        results.of(bases.choose, FileName.LOG, candidates, content + TWO)
    call = caught.value.call
    results.add(call, result_of(worker.run(call.result)))
    assert results.of(bases.choose, FileName.LOG, candidates, content + TWO) == bases.Choice(0)


def test_one_process_does_all_jobs_and_ends_when_it_is_idle(worker: ProcessWorker, clock: Clock) -> None:
    """Memory of large jobs goes with the process."""
    first = result_of(worker.run(pid))
    clock.advance(IDLE_SECONDS - 1)
    assert first == result_of(worker.run(pid)) != os.getpid()
    clock.advance(IDLE_SECONDS)
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert result_of(worker.run(pid)) != first


def test_a_job_that_fails_ends_no_process(worker: ProcessWorker) -> None:
    """The failure is the answer."""
    first = result_of(worker.run(pid))
    assert isinstance(failure_of(worker.run(refuse)), ValueError)
    assert result_of(worker.run(pid)) == first


@pytest.mark.parametrize("job", [die, die_while_answering])
def test_a_process_that_dies_is_told_and_replaced(worker: ProcessWorker, job: Callable[[], None]) -> None:
    """Whoever waits for it waits no longer."""
    assert isinstance(failure_of(worker.run(job)), ProcessEnded)
    assert result_of(worker.run(pid)) != os.getpid()


def test_a_stopped_worker_starts_no_process(worker: ProcessWorker, clock: Clock) -> None:
    """The server is about to end."""
    result_of(worker.run(pid))
    worker.stop()
    assert isinstance(failure_of(worker.run(pid)), ProcessEnded)
    assert clock.getDelayedCalls() == []
