"""A disk that syncs no directories and has no locks.

`python -m tests.odd_disk PROGRAM ARGUMENT…` runs a Python program on it. `ODD_DISK` in its environment names the error
of a sync of a directory, that of a lock, and the directory that the disk holds, with colons between them.
"""

from __future__ import annotations

import fcntl
import os
import runpy
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest


def environment(no_sync: int, no_lock: int, directory: Path) -> Mapping[str, str]:
    """The variable for a process."""
    return {"ODD_DISK": f"{no_sync}:{no_lock}:{directory}"}


def put(patch: pytest.MonkeyPatch, no_sync: int, no_lock: int, directory: Path) -> None:
    """Have the disk under a directory fail so: 0 for no failure."""
    sync, lock = os.fsync, fcntl.flock

    def is_there(descriptor: int) -> bool:
        return Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(directory)

    def fsync(descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        if no_sync and stat.S_ISDIR(os.fstat(number).st_mode) and is_there(number):
            raise OSError(no_sync, os.strerror(no_sync))
        sync(descriptor)

    def flock(descriptor: Any, operation: int) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        if no_lock and is_there(number):
            raise OSError(no_lock, os.strerror(no_lock))
        lock(descriptor, operation)

    patch.setattr(os, "fsync", fsync)
    patch.setattr(fcntl, "flock", flock)


def main() -> None:
    """Run the program that the command line names."""
    no_sync, no_lock, directory = os.environ["ODD_DISK"].split(":", 2)
    put(pytest.MonkeyPatch(), int(no_sync), int(no_lock), Path(directory))
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
