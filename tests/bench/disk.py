"""The bare system calls that a session comes down to on disk, if nothing is to be lost: no server can do with less."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

LOCK = b"x" * 128
SHARE = 0.3
"""How large a compressed content is, of what it was."""

_fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has none


@frozen
class Cost:
    """What the steps of one session took, by name, in seconds: elapsed, and of processor time."""

    elapsed: Mapping[str, float]
    processor: Mapping[str, float]


def measure(directory: Path, sizes: Mapping[str, int], threads: int, seconds: float) -> Cost:
    """Have some threads do nothing but these calls for a while, each in a directory of its own, with one log for all.

    The elapsed time is what one more session adds when all of them are at it, not how long one of them waits.
    """
    log = _Log(directory / "log")
    makers = [_Sessions(directory / str(number), log, sizes) for number in range(threads)]
    try:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda maker: maker.run(seconds), makers))
    finally:
        log.close()
    count = sum(maker.count for maker in makers)
    elapsed, processor = (
        {step: sum(getattr(maker, kind)[step] for maker in makers) / count for step in makers[0].elapsed}
        for kind in ("elapsed", "processor")
    )
    return Cost({step: taken / threads for step, taken in elapsed.items()}, processor)


class _Log:
    """One file to which all is appended; whoever waits for a sync shares the next one with all others who do."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._writing, self._syncing = threading.Lock(), threading.Lock()
        self._written = self._synced = 0

    def append(self, content: bytes) -> int:
        """Append a content; the number of it."""
        with self._writing:
            os.write(self._file, content)
            self._written += 1
            return self._written

    def sync(self, number: int) -> None:
        """Make that content durable, and all that came before it."""
        with self._syncing:
            if self._synced < number:
                written = self._written
                _fdatasync(self._file)
                self._synced = written

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class _Sessions:
    """One project, in which one session after the other is written."""

    def __init__(self, directory: Path, log: _Log, sizes: Mapping[str, int]) -> None:
        self.count = 0
        self.elapsed: dict[str, float] = {}
        self.processor: dict[str, float] = {}
        self._directory = directory
        self._log = log
        self._contents = {name: os.urandom(size) for name, size in sizes.items()}

    def run(self, seconds: float) -> None:
        """One session at least, and more until the time is over."""
        self._directory.mkdir(parents=True)
        end = time.monotonic() + seconds
        while not self.count or time.monotonic() < end:
            self._session()
            self.count += 1

    def _session(self) -> None:
        self._append((LOCK,), "2 × lock: append to the log", "2 × lock: fdatasync")
        contents = [content[: int(len(content) * SHARE)] for content in self._contents.values()]
        self._append(contents, "4 × content: append to the log", "4 × content: fdatasync")
        self._append((LOCK,), "2 × lock: append to the log", "2 × lock: fdatasync")
        coming = {name: self._directory / f"{name}.tmp" for name in self._contents}
        with self._timed("4 × plain file: create, write"):
            for name, path in coming.items():
                _write(path, self._contents[name])
        with self._timed("4 × plain file: rename"):
            for name, path in coming.items():
                path.rename(self._directory / name)

    def _append(self, contents: Sequence[bytes], append: str, sync: str) -> None:
        for content in contents:
            with self._timed(append):
                number = self._log.append(content)
            with self._timed(sync):
                self._log.sync(number)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        elapsed, processor = time.perf_counter(), time.thread_time()
        yield
        processor, elapsed = time.thread_time() - processor, time.perf_counter() - elapsed
        self.elapsed[step] = self.elapsed.get(step, 0.0) + elapsed
        self.processor[step] = self.processor.get(step, 0.0) + processor


def _write(path: Path, content: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(file, content)
    os.close(file)
