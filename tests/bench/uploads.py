"""Cost of an upload, straight in the store; a program that measures any revision.

An older state of the repository is measured by it, too, so that it uses no more of `mneme` than that has.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import msgspec

from mneme.model import Accepted, ClientId, FileName, Millis, ProjectId, Upload
from mneme.store import Store
from tests import plugin_files
from tests.kept import DiskStore

_CLIENT, _OTHER, _PROJECT = ClientId("laptop-0a1b2c3d"), ClientId("desktop-5e6f7a8b"), ProjectId("demo")
_TTL, _NOW = Millis(1_800_000), Millis(1_770_217_200_000)


def plain(count: int) -> dict[str, float]:
    """Milliseconds for each durable upload of a log that grows by a line each time."""
    with _locked() as store:
        contents = list(_growing(2, count))
        elapsed, processor = time.perf_counter(), time.process_time()
        for content in contents:
            outcome = store.upload(_PROJECT, Upload(FileName.LOG, content, _CLIENT), _NOW)
            assert isinstance(outcome, Accepted)
        elapsed, processor = time.perf_counter() - elapsed, time.process_time() - processor
    return {"elapsed": elapsed * 1000 / count, "processor": processor * 1000 / count}


def stale(count: int) -> float:
    """Milliseconds for each of the uploads of two clients, which take turns and never download."""
    with _locked() as store:
        contents = [list(islice(_growing(seed, count), max(1, count // 2))) for seed in (2, 3)]
        start = time.perf_counter()
        for turn in zip(*contents, strict=True):
            for client, content in zip((_CLIENT, _OTHER), turn, strict=True):
                store.acquire(_PROJECT, client, _NOW, _TTL)
                store.upload(_PROJECT, Upload(FileName.LOG, content, client), _NOW)
                store.release(_PROJECT, client, _NOW)
        return (time.perf_counter() - start) * 1000 / (2 * len(contents[0]))


def refused(count: int) -> float:
    """Milliseconds for each upload of a client that is locked out."""
    with _locked() as store:
        contents = list(_growing(2, count))
        start = time.perf_counter()
        for content in contents:
            store.upload(_PROJECT, Upload(FileName.LOG, content, _OTHER), _NOW)
        return (time.perf_counter() - start) * 1000 / count


@contextmanager
def _locked() -> Iterator[Store]:
    """A store on disk with one project, which the client has locked."""
    with tempfile.TemporaryDirectory(prefix="mneme-bench-") as directory:
        store = DiskStore(Path(directory))
        store.acquire(_PROJECT, _CLIENT, _NOW, _TTL)
        yield store


def _growing(seed: int, count: int) -> Iterator[bytes]:
    """Contents of a log of 158 kB that is a line longer each time."""
    log, lines = plugin_files.log(1), plugin_files.log_lines(seed)
    for _ in range(count):
        log += next(lines)
        yield log


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(plain(int(sys.argv[1]))))
