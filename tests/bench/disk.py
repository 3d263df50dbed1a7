"""The bare system calls that a session comes down to on disk, if nothing is to be lost: no server can do with less."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

JOURNAL_LINE = b"x" * 255 + b"\n"
LOCK = b"x" * 128

_fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has none


@frozen
class Cost:
    """What the steps of one session took, by name, in seconds: elapsed, and of processor time."""

    elapsed: Mapping[str, float]
    processor: Mapping[str, float]


def measure(directory: Path, sizes: Mapping[str, int], threads: int, seconds: float) -> Cost:
    """Have some threads do nothing but these calls for a while, each in a directory of its own.

    The elapsed time is what one more session adds when all of them are at it, not how long one of them waits.
    """
    makers = [_Sessions(directory / str(number), sizes) for number in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda maker: maker.run(seconds), makers))
    count = sum(maker.count for maker in makers)
    elapsed, processor = (
        {step: sum(getattr(maker, kind)[step] for maker in makers) / count for step in makers[0].elapsed}
        for kind in ("elapsed", "processor")
    )
    return Cost({step: taken / threads for step, taken in elapsed.items()}, processor)


class _Sessions:
    """One project, in which one session after the other is written."""

    def __init__(self, directory: Path, sizes: Mapping[str, int]) -> None:
        self.count = 0
        self.elapsed: dict[str, float] = {}
        self.processor: dict[str, float] = {}
        self._directory = directory
        self._history = directory / ".history"
        self._contents = {name: os.urandom(size) for name, size in sizes.items()}

    def run(self, seconds: float) -> None:
        """One session at least, and more until the time is over."""
        self._history.mkdir(parents=True)
        places = [os.open(place, os.O_RDONLY | os.O_DIRECTORY) for place in (self._directory, self._history)]
        journal = os.open(self._history / "journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            end = time.monotonic() + seconds
            while not self.count or time.monotonic() < end:
                self._session(places, journal)
                self.count += 1
        finally:
            for descriptor in (*places, journal):
                os.close(descriptor)

    def _session(self, places: Sequence[int], journal: int) -> None:
        lock, free = self._directory / ".lock", self._directory / ".lock.free"
        with self._timed("lock: write, rename"):
            _write(free, LOCK)
            free.rename(lock)
        spares = {name: self._history / f"{name}.spare" for name in self._contents}
        with self._timed("4 × create"):
            files = {
                name: os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                for name, spare in spares.items()
            }
        with self._timed("fsync of the directory they are in"):
            os.fsync(places[-1])
        for name, spare in spares.items():
            self._upload(files[name], spare, journal, name)
        with self._timed("fsync of both directories"):
            for place in places:
                os.fsync(place)
        with self._timed("4 × unlink"):
            for spare in spares.values():
                spare.unlink()
        with self._timed("lock: rename"):
            lock.rename(free)

    def _upload(self, file: int, spare: Path, journal: int, name: str) -> None:
        coming = self._directory / f".{name}.next"
        with self._timed("4 × write"):
            os.write(file, self._contents[name])
        with self._timed("4 × fsync of the file"):
            os.fsync(file)
            os.close(file)
        with self._timed("8 × link"):
            os.link(spare, coming)
        with self._timed("4 × journal: append, fdatasync"):
            os.write(journal, JOURNAL_LINE)
            _fdatasync(journal)
        with self._timed("8 × link"):
            os.link(spare, self._history / f"{self.count}-{name}")
        with self._timed("4 × rename"):
            coming.rename(self._directory / name)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        elapsed, processor = time.perf_counter(), time.thread_time()
        yield
        processor, elapsed = time.thread_time() - processor, time.perf_counter() - elapsed
        self.elapsed[step] = self.elapsed.get(step, 0.0) + elapsed
        self.processor[step] = self.processor.get(step, 0.0) + processor


def _write(path: Path, content: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(file, content)
    os.close(file)
